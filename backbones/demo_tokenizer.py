"""The demo backbones' tokenizer: a word-level vocabulary made from the training texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from backbones.errors import BackboneError


@dataclass(frozen=True)
class _Specials:
    """A model type's special tokens; ids follow ``order``, so padding gets the id that its config says."""

    order: tuple[str, ...]
    pad: str
    unk: str
    cls: str
    sep: str
    single: str
    pair: str
    has_segments: bool


_SEGMENTED = ("[CLS]:0 $A:0 [SEP]:0", "[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", True)
_BERT = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
_UNSEGMENTED = ("[CLS]:0 $A:0 [SEP]:0", "[CLS]:0 $A:0 [SEP]:0 $B:0 [SEP]:0", False)
_SPECIALS = {
    "albert": _Specials(("<pad>", "<unk>", "[CLS]", "[SEP]"), "<pad>", "<unk>", "[CLS]", "[SEP]", *_SEGMENTED),
    "bert": _Specials(_BERT, *_BERT, *_SEGMENTED),
    "deberta-v2": _Specials(_BERT, *_BERT, *_UNSEGMENTED),
    "distilbert": _Specials(_BERT, *_BERT, *_UNSEGMENTED),
    "electra": _Specials(_BERT, *_BERT, *_SEGMENTED),
    "modernbert": _Specials(_BERT, *_BERT, *_UNSEGMENTED),
    "roberta": _Specials(
        ("<s>", "<pad>", "</s>", "<unk>"),
        "<pad>",
        "<unk>",
        "<s>",
        "</s>",
        "<s>:0 $A:0 </s>:0",
        "<s>:0 $A:0 </s>:0 </s>:0 $B:0 </s>:0",
        False,
    ),
}


def word_tokenizer(corpus: Iterable[str], model_type: str, vocab_size: int, max_tokens: int) -> PreTrainedTokenizerFast:
    """A tokenizer whose words are the most frequent ones of ``corpus``, ties in alphabetical order.

    Lower-cased, accents stripped, split at white space and punctuation as BERT does. At most ``vocab_size``
    entries with the special tokens of ``model_type``; ``max_tokens`` is its ``model_max_length``. The same
    texts in any order give the same tokenizer.

    Raises a UserError for a corpus without words or a vocabulary without room for one.
    """
    special = _SPECIALS[model_type]
    room = vocab_size - len(special.order)
    if room < 1:
        raise BackboneError(
            f"vocab_size {vocab_size} leaves no room for words beside {len(special.order)} special ones."
        )
    normalizer, splitter = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    counts: Counter[str] = Counter()
    for text in corpus:
        counts.update(word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    for token in special.order:
        counts.pop(token, None)
    if not counts:
        raise BackboneError("A demo backbone makes its vocabulary from the training texts, and there are none.")
    words = sorted(counts, key=lambda word: (-counts[word], word))[:room]
    vocab = {token: index for index, token in enumerate((*special.order, *words))}

    core = Tokenizer(models.WordLevel(vocab, unk_token=special.unk))
    core.normalizer, core.pre_tokenizer = normalizer, splitter
    core.post_processor = processors.TemplateProcessing(
        single=special.single,
        pair=special.pair,
        special_tokens=[(special.cls, vocab[special.cls]), (special.sep, vocab[special.sep])],
    )
    segments = ["token_type_ids"] if special.has_segments else []
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=special.pad,
        unk_token=special.unk,
        cls_token=special.cls,
        sep_token=special.sep,
        model_max_length=max_tokens,
        model_input_names=["input_ids", *segments, "attention_mask"],
    )

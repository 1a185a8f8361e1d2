"""The demo backbones' tokenizer: a word-level vocabulary made from the training texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from backbones.errors import BackboneError

_BERT = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]"}
_SPECIALS = {
    "albert": {**_BERT, "pad": "<pad>", "unk": "<unk>"},
    "roberta": {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>"},
}
"""The special tokens that are not BERT's, in the order of their ids, so that padding gets the id its config says."""
_ONE_SEGMENT = ("deberta-v2", "distilbert", "modernbert", "roberta")
"""The types that are not told which of two texts a token is of."""


def make_word_tokenizer(
    corpus: Iterable[str], model_type: str, vocab_size: int, max_tokens: int
) -> PreTrainedTokenizerFast:
    """Return a tokenizer whose words are the most frequent ones of ``corpus``, ties in alphabetical order.

    Lower-cased, accents stripped, split at white space and punctuation as BERT does. At most ``vocab_size``
    entries with the special tokens of ``model_type``; ``max_tokens`` is its ``model_max_length``. The same
    texts in any order give the same tokenizer.

    Raises a UserError for a corpus without words or a vocabulary without room for one.
    """
    special = _SPECIALS.get(model_type, _BERT)
    room = vocab_size - len(special)
    if room < 1:
        raise BackboneError(f"vocab_size {vocab_size} leaves no room for words beside {len(special)} special ones.")
    normalizer, splitter = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    counts: Counter[str] = Counter()
    for text in corpus:
        counts.update(word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    for token in special.values():
        counts.pop(token, None)
    if not counts:
        raise BackboneError("A demo backbone makes its vocabulary from the training texts, and there are none.")
    words = sorted(counts, key=lambda word: (-counts[word], word))[:room]
    vocab = {token: index for index, token in enumerate((*special.values(), *words))}

    core = Tokenizer(models.WordLevel(vocab, unk_token=special["unk"]))
    core.normalizer, core.pre_tokenizer = normalizer, splitter
    cls, sep, second = special["cls"], special["sep"], int(model_type not in _ONE_SEGMENT)
    between = f"{sep}:0 {sep}:0" if model_type == "roberta" else f"{sep}:0"
    core.post_processor = processors.TemplateProcessing(
        single=f"{cls}:0 $A:0 {sep}:0",
        pair=f"{cls}:0 $A:0 {between} $B:{second} {sep}:{second}",
        special_tokens=[(cls, vocab[cls]), (sep, vocab[sep])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        model_max_length=max_tokens,
        model_input_names=["input_ids", *(["token_type_ids"] if second else []), "attention_mask"],
        **{f"{role}_token": token for role, token in special.items()},
    )

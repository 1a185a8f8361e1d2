"""Load a backbone: :func:`backbones.resolve.resolve_backbone` says what it would be, :func:`load_backbone` gets it.

Only safetensors are read, no code that comes with a model is run, and neither the global random state nor
transformers' settings are changed by loading.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from transformers import AutoTokenizer, PreTrainedModel
from transformers.utils import logging as transformers_logging

from backbones import CLASSIFIERS, ENCODERS
from backbones.base import LayeredEncoder
from backbones.classifier import OwnClassifier
from backbones.config import find_max_tokens, has_segments, use_own_names
from backbones.demo_tokenizer import make_word_tokenizer
from backbones.errors import BackboneError
from backbones.folders import take_first_line
from backbones.hubcalls import hide_bars
from backbones.resolve import BackboneRequest, Resolved, resolve_backbone

__all__ = ["BackboneRequest", "Loaded", "load_backbone", "outline_backbone"]


@dataclass(frozen=True)
class Loaded:
    """A backbone ready for use: float32, on the CPU, in evaluation mode.

    ``tokenizer`` is a transformers tokenizer whose ``model_max_length`` is at most what the position table holds.
    ``classifier`` is the checkpoint's own, of init "finetuned" alone. The other fields are
    :class:`backbones.resolve.Resolved`'s; ``warnings`` belong into the result.
    """

    encoder: LayeredEncoder
    tokenizer: Any
    digest: str
    revision: str
    source: str
    warnings: tuple[str, ...] = ()
    classifier: OwnClassifier | None = None


def load_backbone(request: BackboneRequest, corpus: Sequence[str] = (), seed: int = 0) -> Loaded:
    """Load what ``request`` names.

    ``corpus`` are the training texts, from which a demo backbone's vocabulary is made; others ignore it. ``seed``
    fixes a scratch initialisation: the same seed gives the same weights, whatever was drawn before.

    Raises a UserError, one line, for anything that keeps the backbone from being had.
    """
    found = resolve_backbone(request, weights=True)
    config, kind = _config(found, request.attention), ENCODERS.load(found.model_type)
    tokenizer = _make_tokenizer(found, config, corpus)
    token, largest = max(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
    if largest >= config.vocab_size:
        raise BackboneError(
            f"vocab_size {config.vocab_size} has no row for the tokenizer's '{token}', number {largest}."
        )
    warnings, classifier = found.warnings, None
    with torch.random.fork_rng(devices=[]), _quiet_transformers():
        torch.default_generator.manual_seed(seed)
        if found.init == "scratch":
            # without the stock pooler: its random weights would be no better than a head's own
            model = kind.stock(config)
        elif found.init == "pretrained":
            model, more = _pretrained(found, cast(Path, found.folder), config)
            warnings += more
        else:
            model, classifier = _finetuned(found, cast(Path, found.folder), config)
    encoder = kind(model).eval()
    return Loaded(encoder, tokenizer, found.digest, found.revision, found.source, warnings, classifier)


def outline_backbone(request: BackboneRequest) -> LayeredEncoder:
    """Return the backbone's shape without its weights (torch's meta device): enough to count FLOPs and parameters.

    Raises a UserError where the configuration cannot be had.
    """
    found = resolve_backbone(request)
    config = _config(found, request.attention)
    kind = ENCODERS.load(found.model_type)
    with torch.device("meta"):
        return kind(kind.stock(config))


def load_request_tokenizer(request: BackboneRequest, corpus: Sequence[str] = ()) -> Any:
    """Load the tokenizer of what ``request`` names, as :func:`load_backbone` does, without any weights."""
    found = resolve_backbone(request)
    return _make_tokenizer(found, _config(found, request.attention), corpus)


def _make_tokenizer(found: Resolved, config: Any, corpus: Sequence[str]) -> Any:
    if found.folder is not None:
        return load_tokenizer(found, found.folder)
    longest = find_max_tokens(found.config, found.model_type)
    return make_word_tokenizer(corpus, found.model_type, config.vocab_size, longest)


def make_stock_config(model_type: str, fields: Mapping[str, object], attention: str = "sdpa") -> Any:
    """Return transformers' configuration of ``model_type`` with ``fields``, named as all model types share them.

    Its attention is eager where the stock model has no other.
    """
    model_class: Any = ENCODERS.load(model_type).model_class
    with _quiet_transformers():  # special tokens' ids that the class takes for granted may exceed a small vocabulary
        config = model_class.config_class.from_dict(use_own_names(fields, model_type))
    config._attn_implementation = attention if model_class._supports_sdpa else "eager"
    return config


def _config(found: Resolved, attention: str) -> Any:
    try:
        config = make_stock_config(found.model_type, found.config, attention)
    except Exception as error:  # the class checks types in its own way, which differs between versions
        raise BackboneError(f"The configuration of {found.source} is not valid: {take_first_line(error)}") from error
    pad = config.pad_token_id
    if pad is not None and not 0 <= pad < config.vocab_size:
        raise BackboneError(
            f"pad_token_id {pad} is outside the vocabulary of {found.source}, 0..{config.vocab_size - 1}."
        )
    return config


def load_tokenizer(found: Resolved, folder: Path) -> Any:
    """Return the tokenizer in ``folder`` as the model takes it: its segments, its longest text."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # parsers of four vocabulary formats, each with errors of its own
        raise BackboneError(f"The tokenizer in {folder} cannot be read: {take_first_line(error)}") from error
    if tokenizer.pad_token_id is None:
        raise BackboneError(f"The tokenizer in {folder} has no padding token, so its texts make no batches.")
    # The model decides: transformers 5 leaves ALBERT's segments out by default, though it was pretrained with them, and
    # a BERT-style tokenizer numbers the second text 1 also for a model of one segment.
    segments = ["token_type_ids"] if has_segments(found.config, found.model_type) else []
    tokenizer.model_input_names = ["input_ids", *segments, "attention_mask"]
    tokenizer.model_max_length = min(tokenizer.model_max_length, find_max_tokens(found.config, found.model_type))
    return tokenizer


def _pretrained(found: Resolved, folder: Path, config: Any) -> tuple[PreTrainedModel, tuple[str, ...]]:
    model, missing = _read_weights(ENCODERS.load(found.model_type).model_class, folder, config)
    lacking = [key for key in missing if not key.startswith("pooler.")]
    if lacking:
        raise BackboneError(f"The weights in {folder} lack {len(lacking)} of the encoder's, such as {lacking[0]}.")
    if missing:
        model.pooler = None
        return model, (f"{found.source} has no pooler weights: heads start their poolers from random ones.",)
    return model, ()


def _finetuned(found: Resolved, folder: Path, config: Any) -> tuple[PreTrainedModel, OwnClassifier]:
    """Return the encoder of a fine-tuned checkpoint, and its own classifier."""
    kind = CLASSIFIERS.load(found.model_type)
    model, missing = _read_weights(kind.model_class, folder, config)
    if missing:
        raise BackboneError(
            f"The weights in {folder} lack {len(missing)} of a fine-tuned model's, such as {missing[0]}: leave its "
            "classifier out with --init pretrained."
        )
    return model.base_model, kind(model).eval()


def _read_weights(model_class: Any, folder: Path, config: Any) -> tuple[Any, list[str]]:
    """Return the stock model with the weights in ``folder``, and the names of those that it lacks.

    Raises a UserError for weights that cannot be read or have other shapes than the configuration says.
    """
    try:
        model, info = model_class.from_pretrained(
            folder,
            config=config,
            attn_implementation=config._attn_implementation,
            dtype=torch.float32,  # the default is the checkpoint's own, which may be half precision
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # refused below, by name and in one line
        )
    except SafetensorError as error:
        raise BackboneError(
            f"The weights in {folder} are corrupt: {take_first_line(error)}. Save or copy them again."
        ) from error
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        raise BackboneError(f"The weights in {folder} cannot be loaded: {take_first_line(error)}") from error
    for name, there, wanted in sorted(info["mismatched_keys"]):
        shapes = [" x ".join(map(str, shape)) for shape in (there, wanted)]
        raise BackboneError(f"{name} is {shapes[0]} in the weights of {folder} and {shapes[1]} by its config.json.")
    return model, sorted(info["missing_keys"])


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Hide load report and progress bar: unused weights (a pretraining head, cut layers) are expected here."""
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        with hide_bars(transformers_logging):
            yield
    finally:
        transformers_logging.set_verbosity(level)

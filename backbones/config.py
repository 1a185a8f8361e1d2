"""Configurations: what may be overridden, what a usable one looks like."""

from __future__ import annotations

from collections.abc import Mapping

from transformers.activations import ACT2FN

from backbones import ENCODERS
from backbones.errors import BackboneError
from backbones.names import make_unknown_error

_COUNTS = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
)
# Fields that shape an encoder. Special token ids are not among them: they belong to the tokenizer.
_SHAPE = (*_COUNTS, "hidden_act", "initializer_range", "layer_norm_eps")
_DROPOUT = ("hidden_dropout_prob", "attention_probs_dropout_prob")
_OWN_SHAPE = {
    "albert": ("embedding_size", "num_hidden_groups", "inner_group_num"),
    "deberta-v2": (
        "relative_attention",
        "pos_att_type",
        "share_att_key",
        "position_buckets",
        "norm_rel_ebd",
        "position_biased_input",
    ),
    "electra": ("embedding_size",),
    "modernbert": ("local_attention", "global_attn_every_n_layers"),
}
_OWN_DROPOUT = {"albert": ("classifier_dropout_prob",), "modernbert": ("classifier_dropout", "embedding_dropout")}
_NOT_IN = {"distilbert": ("type_vocab_size", "layer_norm_eps"), "modernbert": ("type_vocab_size",)}
_OWN_NAMES = {
    "deberta-v2": {"classifier_dropout": "cls_dropout"},
    "distilbert": {
        "hidden_size": "dim",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
        "intermediate_size": "hidden_dim",
        "hidden_act": "activation",
        "hidden_dropout_prob": "dropout",
        "attention_probs_dropout_prob": "attention_dropout",
        "classifier_dropout": "seq_classif_dropout",
    },
    "modernbert": {
        "hidden_act": "hidden_activation",
        "layer_norm_eps": "norm_eps",
        "hidden_dropout_prob": "mlp_dropout",
        "attention_probs_dropout_prob": "attention_dropout",
    },
}
"""What model types call the fields that all have: the usual name -> their own."""
_OWN_COUNTS = (
    "embedding_size",
    "num_hidden_groups",
    "inner_group_num",
    "local_attention",
    "global_attn_every_n_layers",
)
_MAY_BE_ZERO = {"deberta-v2": ("type_vocab_size",)}


def list_overridable(model_type: str) -> tuple[str, ...]:
    """Return the configuration fields of ``model_type`` that a request may set."""
    shape = (*_SHAPE, *_OWN_SHAPE.get(model_type, ()))
    return (*(key for key in shape if key not in _NOT_IN.get(model_type, ())), *_dropouts(model_type))


def use_common_names(config: Mapping[str, object], model_type: str) -> dict[str, object]:
    """Return a configuration as files have it, with the names that all model types share; see :func:`use_own_names`.

    Where a file has both names, the model type's own is the one that transformers reads.
    """
    usual = {own: name for name, own in _OWN_NAMES.get(model_type, {}).items()}
    return {
        **{key: value for key, value in config.items() if key not in usual},
        **{name: config[own] for own, name in usual.items() if own in config},
    }


def use_own_names(config: Mapping[str, object], model_type: str) -> dict[str, object]:
    """Return a configuration with the names that transformers' class for ``model_type`` takes."""
    own = _OWN_NAMES.get(model_type, {})
    return {own.get(key, key): value for key, value in config.items()}


def has_segments(config: Mapping[str, object], model_type: str) -> bool:
    """Return whether a model tells the two texts of a pair apart by token types."""
    if "type_vocab_size" in _NOT_IN.get(model_type, ()):
        return False
    return int(str(config.get("type_vocab_size", 0 if model_type == "deberta-v2" else 2))) > 1


def _dropouts(model_type: str) -> tuple[str, ...]:
    return (*_DROPOUT, *_OWN_DROPOUT.get(model_type, ("classifier_dropout",)))


def find_model_type(raw: Mapping[str, object], label: str, pretrained: bool) -> str:
    """Return the model type that a config.json names, if there is an encoder for it.

    Raises a UserError for other types, for variants that the stock modules would run wrongly and, where the weights are
    wanted, for quantised ones.
    """
    model_type = raw.get("model_type")
    if model_type not in ENCODERS:
        own = (
            " Code that comes with a model (auto_map) is never run:"
            if "auto_map" in raw
            else " Early exit is for these:"
        )
        raise BackboneError(
            f"Unknown model type '{model_type}' in {label}: known are {', '.join(sorted(ENCODERS))}.{own} give a stock "
            "encoder of one of these types."
        )
    if raw.get("is_decoder"):
        raise BackboneError(f"{label} is a decoder (is_decoder); early exit is measured on encoders: give one.")
    positions = raw.get("position_embedding_type", "absolute")
    if positions not in (None, "absolute"):
        raise BackboneError(f"{label} has {positions} position embeddings; transformers 5 knows absolute ones only.")
    quantised = raw.get("quantization_config")
    if pretrained and quantised is not None:
        method = quantised.get("quant_method", "an unknown method") if isinstance(quantised, Mapping) else quantised
        raise BackboneError(
            f"{label} asks for quantised weights (quantization_config: {method}), which are not loaded: give a "
            "checkpoint in full precision."
        )
    return str(model_type)


def apply_overrides(
    raw: Mapping[str, object], overrides: Mapping[str, object], model_type: str, pretrained: bool
) -> dict[str, object]:
    """Return ``raw`` with ``overrides``, checked.

    Pretrained weights fit one shape, so only dropout and a smaller ``num_hidden_layers`` (the first
    k layers are kept: the plain compression that early exit has to beat) may be overridden.

    Raises a UserError, one line, for an unknown field, one that the weights do not allow, or a
    value that makes no model.
    """
    for key in overrides:
        if key not in list_overridable(model_type):
            raise make_unknown_error(f"{model_type} configuration field", key, list_overridable(model_type))
        if pretrained and key != "num_hidden_layers" and key not in _dropouts(model_type):
            raise BackboneError(
                f"'{key}' cannot be overridden: the pretrained weights fix it "
                "(only dropout and a smaller num_hidden_layers can be; or use --init scratch)."
            )
    merged = {**raw, **overrides}
    check_config(merged, model_type)
    if "num_hidden_layers" in overrides:
        kept, types = int(str(merged["num_hidden_layers"])), merged.get("layer_types")
        there, groups = int(str(raw.get("num_hidden_layers", kept))), raw.get("num_hidden_groups", 1)
        if pretrained and kept > there:
            raise BackboneError(f"num_hidden_layers {kept} is more than the {there} layers of the pretrained weights.")
        if pretrained and kept < there and groups != 1:
            raise BackboneError(
                "num_hidden_layers cannot be cut: layers take turns in more than one num_hidden_groups."
            )
        if isinstance(types, list):  # ModernBERT's kinds of attention, layer by layer
            if kept > len(types):
                raise BackboneError(
                    f"num_hidden_layers {kept} is more than the {len(types)} layer_types of the configuration."
                )
            merged["layer_types"] = types[:kept]
    if "global_attn_every_n_layers" in overrides:
        merged.pop("layer_types", None)  # what a saved configuration spells out is made anew
    return merged


def check_config(config: Mapping[str, object], model_type: str) -> None:
    """Raise :class:`BackboneError`, one line, where ``config`` cannot make a working encoder."""
    for key in (*_COUNTS, *_OWN_COUNTS):
        value, least = config.get(key, 1), 0 if key in _MAY_BE_ZERO.get(model_type, ()) else 1
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise BackboneError(f"{key} must be a whole number of at least {least}, not {value!r}.")
    for key in _dropouts(model_type):
        value = config.get(key)
        if value is not None and not (isinstance(value, int | float) and 0 <= value < 1):
            raise BackboneError(f"{key} must be at least 0 and below 1, not {value!r}.")
    for key in ("initializer_range", "layer_norm_eps"):
        value = config.get(key, 1.0)
        if not (isinstance(value, int | float) and 0 < value <= 1):
            raise BackboneError(f"{key} must be above 0 and at most 1, not {value!r}.")
    act = config.get("hidden_act", "gelu")
    if act not in ACT2FN:
        raise make_unknown_error("hidden_act", str(act), ACT2FN)
    hidden, heads = config.get("hidden_size"), config.get("num_attention_heads")
    if isinstance(hidden, int) and isinstance(heads, int) and hidden % heads:
        raise BackboneError(f"hidden_size {hidden} is not a multiple of num_attention_heads {heads}.")
    if model_type == "modernbert" and isinstance(hidden, int) and isinstance(heads, int) and (hidden // heads) % 2:
        raise BackboneError(
            f"hidden_size {hidden} over num_attention_heads {heads} is odd: rotary positions need pairs."
        )
    layers, groups = config.get("num_hidden_layers"), config.get("num_hidden_groups", 1)
    if isinstance(layers, int) and isinstance(groups, int) and groups > layers:
        raise BackboneError(f"num_hidden_groups {groups} is more than num_hidden_layers {layers}.")
    if model_type == "roberta" and not isinstance(config.get("pad_token_id", 1), int):
        raise BackboneError(
            f"RoBERTa counts positions from pad_token_id, which is {config['pad_token_id']!r} here: set it in "
            "config.json to the tokenizer's, 1 in the stock model."
        )
    if find_max_tokens(config, model_type) < 2:
        raise BackboneError(f"max_position_embeddings {config['max_position_embeddings']} leaves no room for tokens.")


def find_max_tokens(config: Mapping[str, object], model_type: str) -> int:
    """Return how many tokens fit the position table; RoBERTa's first pad_token_id + 1 rows are not positions."""
    rows = int(str(config.get("max_position_embeddings", 512)))
    if model_type != "roberta":
        return rows
    return rows - int(str(config.get("pad_token_id", 1))) - 1

"""Exits and criteria as an exported folder has them: plain tensors and settings, without ExitBench's classes.

Both are found by their exact class: a subclass may decide otherwise, and what is not listed cannot be exported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from backbones import CLASSIFIERS
from bench.errors import UsageError
from strategies.base import Criterion, ExitModel, Head
from strategies.confidence import MaxProbability
from strategies.deebert import HighwayHead, NatsEntropy
from strategies.elbert import LabelWindow, MonotoneWindow, RangeWindow, SharedHead, Window
from strategies.entropy import LinearHead, NormalisedEntropy
from strategies.margin import SmallMargin
from strategies.own_classifier import OwnLastExit
from strategies.patience import Patience, SharedPoolerHead
from strategies.romebert import RomeEntropy

PackedRule = dict[str, Any]


def _pack_window(criterion: Any, outputs: int) -> PackedRule:
    return {"window": criterion.window, "margin": criterion.margin}


def _pack_range(criterion: Any, outputs: int) -> PackedRule:
    return {**_pack_window(criterion, outputs), "range": criterion.range}


def _pack_patience(criterion: Any, outputs: int) -> PackedRule:
    return {"tolerance": criterion.tolerance if outputs == 1 else 0.5}  # class numbers differ by 1 at least


def _pack_nothing(criterion: Any, outputs: int) -> PackedRule:
    return {}


PACKED: dict[type[Criterion], tuple[str, Callable[[Any, int], PackedRule]]] = {
    NormalisedEntropy: ("entropy", _pack_nothing),
    NatsEntropy: ("entropy-nats", _pack_nothing),
    RomeEntropy: ("entropy-nats", _pack_nothing),
    MaxProbability: ("max-probability", _pack_nothing),
    SmallMargin: ("margin", _pack_nothing),
    Patience: ("patience", _pack_patience),
    MonotoneWindow: ("elbert-mono", _pack_window),
    RangeWindow: ("elbert-range", _pack_range),
    LabelWindow: ("elbert-label", _pack_window),
}
"""Criteria that ``early_exit.py`` has: what they are called there, and their settings."""

STRATEGIES_PACKED = (
    *("deebert", "elbert-label", "elbert-mono", "elbert-range", "entropy", "margin", "max-probability"),
    *("patience", "romebert"),
)
"""The strategies that these are the criteria of, for messages."""


def pack_criterion(criterion: Criterion, outputs: int, name: str) -> PackedRule:
    """Return a criterion's ``kind`` and settings; ``name`` is its strategy's, for messages.

    Raises UsageError where ``early_exit.py`` does not have it.
    """
    found = PACKED.get(type(criterion))
    known = ", ".join(STRATEGIES_PACKED)
    if found is None:
        raise UsageError(f"The criterion of '{name}' cannot be exported. These can: {known}.")
    if isinstance(criterion, Window) and criterion.first != "entropy":
        raise UsageError(f"'{name}' with first={criterion.first} cannot be exported: only first=entropy can.")
    kind, pack = found
    return {"kind": kind, **pack(criterion, outputs), "strict": criterion.strict}


def _name_linear(head: Any, exit: int) -> list[str]:
    return [f"exits.{exit}"]


def _name_pooled(head: Any, exit: int) -> list[str]:
    pooler = "pooler" if head.shares_pooler else f"poolers.{exit}"
    return [pooler, "classifier" if head.shares_classifier else f"classifiers.{exit}"]


LAYER_NAMES: dict[type[Head], Callable[[Any, int], list[str]]] = {
    LinearHead: _name_linear,
    HighwayHead: _name_pooled,
    SharedHead: _name_pooled,
    SharedPoolerHead: _name_pooled,
}
"""Heads that are linear layers with tanh between them: what an exit's layers are called in the head."""


def pack_head(head: Head, name: str) -> tuple[dict[str, Tensor], list[list[str]]]:
    """Return the exits' weights, and for each exit 1, 2, ... the names of its linear layers, in order.

    Where the last exit is the backbone's own classifier, it is not among them. ``name`` is the head's, for messages.
    Raises UsageError where the exits are something else.
    """
    early, exits = (head.early, head.num_layers - 1) if isinstance(head, OwnLastExit) else (head, head.num_layers)
    layers = LAYER_NAMES.get(type(early))
    if layers is None:
        raise UsageError(
            f"The head '{name}' cannot be exported: its exits are no plain linear layers on a pooled state."
        )
    names = [layers(early, exit) for exit in range(exits)]
    weights, used = early.state_dict(), {one for row in names for one in row}
    return {key: weights[key] for one in sorted(used) for key in (f"{one}.weight", f"{one}.bias")}, names


def make_stock_model(model: ExitModel) -> tuple[Any, PackedRule]:
    """Return transformers' own model with the weights of ``model``, and arguments for loading it.

    It is the stock classification model where its classifier is the last exit, else the encoder without a pooler, which
    no exit reads. ``model`` is used up.
    """
    encoder, head = model.encoder, model.head
    if isinstance(head, OwnLastExit):
        kind: Any = CLASSIFIERS.load(encoder.model_type).model_class
        whole, prefix = kind(encoder.model.config), kind.base_model_prefix
        wanted = whole.state_dict()
        weights = {f"{prefix}.{name}": tensor for name, tensor in encoder.model.state_dict().items()}
        for name, tensor in head.classifier.state_dict().items():
            weights[name if name in wanted else f"{prefix}.{name}"] = tensor
        whole.load_state_dict({name: weights[name] for name in wanted})
        return whole.eval(), {}
    if not hasattr(encoder.model, "pooler"):
        return encoder.model, {}
    encoder.model.pooler = None
    return encoder.model, {"add_pooling_layer": False}

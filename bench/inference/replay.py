"""Replay a criterion over recorded logits: the same step function as live, layer after layer, all samples at once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from backbones.names import blame_maker
from bench.errors import UsageError
from bench.measure.curve import exit_layers
from bench.measure.exits import AllExits
from bench.measure.scores import hash_ids, score_exits
from bench.measure.trade_off import Costs, TradeOff
from bench.settings import bind_arguments, split_threshold
from bench.text import write_html_table
from strategies import STRATEGIES
from strategies.base import Criterion, Evidence, Strategy, predict
from strategies.contract import check_numbers, is_makers, name_class

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class Decisions:
    """Where each sample leaves (``layer`` int64 [N], 1-based), what it is told, and the scores [N, L] that decided.

    ``threshold`` is the one that was used. Where labels were given, ``trade_off`` is the criterion's curve over these
    samples, its costs counted in layers.
    """

    layer: NDArray[np.int64]
    prediction: NDArray[np.int64] | NDArray[np.float32]
    scores: NDArray[np.float32] | NDArray[np.float64]
    threshold: float = math.nan
    trade_off: TradeOff | None = field(default=None, repr=False)

    @property
    def accuracy(self) -> float:
        """The share of samples whose answer is their label. Raises UsageError without labels, or classes."""
        known = self._labelled()
        if known.exits.logits.shape[2] == 1:
            raise UsageError("Values have no accuracy: this is a regression.")
        return float((self.prediction == known.exits.labels).mean())

    @property
    def curve(self) -> pd.DataFrame:
        """The exact trade-off curve on these samples, a row a setting: threshold, quality, mean layer, speed-up.

        ``quality`` is the accuracy, of values Pearson's correlation. The first row has no threshold where nobody
        leaves early. Thresholds that are picked on it are optimistic for other samples. Raises UsageError without
        labels.
        """
        import pandas as pd

        known = self._labelled()
        rows = np.flatnonzero(~np.isnan(known.quality))
        cuts = known.curve.midpoints[rows]
        thresholds = [known.criterion.threshold(float(cut)) for cut in cuts]
        return pd.DataFrame({
            "threshold": [t if math.isfinite(t) else math.nan for t in thresholds],
            "metric": known.metrics[0],
            "quality": known.quality[rows],
            "mean_layer": known.curve.mean_layer[rows],
            "cost_unit": known.costs.unit,
            "cost_speedup": known.speedup[rows],
        })  # fmt: skip

    def _labelled(self) -> TradeOff:
        if self.trade_off is None:
            raise UsageError("Curve and accuracy need the answers that are right: give labels= to bench.replay.")
        return self.trade_off

    def __repr__(self) -> str:
        """Return how many samples leave after how many layers."""
        samples, exits = self.scores.shape
        at = f"at threshold {self.threshold:g}"
        return f"<Decisions: {samples} samples leave after {self.layer.mean():.2f} of {exits} layers {at}>"

    def _repr_html_(self) -> str:
        samples, exits = self.scores.shape
        counts = np.bincount(self.layer, minlength=exits + 1)[1:]
        rows: list[list[str]] = []
        for exit_, count in enumerate(counts, start=1):
            right = ""
            if self.trade_off is not None and count and self.trade_off.exits.logits.shape[2] > 1:
                here = self.layer == exit_
                right = f"{(self.prediction[here] == self.trade_off.exits.labels[here]).mean():.3f}"
            rows.append([str(exit_), str(count), f"{count / samples:.1%}", right])
        return write_html_table(repr(self)[1:-1], ["exit", "samples", "share", "accuracy there"], rows)


def replay(
    strategy: str | type[Strategy],
    logits: ArrayLike | Tensor,
    threshold: float | None = None,
    *,
    labels: ArrayLike | None = None,
    ids: NDArray[np.str_] | None = None,
    observed: ArrayLike | Tensor | None = None,
    fit_on: Evidence | None = None,
    **arguments: object,
) -> Decisions:
    """Decide for recorded logits [samples, exits, classes] with a strategy's criterion.

    ``threshold`` defaults to the criterion's own; ``arguments`` are the criterion's (``window=8``). The field's own
    name of the threshold serves too (``patience=3``). ``labels`` are for oracles, and for accuracy and curve;
    ``observed`` [samples, exits, numbers] for criteria that read hidden states; ``fit_on``, other samples than these,
    for criteria that are fitted. Logits keep their dtype, float32 or float64.
    Raises UsageError for unknown names and shapes, StrategyError for logits that are not finite and for a count that
    is no whole number.
    """
    criterion, named = make_criterion(strategy, arguments)
    if named is not None and threshold is not None:
        raise UsageError(f"Give the threshold once: as threshold or as {criterion.threshold_name}.")
    chosen = threshold if threshold is not None else named if named is not None else criterion.default_threshold
    z = convert_logits(logits)
    fit_criterion(criterion, fit_on)
    found = score_exits(criterion, z, keys=None if ids is None else hash_ids(ids), labels=labels, observed=observed)
    cut = float(found.dtype.type(criterion.cut_at(chosen)))  # as a live comparison rounds it
    layer = exit_layers(found, cut, strict=criterion.strict)
    left = z[torch.arange(len(z)), torch.from_numpy(layer) - 1]
    known = None if labels is None else _make_trade_off(criterion, z, np.array(labels), ids, found)
    return Decisions(layer, predict(left).numpy(), found, chosen, known)


def _make_trade_off(
    criterion: Criterion, z: Tensor, labels: NDArray[Any], ids: NDArray[np.str_] | None, scores: NDArray[Any]
) -> TradeOff:
    """The curve over logits [N, L, C] whose scores [N, L] are known, in layers."""
    samples, exits, outputs = z.shape
    if labels.shape != (samples,):
        raise UsageError(f"labels must be one a sample ({samples}), not {labels.shape}.")
    kind: type = np.float32 if outputs == 1 else np.int64
    names = tuple(map(str, range(samples) if ids is None else ids))
    recorded = AllExits(names, labels.astype(kind), z.numpy(), np.zeros(samples, dtype=np.int64))
    metrics = ("pearson" if outputs == 1 else "accuracy",)
    return TradeOff(criterion, recorded, Costs.layers(samples, exits), metrics, scores)


def make_criterion(strategy: str | type[Strategy], arguments: Mapping[str, object]) -> tuple[Criterion, float | None]:
    """Return the strategy's criterion with ``arguments``, and the threshold if it is among them by its own name."""
    kind = STRATEGIES.load(strategy) if isinstance(strategy, str) else strategy
    what = f"strategy '{kind.name}'"
    given, threshold = split_threshold(kind.criterion, arguments, what)
    with blame_maker(kind.criterion, f"Criterion of {what}"):
        return kind.criterion(**bind_arguments(kind.criterion, given, what)), threshold


def list_criteria(names: Iterable[str], outputs: int) -> dict[str, Criterion]:
    """Return, with their defaults, the criteria of the strategies ``names`` that recorded logits are enough for.

    Left out are those that look at labels or later exits, never leave early, read more than logits or would have to be
    fitted first, and those that refuse a task with so many ``outputs``.
    """
    found = {name: make_criterion(name, {})[0] for name in names}
    return {
        name: c
        for name, c in found.items()
        if c.causal and not c.needs_labels and c.uses_early_exits and not c.fits and c.probe is None
        and c.refuse(outputs) is None
    }  # fmt: skip


def fit_criterion(criterion: Criterion, evidence: Evidence | None) -> dict[str, list[float]]:
    """Fit ``criterion`` where it has something to learn; return its numbers. Raises UsageError without evidence."""
    if not criterion.fits:
        return {}
    if evidence is None:
        raise UsageError("This criterion is fitted on labelled samples held out for it: give them with fit_on.")
    fitted = criterion.fit(evidence)
    if is_makers(criterion):
        check_numbers(fitted, f"{name_class(criterion)}: fit")
    return fitted


def make_evidence(exits: AllExits) -> Evidence:
    """Return recorded exits as tensors, for a criterion to be fitted on."""
    observed = None if exits.observed is None else torch.from_numpy(np.array(exits.observed))
    return Evidence(torch.from_numpy(np.array(exits.logits)), torch.tensor(exits.labels.tolist()), observed)


def convert_logits(logits: ArrayLike | Tensor) -> Tensor:
    """Return logits as a float tensor [N, L, C] on the host; all but float64 become float32."""
    z = logits.detach().cpu() if isinstance(logits, Tensor) else torch.from_numpy(np.array(logits))
    if z.ndim != 3 or 0 in z.shape:
        raise UsageError(f"logits must be samples x exits x classes with none of them 0, not {tuple(z.shape)}.")
    if z.dtype not in (torch.float32, torch.float64):
        z = z.to(torch.float32)
    return z

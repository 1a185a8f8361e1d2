"""The registry's criteria as its tests make them, from the package's own made-up logits and observations."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from backbones.base import Batch
from bench.measure.curve import exact_curve
from bench.measure.scores import score_exits
from bench.selfcheck.properties.live import KEYS, list_quantile_cuts
from bench.selfcheck.properties.subject import EXITS as LAYERS
from bench.selfcheck.properties.subject import JudgedCriterion, draw_logits, make_first, make_observed, make_seen
from bench.selfcheck.properties.subject import fit_on_model as fitted
from bench.settings import list_settable
from strategies import STRATEGIES
from strategies.base import Criterion, Evidence, ExitModel, Strategy

__all__ = ["KEYS", "LAYERS", "fitted", "reads", "seen_at", "start"]

reads, seen_at, start = make_observed, make_seen, make_first

KINDS: dict[str, type[Strategy]] = {name: STRATEGIES.load(name) for name in STRATEGIES}
CAUSAL = [name for name, kind in KINDS.items() if kind.criterion.causal]
UNFITTED = {f"{name}, unfitted": KINDS[name] for name in CAUSAL if KINDS[name].criterion.fits}
JUDGED = [*CAUSAL, *UNFITTED]
SHORT = {"window": 3}  # windows that fire within six exits


def judge(name: str, **arguments: object) -> JudgedCriterion:
    kind = {**KINDS, **UNFITTED}[name]
    own = {key: value for key, value in SHORT.items() if key in list_settable(kind.criterion)}
    return JudgedCriterion(kind, {**own, **arguments}, name not in UNFITTED)


def make(name: str, **arguments: object) -> Criterion:
    return judge(name, **arguments).make()


def held_out(name: str) -> Evidence:
    """Other samples than those that are judged, for criteria that are fitted."""
    judged = judge(name)
    return judged.draw_evidence(outputs=3 if judged.criterion.classification else 1)


def score_of(criterion: Criterion, logits: Tensor, keys: Tensor | None = None) -> NDArray[Any]:
    """The scores of a criterion whose probe, if it has one, read made-up numbers."""
    return score_exits(criterion, logits, keys=keys, observed=reads(criterion, logits))


def random_logits(name: str, seed: int = 0, samples: int = 40, classes: int = 3, scale: float = 2.0) -> Tensor:
    """Logits [N, L, C] whose exits agree often enough for windows and counters to fire."""
    outputs = classes if judge(name).criterion.classification else 1
    return draw_logits(seed, samples, LAYERS, outputs, scale)


def finite_cuts(criterion: Criterion, logits: Tensor) -> list[float]:
    found = score_of(criterion, logits)
    curve = exact_curve(found, [], strict=criterion.strict)
    return curve.midpoints.tolist()


# --- on small models

OUTPUTS = {name: 3 if KINDS[name].criterion.classification else 1 for name in CAUSAL}


def criterion_of(name: str) -> Criterion:
    cls = KINDS[name].criterion
    try:
        return cls(window=3)  # type: ignore[call-arg]  # short enough to fire within the tiny backbones
    except TypeError:
        return cls()


def cuts_of(criterion: Criterion, model: ExitModel, batch: Batch) -> list[float]:
    """Never, always, quantiles of the scores that occur, and a cut at which somebody leaves in between."""
    return list_quantile_cuts(criterion, model, batch, KEYS)

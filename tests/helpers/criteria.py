"""Criteria as the tests of the registry make them: what a probe would have read, samples to be fitted on."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from backbones.base import Batch
from bench.inference.probing import probe_batch
from bench.inference.replay import make_criterion
from bench.measure.curve import exact_curve
from bench.measure.scores import score_exits
from bench.settings import list_settable
from strategies import STRATEGIES
from strategies.base import Criterion, Evidence, ExitModel, Seen, Start, Strategy, step_through


def reads(criterion: Criterion, logits: Tensor) -> Tensor | None:
    """Made-up observations [N, L, K] in [0, 1] for logits [N, L, C], or None for a criterion without a probe.

    They follow from the logits at the same exit, so that they stay with their sample however it is sliced or moved.
    """
    if criterion.probe is None:
        return None
    width = criterion.probe.width(logits.shape[-1])
    mixed = logits.double().sum(dim=-1, keepdim=True) * torch.arange(1, width + 1)
    return torch.sin(mixed).abs().to(logits.dtype)


def fitted(criterion: Criterion, model: ExitModel, samples: int = 64) -> Criterion:
    """``criterion`` and its probe, fitted on random samples of the shape and in the precision of ``model``."""
    generator = torch.Generator().manual_seed(20_210_701)
    outputs, dtype = model.head.num_outputs, next(model.parameters()).dtype
    labels = torch.arange(samples) % max(outputs, 2)
    features = torch.randn(samples, model.num_layers, model.encoder.hidden_size, generator=generator)
    logits = 3 * torch.randn(samples, model.num_layers, outputs, generator=generator)
    if criterion.probe is not None:
        criterion.probe.fit(features, logits, labels)
        criterion.probe.to(dtype)
    if criterion.fits:
        criterion.fit(Evidence(logits, labels, reads(criterion, logits)))
    return criterion


# --- on made-up logits

LAYERS = 6
KINDS: dict[str, type[Strategy]] = {name: STRATEGIES.load(name) for name in STRATEGIES}
CAUSAL = [name for name, kind in KINDS.items() if kind.criterion.causal]
UNFITTED = {f"{name}, unfitted": KINDS[name] for name in CAUSAL if KINDS[name].criterion.fits}
JUDGED = [*CAUSAL, *UNFITTED]
SHORT = {"window": 3}  # windows that fire within six exits


def make(name: str, **arguments: object) -> Criterion:
    kind = {**KINDS, **UNFITTED}[name]
    own = {key: value for key, value in SHORT.items() if key in list_settable(kind.criterion)}
    criterion = make_criterion(kind, {**own, **arguments})[0]
    if criterion.fits and name not in UNFITTED:
        criterion.fit(held_out(name))
    return criterion


def held_out(name: str) -> Evidence:
    """Other samples than those that are judged, for criteria that are fitted."""
    logits = random_logits(name, seed=1000)
    return Evidence(logits, logits[:, -2].argmax(dim=-1), reads(KINDS[name].criterion(), logits))


def score_of(criterion: Criterion, logits: Tensor, keys: Tensor | None = None) -> NDArray[Any]:
    """The scores of a criterion whose probe, if it has one, read made-up numbers."""
    return score_exits(criterion, logits, keys=keys, observed=reads(criterion, logits))


def seen_at(criterion: Criterion, logits: Tensor, layer: int) -> Seen:
    """What ``criterion`` sees at an exit of logits [N, L, C]."""
    observed = reads(criterion, logits)
    return Seen(layer, logits[:, layer - 1], None if observed is None else observed[:, layer - 1])


def random_logits(name: str, seed: int = 0, samples: int = 40, classes: int = 3, scale: float = 2.0) -> Tensor:
    """Logits [N, L, C] whose exits agree often enough for windows and counters to fire."""
    outputs = classes if {**KINDS, **UNFITTED}[name].criterion.classification else 1
    generator = torch.Generator().manual_seed(seed)
    own = torch.randn(samples, 1, outputs, generator=generator)
    return scale * (own + 0.7 * torch.randn(samples, LAYERS, outputs, generator=generator).cumsum(dim=1))


def start(logits: Tensor, keys: Tensor | None = None) -> Start:
    samples, exits, outputs = logits.shape
    return Start(samples, exits, outputs, logits.dtype, keys=torch.arange(samples) if keys is None else keys)


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
    with torch.inference_mode():
        logits = model(batch)
    observed = None if criterion.probe is None else probe_batch(model, criterion.probe, batch)
    steps = step_through(criterion, torch.stack(logits, dim=1), keys=KEYS, observed=observed)
    scores = torch.stack([score.double() for _, score in [*steps][:-1]], dim=1)  # the last exit is asked nothing
    finite = scores.flatten()
    finite = finite[finite.isfinite()]
    levels = finite.quantile(torch.tensor([0.1, 0.3, 0.5, 0.8], dtype=torch.float64)).tolist() if len(finite) else []
    # half way between two scores: no decision hangs on the last bit of a logit
    ordered = sorted(set(finite.tolist()))
    between = [(a + b) / 2 for level in levels for a, b in itertools.pairwise(ordered) if a <= level < b]
    before = scores.cummin(dim=1).values[:, :-1]
    row, at = next(iter((scores[:, 1:] < before).nonzero().tolist()), (0, 0))  # who can leave after exit 1, if any
    middle = float(scores[row, at + 1] + before[row, at]) / 2
    return [-math.inf, *between, *([middle] if math.isfinite(middle) else []), math.inf]


KEYS = torch.arange(100, 106)

"""The exact curve against the rule applied cut by cut, on any scores; small trade-offs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.measure.curve import Curve, exact_curve, exit_layers
from bench.measure.exits import AllExits
from bench.measure.trade_off import Costs, TradeOff
from strategies.base import Criterion
from strategies.entropy import NormalisedEntropy

Array = NDArray[Any]


def statistics(samples: int, exits: int, seed: int = 0) -> list[Array]:
    """Additive statistics [N, L, S]: booleans, large integers, floats and layers."""
    rng = np.random.default_rng(seed)
    correct = rng.random((samples, exits)) < 0.7
    return [
        correct,
        rng.integers(0, 10**12, (samples, exits, 1)),
        rng.normal(size=(samples, exits, 3)),
        np.broadcast_to(np.arange(1, exits + 1), (samples, exits)),
    ]


def sums_at(stats: list[Array], layers: Array) -> list[Array]:
    """Sums of statistics over samples that leave at ``layers`` [N]."""
    rows = np.arange(len(layers))
    return [s.reshape(*s.shape[:2], -1)[rows, layers - 1].sum(axis=0) for s in stats]


def check_curve(scores: Array, strict: bool) -> Curve:
    """The exact curve of ``scores``, after every row of it was compared with the rule applied cut by cut."""
    stats = statistics(*scores.shape)
    curve = exact_curve(scores, stats, strict)
    reachable = set()
    for cuts in (curve.cuts, curve.midpoints):
        assert len(cuts) == len(curve)
        assert cuts[0] == -np.inf
        assert (cuts[:-1] < cuts[1:]).all()
        for k, cut in enumerate(cuts):
            layers = exit_layers(scores, cut, strict)
            reachable.add(layers.tobytes())
            assert curve.row(cut) == k
            for have, want in zip(curve.sums, sums_at(stats, layers), strict=True):
                np.testing.assert_allclose(have[k], want, rtol=1e-12, atol=1e-12)
                if want.dtype.kind == "i":
                    assert (have[k] == want).all()
            assert curve.mean_layer[k] == layers.mean()
    # every decision set that any cut at all can give has exactly one row
    probes = np.unique(scores.astype(np.float64))
    with np.errstate(over="ignore"):
        beside = [np.nextafter(probes, np.inf), np.nextafter(probes, -np.inf), [-np.inf, np.inf]]
    probes = np.concatenate([probes, *beside])
    everything = {exit_layers(scores, c, strict).tobytes() for c in probes}
    assert everything == reachable
    assert len(curve) == len(reachable)
    return curve


def make_exits(samples: int = 60, exits: int = 5, classes: int = 3, seed: int = 0) -> AllExits:
    """Logits that grow towards the label with depth."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, samples)
    logits = random.normal(size=(samples, exits, classes)).astype(np.float32)
    logits[np.arange(samples)[:, None], np.arange(exits)[None], labels[:, None]] += np.linspace(0.5, 3, exits)
    ids = tuple(f"s{i}" for i in range(samples))
    return AllExits(ids, labels.astype(np.int64), logits, random.integers(4, 20, samples))


def make_trade_off(
    criterion: Criterion | None = None, seed: int = 0, metrics: Sequence[str] = ("accuracy",), samples: int = 60
) -> TradeOff:
    """A criterion's trade-off on :func:`make_exits`, its costs in layers; by entropy where none is given."""
    exits = make_exits(samples, seed=seed)
    return TradeOff(criterion or NormalisedEntropy(), exits, Costs.layers(*exits.logits.shape[:2]), metrics)

"""Every criterion replayed on the logits of every recorded checkpoint, and ranked: nothing is trained, no model runs.

A *block* is one training (whatever its seed) on one task. A criterion's quality there is the mean over budgets from a
third of the layers to all of them, evenly spaced: at each the first cut whose mean exit is within the budget, which
looks at no label. Where no setting is so cheap, everybody is told the commonest answer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from bench.compare.criteria import group_by_training, title_group
from bench.compare.quality import REPLICATES
from bench.errors import UsageError
from bench.inference.replay import fit_criterion, make_criterion, make_evidence
from bench.measure.areas import GRID
from bench.measure.curve import Float, exact_curve, exit_layers
from bench.measure.exits import AllExits
from bench.measure.metrics import from_statistics, statistics
from bench.measure.scores import score_recorded
from bench.measure.stats import draw_counts, holm
from bench.results.groups import make_checkpoint_key
from bench.results.run import Run
from strategies.base import Criterion
from strategies.probe import Probe

SIGNIFICANT = 0.05
CHEAPEST = 1 / 3
"""The cheapest budget, as a share of the layers: three times as fast."""


@dataclass(frozen=True, eq=False)
class CheckpointBlock:
    """One training on one task: its runs by seed, of each seed one for each set of observations that was kept."""

    title: str
    task: str
    metric: str
    runs: Mapping[int, Sequence[Run]]

    @property
    def samples(self) -> int:
        """Samples of the reported split."""
        return self.first.result().samples

    @property
    def first(self) -> Run:
        """Any run of it."""
        return next(iter(self.runs.values()))[0]

    def sum_answers(self, make: Callable[[], Criterion]) -> list[Float] | None:
        """Return, of each seed, what every sample adds to the metric's sums at every budget, [N, GRID, S] or [N, 1, S].

        None where a criterion cannot be replayed: another kind of task, observations or held-out logits not kept.
        """
        found = []
        for runs in self.runs.values():
            criterion = make()
            run = next((run for run in runs if _has_read(run, criterion.probe)), None)
            if run is None or criterion.refuse(run.exits().logits.shape[2]) is not None:
                return None
            if criterion.fits and not run.has_exits(run.record.task.select):
                return None
            fit_criterion(criterion, make_evidence(run.exits(run.record.task.select)) if criterion.fits else None)
            answers = answer_at_budgets(criterion, run.exits(), run.record.backbone.whole_depth)
            found.append(average_budgets(self.metric, statistics(self.metric, answers, run.exits().labels)))
        return found


def _has_read(run: Run, probe: Probe | None) -> bool:
    """Whether a run kept what ``probe`` reads: its own criterion's probe is the same."""
    if probe is None:
        return True
    own = run.criterion.probe
    return type(own) is type(probe) and own is not None and dict(own.settings) == dict(probe.settings)


def answer_at_budgets(criterion: Criterion, exits: AllExits, depth: int) -> NDArray[Any]:
    """Return what every sample is told at each budget, [N, GRID]; the commonest answer where none is so cheap."""
    scores, predictions = score_recorded(criterion, exits), exits.predictions
    curve = exact_curve(scores, [], strict=criterion.strict)
    values, counts = np.unique(predictions[:, -1], return_counts=True)
    told = np.full((len(scores), GRID), values[counts.argmax()], dtype=predictions.dtype)
    settings = np.flatnonzero(curve.midpoints <= criterion.loosest)
    for at, budget in enumerate(np.linspace(CHEAPEST * depth, depth, GRID)):
        within = settings[curve.mean_layer[settings] <= budget * (1 + 1e-9)]
        if len(within):
            cut = float(scores.dtype.type(curve.midpoints[within[0]]))
            layers = exit_layers(scores, cut, strict=criterion.strict)
            told[:, at] = predictions[np.arange(len(scores)), layers - 1]
    return told


def average_budgets(metric: str, sums: Float) -> Float:
    """Return what samples add, [N, G, S], averaged over the budgets where that has the same metric: [N, 1, S].

    Of accuracy, whose denominator is the same at each, so that a hundredth is left to be drawn from; others stay.
    """
    return sums.mean(axis=1, keepdims=True) if metric == "accuracy" else sums


def list_blocks(runs: Sequence[Run]) -> list[CheckpointBlock]:
    """Return the trainings whose logits are at hand, each with one run a seed, and others that observed something."""
    blocks = []
    for group in group_by_training(runs):
        by_seed: dict[int, list[Run]] = defaultdict(list)
        for runs_of in group.values():
            for seed, run in runs_of.items():
                known = by_seed[seed]
                same = not known or make_checkpoint_key(run) == make_checkpoint_key(known[0])
                if same and (not known or run.criterion.probe is not None):
                    known.append(run)
        first = next(iter(by_seed.values()))[0]
        whole = first.layers == first.record.backbone.whole_depth and first.layers > 1
        if whole and any(run.criterion.uses_early_exits for some in by_seed.values() for run in some):
            blocks.append(CheckpointBlock(title_group(first), first.task, first.metric, dict(sorted(by_seed.items()))))
    return blocks


@dataclass(frozen=True, eq=False)
class Standings:
    """Criteria on blocks: ``quality`` and ``replicates`` by criterion and block; ``bounds``, an oracle's, by block."""

    blocks: Sequence[CheckpointBlock]
    quality: Mapping[str, Mapping[int, float]]
    replicates: Mapping[str, Mapping[int, Float]]
    bounds: Mapping[int, float]
    same: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Criterion -> others that decide as it does on every block, and stand with it."""

    @cached_property
    def everywhere(self) -> list[str]:
        """The criteria that stand on every block, which alone have ranks."""
        return [name for name, found in self.quality.items() if len(found) == len(self.blocks)]

    @cached_property
    def ranks(self) -> dict[str, float]:
        """Return the average rank of each criterion over the blocks, 1 the best; ties share theirs."""
        names = self.everywhere
        if not names:
            return {}
        table = np.array([[self.quality[name][at] for name in names] for at in range(len(self.blocks))])
        found = stats.rankdata(-table.round(9), axis=1).mean(axis=0)
        return dict(zip(names, map(float, found), strict=True))

    @property
    def critical_difference(self) -> float | None:
        """Nemenyi's: average ranks that are closer are no different at 5 % (Demšar 2006, JMLR 7); None of too few."""
        many, blocks = len(self.everywhere), len(self.blocks)
        if many < 2 or blocks < 2:
            return None
        quantile = stats.studentized_range.ppf(1 - SIGNIFICANT, many, np.inf) / np.sqrt(2)
        return float(quantile * np.sqrt(many * (many + 1) / (6 * blocks)))

    @property
    def friedman(self) -> float | None:
        """The p-value that all criteria are alike, by Friedman's test over the blocks; None of too few."""
        names = self.everywhere
        if len(names) < 3 or len(self.blocks) < 2:
            return None
        columns = [[round(self.quality[name][at], 9) for at in range(len(self.blocks))] for name in names]
        p = float(stats.friedmanchisquare(*columns).pvalue)
        return p if np.isfinite(p) else None

    def compare(self, name: str, other: str) -> list[Paired]:
        """Return ``name`` against ``other`` on each block that both stand on, p-values adjusted by Holm over these."""
        shared = [at for at in self.quality[name] if at in self.quality[other]]
        found = []
        for at in shared:
            difference = self.quality[name][at] - self.quality[other][at]
            drawn = self.replicates[name][at] - self.replicates[other][at]
            low, high = np.quantile(drawn, [SIGNIFICANT / 2, 1 - SIGNIFICANT / 2])
            tail = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
            p = min(1.0, 2 * (tail + 1) / (len(drawn) + 1))
            found.append((at, difference, float(low), float(high), p))
        adjusted = holm([p for *_, p in found])
        return [Paired(*one, float(a)) for one, a in zip(found, adjusted, strict=True)]

    def headroom(self, name: str) -> float | None:
        """Return how much more the oracle has, over the blocks that ``name`` stands on; None without an oracle."""
        shared = [self.bounds[at] - value for at, value in self.quality[name].items() if at in self.bounds]
        return float(np.mean(shared)) if shared else None


@dataclass(frozen=True)
class Paired:
    """Two criteria on one block, on the same samples."""

    block: int
    difference: float
    low: float
    high: float
    p: float
    adjusted: float

    @property
    def verdict(self) -> str:
        """``better``, ``worse`` or ``level`` at 5 %, after Holm's adjustment."""
        if self.adjusted >= SIGNIFICANT or self.difference == 0:
            return "level"
        return "better" if self.difference > 0 else "worse"


def rank_criteria(
    runs: Sequence[Run], names: Iterable[str], apart: Iterable[str] = (), *, oracle: bool = False,
    say: Callable[[str], None] | None = None,
) -> Standings:  # fmt: skip
    """Return how the criteria of strategies ``names``, with their defaults, stand on every block of ``runs``.

    Those that decide alike everywhere stand together, but for names that stand ``apart``. ``say`` is told of each block
    before it is replayed.
    """
    blocks = list_blocks(runs)
    quality: dict[str, dict[int, float]] = {}
    replicates: dict[str, dict[int, Float]] = {}
    bounds: dict[int, float] = {}
    makers = {name: _make_maker(name) for name in names}
    for at, block in enumerate(blocks):
        if say is not None:
            say(f"Checkpoint {at + 1} of {len(blocks)}: {block.title}.")
        summed: dict[str, list[Float]] = {}
        for name, make in makers.items():
            if (found := block.sum_answers(make)) is not None:
                summed[name] = found
        for name, (value, drawn) in draw_areas(block.metric, summed).items():
            quality.setdefault(name, {})[at] = value
            replicates.setdefault(name, {})[at] = drawn
        if oracle and block.metric == "accuracy":
            exits = [runs[0].exits() for runs in block.runs.values()]
            bounds[at] = float(np.mean([bound_accuracy(one, block.first.layers) for one in exits]))
    same = _merge_same(quality, replicates, set(apart))
    return Standings(blocks, quality, replicates, bounds, same)


def _merge_same(
    quality: dict[str, dict[int, float]], replicates: dict[str, dict[int, Float]], apart: set[str]
) -> dict[str, list[str]]:
    """Take criteria out that have the numbers of another on every block; return whose. Those ``apart`` stay."""
    same: dict[str, list[str]] = {}
    first: dict[tuple[object, ...], str] = {}
    for name in [name for name in quality if name not in apart]:
        drawn = (round(float(one.std()), 9) for one in replicates[name].values())
        key = (*((at, round(value, 9)) for at, value in quality[name].items()), *drawn)
        kept = first.setdefault(key, name)
        if kept != name:
            same.setdefault(kept, []).append(name)
            del quality[name], replicates[name]
    return same


def bound_accuracy(exits: AllExits, depth: int) -> float:
    """Return the mean accuracy over budgets of the exits that somebody would take who knows the labels.

    Exact: every sample that is right somewhere is worth the same, so that those that are right earliest come first.
    """
    right = exits.predictions == exits.labels[:, None]
    extra = np.sort(right.argmax(axis=1)[right.any(axis=1)]).cumsum()  # layers beyond the first
    budgets = np.linspace(CHEAPEST * depth, depth, GRID)
    return float(np.searchsorted(extra, (budgets - 1) * len(right) + 1e-6, side="right").mean() / len(right))


def _make_maker(name: str) -> Callable[[], Criterion]:
    return lambda: make_criterion(name, {})[0]


def draw_areas(metric: str, summed: Mapping[str, Sequence[Float]]) -> dict[str, tuple[float, Float]]:
    """Return each criterion's mean quality over budgets and seeds, and its replicates [B], all from the same draws."""
    if not summed:
        return {}
    tables = [one for seeds in summed.values() for one in seeds]  # each [N, G, S]
    samples, budgets, columns = tables[0].shape
    flat = np.concatenate([one.reshape(samples, -1) for one in tables], axis=1)
    drawn = np.concatenate([w @ flat for w in draw_counts(samples, REPLICATES, 0)])
    by_table = drawn.reshape(len(drawn), len(tables), budgets, columns)
    areas = np.stack([_average(metric, by_table[:, i]) for i in range(len(tables))], axis=1)  # [B, tables]
    whole = np.array([_average(metric, one.sum(axis=0)[None])[0] for one in tables])
    found, begun = {}, 0
    for name, seeds in summed.items():
        part = slice(begun, begun + len(seeds))
        found[name] = float(whole[part].mean()), areas[:, part].mean(axis=1)
        begun += len(seeds)
    return found


def _average(metric: str, sums: Float) -> Float:
    """Return the mean over budgets of the metric of sums [B, G, S]: [B]."""
    replicates, budgets, columns = sums.shape
    values: Float = np.asarray(from_statistics(metric, sums.reshape(-1, columns))).reshape(replicates, budgets)
    return values.mean(axis=1)


def list_replayable(names: Iterable[str]) -> list[str]:
    """Return the strategies whose criterion leaves early by what it sees, whatever it reads or is fitted on."""
    found = []
    for name in names:
        criterion = make_criterion(name, {})[0]
        if criterion.causal and not criterion.needs_labels and criterion.uses_early_exits:
            found.append(name)
    return found


def refuse_rules(names: Iterable[str]) -> None:
    """Raise UsageError for a rule that cannot be ranked: one that looks ahead, or never leaves."""
    for name in names:
        if not list_replayable([name]):
            raise UsageError(
                f"'{name}' looks at labels or later exits, or never leaves early: there is nothing to rank."
            )


def explain_missing(name: str) -> str:
    """Return why a rule stands on no block, on one line."""
    if make_criterion(name, {})[0].probe is not None:
        return "it reads hidden states, and no record kept what its probe reads"
    return "no recorded task is of a kind that it serves, with the held-out logits that it is fitted on"

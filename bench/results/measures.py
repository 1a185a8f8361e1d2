"""The measured numbers of a record: what a criterion reaches on a split, and at what cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Discriminator, Tag

from bench.results.part import Amounts, Cut, Estimate, Frozen, Number, Part
from bench.results.times import TimedPoint
from bench.text import format_bytes

if TYPE_CHECKING:  # records are read without torch
    from bench.inference.counting import CountedWork, Tally


class Performance(Part):
    """What one cut gives on a split."""

    metrics: Frozen[Estimate]
    """By metric, with intervals over samples."""
    samples: int
    mean_layer: Number
    """Mean exit layer, 1-based."""
    layer_fraction: Number
    """``mean_layer`` over the number of exits."""
    cost_unit: Literal["flops", "layers"]
    cost_speedup: Estimate
    """Cost of the plain model over cost with early exits."""
    cost_mean: Number
    """Cost a sample, in ``cost_unit``."""
    exit_counts: tuple[int, ...]
    """Samples leaving at exit 1..L."""


class ChosenOn(Part):
    """What the select split promised of a cut that was chosen there."""

    quality: Number
    """Of the first metric."""
    cost_speedup: Number


class _Rule(Part):
    rule: str
    """What was asked: ``no-loss``, ``2x``, ``default``, or a threshold, ``threshold=-1`` where it is negative."""
    chosen_on: Literal["select", "default", "given"]


class _Chosen(_Rule):
    cut: Cut
    """Of the scores; -inf lets nobody leave early."""
    threshold: Number | None
    """The cut in the criterion's own terms; None where nobody leaves early."""
    select: ChosenOn | None = None


class OperatingPoint(Performance, _Chosen):
    """A cut that a rule chose on the select split, and what it gives on the reported one."""

    latency: TimedPoint | None = None
    """Its time, where it was measured."""


class UnreachedPoint(_Rule):
    """A rule that no cut satisfies on the select split."""

    reason: str


def _find_tag(point: Any) -> str:
    if isinstance(point, dict):
        return "<reached>" if "cut" in point or "metrics" in point else "<unreached>"
    return "<unreached>" if isinstance(point, UnreachedPoint) else "<reached>"


AnyPoint = Annotated[
    Annotated[OperatingPoint, Tag("<reached>")] | Annotated[UnreachedPoint, Tag("<unreached>")],
    Discriminator(_find_tag),
]


class CurveRow(Part):
    """One row of a trade-off curve."""

    threshold: Number | None
    """None where nobody leaves early."""
    quality: Number
    """Of the first metric."""
    mean_layer: Number
    cost_speedup: Number
    pareto: bool
    """Whether no other row is at least as good and as cheap, and better in one of them."""


class SplitResult(Part):
    """One evaluation split: the full model, every exit by itself, the curve, the operating points."""

    samples: int
    full: Performance
    """All layers for everybody."""
    per_exit: Frozen[tuple[Number, ...]]
    """By metric: everybody forced to leave at exit 1..L."""
    points: tuple[AnyPoint, ...]
    curve_rows: int
    """Rows of the exact curve, of which ``curve`` keeps at most 100 (before 2026-11-28: 200)."""
    curve: tuple[CurveRow, ...]

    @cached_property
    def reached(self) -> Mapping[str, OperatingPoint]:
        """The operating points that were reached, by rule, in the order of the record."""
        return MappingProxyType({point.rule: point for point in self.points if isinstance(point, OperatingPoint)})

    @property
    def performances(self) -> Mapping[str, Performance]:
        """All layers, then every operating point that was reached."""
        return {"all layers": self.full, **self.reached}

    @cached_property
    def unreached(self) -> Mapping[str, UnreachedPoint]:
        """The operating points that were not reached, by rule."""
        return MappingProxyType({point.rule: point for point in self.points if isinstance(point, UnreachedPoint)})


class HeldOut(Part):
    """The split that thresholds were chosen on."""

    split: str
    full: Frozen[Estimate]
    """All layers, by metric."""


class SkillCheck(Part):
    """The full model's answers on a split against one answer for all samples."""

    measure: Literal["accuracy", "squared error"]
    model: Number
    """The ``measure`` of the full model."""
    baseline: Number
    """That of the one answer that does best."""
    answer: Number
    """The commonest class, by number, or the mean of the labels."""
    gain: Estimate
    """How much better the model is, paired: more accuracy, or less squared error."""
    constant_exits: tuple[int, ...]
    """Exits, 1-based, that answer the same for every sample."""


class LiveCheck(Part):
    """The early-stopping forward against the replay, on a sample of the primary split."""

    samples: int
    cut: Cut
    dtype: str
    other_exit: int
    """Samples that left elsewhere than the replay says."""
    other_prediction: int
    bound: Number
    """The largest share of disagreement that rounding explains."""
    ok: bool


class Changes(Part):
    """How many samples are answered, or leave, otherwise."""

    predictions: int
    exits: int


class PrecisionChanges(Part):
    """What half precision changes on a split, against the same checkpoint in fp32."""

    samples: int
    against: str
    all_layers: int
    """Predictions of the last exit that differ."""
    points: Frozen[Changes]
    """By rule."""


COUNTED = ("operations", "weight_bytes", "activation_bytes", "syncs", "transfers")
COUNTED_AT = ("embed", "start", "layers", "heads", "checks")


class Counted(Part):
    """What was done at one kind of place, by layer; see :class:`bench.inference.counting.Tally`."""

    operations: Amounts
    weight_bytes: Amounts
    activation_bytes: Amounts
    syncs: Amounts
    transfers: Amounts

    @classmethod
    def of(cls, tallies: Iterable[Tally]) -> Self:
        """Return what is recorded of tallies by layer."""
        each = list(tallies)
        return cls(**{name: tuple(getattr(tally, name) for tally in each) for name in COUNTED})

    def list_amounts(self, quantity: str) -> tuple[int, ...]:
        """Return the amounts of one of :data:`COUNTED` by layer."""
        found: tuple[int, ...] = getattr(self, quantity)
        return found


class CountedRun(Part):
    """One run over made-up tokens, whose exits are prescribed."""

    exits: Amounts
    """Where its samples left."""
    tokens: Amounts
    embed: Counted
    start: Counted
    """Before layer 1, besides the embedding."""
    layers: Counted
    heads: Counted
    checks: Counted
    """What follows each head."""

    @classmethod
    def of(cls, found: CountedWork) -> Self:
        """Return what is recorded of a counted run."""
        places = {place: Counted.of(getattr(found, place)) for place in COUNTED_AT}
        return cls(exits=found.exits, tokens=found.tokens, **places)

    @property
    def name(self) -> str:
        """What it is of: ``a sample leaving at 6``."""
        exits = ", ".join(map(str, self.exits))
        return f"a sample leaving at {exits}" if len(self.exits) == 1 else f"{len(self.exits)} leaving at {exits}"

    def sum_amounts(self, quantity: str, *places: str) -> int:
        """Return how much of a quantity there was at these places, by default at all."""
        return sum(sum(getattr(self, place).list_amounts(quantity)) for place in places or COUNTED_AT)

    def list_places(self) -> Iterator[tuple[str, int, str]]:
        """Yield every place at which something is counted: kind, layer, and its name for people."""
        for place in COUNTED_AT:
            for layer in range(1, len(getattr(self, place).operations) + 1):
                where = place.removesuffix("s")
                yield place, layer, where if place in ("embed", "start") else f"{where} {layer}"


class Counts(Part):
    """What the eager engine does with a model and a criterion, in several runs, the first without early exits."""

    device: str
    """Its kind: operations differ between kinds."""
    dtype: str
    runs: tuple[CountedRun, ...]

    @classmethod
    def of(cls, found: Iterable[CountedWork], device: str, dtype: str) -> Self:
        """Return what is recorded of counted runs."""
        return cls(device=device, dtype=dtype, runs=tuple(CountedRun.of(run) for run in found))

    @property
    def never(self) -> CountedRun:
        """The sample that never leaves early, so that it looks at every exit."""
        return self.runs[0]

    def describe(self) -> str:
        """Return in a sentence what looking at an exit takes, and a layer."""
        run = self.never
        before = slice(0, len(run.layers.operations) - 1)  # nobody checks the last exit
        if not any(run.heads.operations[before]):
            return ""
        pairs = zip(run.heads.operations[before], run.checks.operations[before], strict=True)
        operations = write_span([head + check for head, check in pairs])
        waits = write_span(run.checks.syncs[before])
        return (
            f"Counted, a sample of {run.tokens[0]} tokens: looking at an exit takes {operations} operations, "
            f"{format_bytes(max(run.heads.weight_bytes))} of weights and {waits} host "
            f"synchronisation{'' if waits == '1' else 's'}; a layer {write_span(run.layers.operations)} operations and "
            f"{format_bytes(max(run.layers.weight_bytes))}."
        )


def write_span(amounts: Sequence[int]) -> str:
    """Return ``9`` where all are the same, else ``9 to 44``."""
    low, high = min(amounts), max(amounts)
    return f"{low}" if low == high else f"{low} to {high}"

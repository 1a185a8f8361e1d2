"""``compare_results(base, candidate)``: pair the cells, then judge every number of every pair."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace

from bench.compare.costs import compare_costs, compare_latency
from bench.compare.counts import compare_pair_counts
from bench.compare.pairing import Pair, check_across, pair_runs
from bench.compare.quality import Side, compare_quality, compare_recorded, compare_samples, keep_common
from bench.compare.sources import SourceRuns
from bench.compare.verdict import VERDICTS, Margins, Row, adjust_tests
from bench.errors import NOTHING_COMPARABLE, OK, REGRESSION, UsageError
from bench.results.series_doubts import SeriesDoubt, add_marks, describe_doubts, find_series_doubts


@dataclass(frozen=True)
class CellDoubt:
    """What could make a split's numbers of a compared cell void, and on which sides: base, candidate or both."""

    cell: str
    split: str
    sides: tuple[str, ...]
    found: SeriesDoubt

    @property
    def name(self) -> str:
        """The cell with the side, where it is about one of them."""
        return self.cell if len(self.sides) > 1 else f"{self.cell} ({self.sides[0]})"

    def to_plain(self) -> dict[str, object]:
        """Return plain JSON values."""
        return {"cell": self.cell, "split": self.split, "sides": list(self.sides), **self.found.doubt.to_plain()}


@dataclass(frozen=True)
class Comparison:
    """Every row, the cells' notes (versions, commits), what is doubted, and the names of what was compared."""

    base: str
    candidate: str
    rows: list[Row]
    margins: Margins
    notes: dict[str, list[str]] = field(default_factory=dict)
    doubts: tuple[CellDoubt, ...] = ()

    def mark_cell(self, row: Row) -> str:
        """Return the name of the row's cell with what is doubted of the row's number in short."""
        here = [one.found for one in self.doubts if one.cell == row.cell and row.split in ("", one.split)]
        about = [one for one in here if not one.doubt.rules or row.point in one.doubt.rules]
        return add_marks(row.cell, list(dict.fromkeys(about)))

    def describe_doubts(self) -> list[str]:
        """Return a sentence for each kind of doubt."""
        return describe_doubts((one.name, [one.found]) for one in self.doubts)

    @property
    def counts(self) -> dict[str, int]:
        """Rows by verdict, in the order of interest."""
        found = Counter(row.verdict for row in self.rows)
        return {verdict: found[verdict] for verdict in VERDICTS}

    @property
    def compared(self) -> bool:
        """Whether anything at all could be compared."""
        return any(row.verdict != "not comparable" for row in self.rows)

    def exit_code(self, fail_on: Sequence[str] = ("worse",)) -> int:
        """Return 3 where a verdict of ``fail_on`` occurs, 4 where nothing could be compared, else 0."""
        if not self.compared:
            return NOTHING_COMPARABLE
        return REGRESSION if any(row.verdict in fail_on for row in self.rows) else OK

    def to_json(self) -> dict[str, object]:
        """Return all of it as plain data."""
        return {
            "base": self.base,
            "candidate": self.candidate,
            "margins": asdict(self.margins),
            "counts": self.counts,
            "rows": [{k: v for k, v in asdict(row).items() if v is not None} for row in self.rows],
            "notes": self.notes,
            "doubts": [one.to_plain() for one in self.doubts],
        }


NO_SAMPLES = "no samples beside the record (exits-*.parquet)"


def parse_fail_on(text: str) -> tuple[str, ...]:
    """Read verdicts separated by commas, ``none`` for none; dashes for blanks. Raises UsageError for anything else."""
    if text.strip() == "none":
        return ()
    names = tuple(part.strip().replace("-", " ") for part in text.split(",") if part.strip())
    wrong = [name for name in names if name not in VERDICTS]
    if wrong or not names:
        known = ", ".join(v.replace(" ", "-") for v in VERDICTS)
        raise UsageError(f"--fail-on takes {known} (separated by commas) or none, not '{text}'.")
    return names


def compare_results(
    base: SourceRuns,
    candidate: SourceRuns,
    margins: Margins | None = None,
    across: Sequence[str] = (),
    names: tuple[str, str] = ("base", "candidate"),
) -> Comparison:
    """Judge ``candidate`` against ``base``. Settings named in ``across`` may differ between the two.

    What is damaged, record or logits, is worse of the candidate, and cannot be compared with of the base. Raises
    UsageError for names in ``across`` that are no settings.
    """
    margins = margins or Margins()
    base, candidate = base.leave_out_damaged(), candidate.leave_out_damaged()
    check_across(across, [*base.runs, *candidate.runs])
    pairing = pair_runs(base.runs, candidate.runs, across)
    rows = [row for pair in pairing.pairs for row in compare_pair(pair, margins)]
    none = "no such cell" + (" that can be used" if candidate.left_out else "")
    rows += [Row(label, "cell", "not comparable", f"the candidate has {none}") for label in pairing.missing]
    rows += [Row(label, "cell", "not comparable", "new: the base has no such cell") for label in pairing.new]
    rows += [Row(bad.name, "cell", "worse", f"unusable in the candidate: {bad.why}") for bad in candidate.left_out]
    rows += [Row(bad.name, "cell", "not comparable", f"unusable in the base: {bad.why}") for bad in base.left_out]
    notes = {pair.label: said for pair in pairing.pairs if (said := [*pair.notes, *name_limits(pair)])}
    doubts = tuple(doubt for pair in pairing.pairs for doubt in find_pair_doubts(pair))
    return Comparison(*names, adjust_tests(rows, margins.alpha), margins, notes, doubts)


def find_pair_doubts(pair: Pair) -> Iterator[CellDoubt]:
    """Yield what could make numbers of a pair void, split by split; the same on both sides once."""
    splits = [run.record.evaluation for run in (pair.base, pair.candidate) if run.is_finished()]
    for split in dict.fromkeys(name for names in splits for name in names):
        found: dict[SeriesDoubt, list[str]] = {}
        for side, run in (("base", pair.base), ("candidate", pair.candidate)):
            if run.is_finished() and split in run.record.evaluation:
                for doubt in find_series_doubts([run], split):
                    found.setdefault(doubt, []).append(side)
        yield from (CellDoubt(pair.label, split, tuple(sides), doubt) for doubt, sides in found.items())


def name_limits(pair: Pair) -> list[str]:
    """Return how many samples were used of how many there are, where somebody limited them."""
    run = pair.candidate
    if not run.spec.limit or not run.is_finished():
        return []
    sizes = [f"{split} n = {run.describe_used(split)}" for split in run.record.evaluation]
    return [f"limited: {', '.join(sizes)}, trained on {run.describe_used('train')}"]


def compare_pair(pair: Pair, margins: Margins) -> list[Row]:
    """Return a row for every number of one pair."""
    start = Row(pair.label, "cell", "not comparable", "")
    if pair.forbidden:
        return [replace(start, reason="; ".join(pair.forbidden))]
    if not pair.base.is_finished():
        return [replace(start, reason=f"the base's run ended with status {pair.base.status}")]
    if not pair.candidate.is_finished():
        said = f"the candidate's run ended with status {pair.candidate.status} {pair.candidate.error}"
        return [replace(start, verdict="worse", reason=said.strip())]
    rows: list[Row] = []
    for split in pair.base.record.evaluation:
        if split in pair.candidate.record.evaluation:
            rows += compare_split(pair, split, margins)
        else:
            rows.append(replace(start, verdict="worse", split=split, reason="the candidate has no such split"))
    return rows + compare_pair_counts(pair) + compare_latency(pair, margins)


def compare_split(pair: Pair, split: str, margins: Margins) -> list[Row]:
    """Return the rows of one evaluation split: samples, quality, costs."""
    row = Row(pair.label, "samples", "not comparable", "", split=split)
    why = NO_SAMPLES
    if pair.base.has_exits(split) and pair.candidate.has_exits(split):
        why = (pair.base.find_refusal() or pair.candidate.find_refusal()).removesuffix(".")
    if why:
        return [*compare_records(pair, split, why), *compare_costs(pair, split, None, margins)]
    base, candidate = pair.base.exits(split), pair.candidate.exits(split)
    rows = [compare_samples(row, base, candidate)]
    kept = keep_common(base, candidate)
    if not len(kept[0].ids):
        return [*rows, replace(row, metric="quality", reason="not one sample in common")]
    if base.logits.shape[1:] != candidate.logits.shape[1:]:
        shapes = f"{list(base.logits.shape[1:])} -> {list(candidate.logits.shape[1:])}"
        return [*rows, replace(row, metric="quality", reason=f"exits x classes {shapes}")]
    sides = Side.replay(pair.base, kept[0], split), Side.replay(pair.candidate, kept[1], split)
    rows += compare_quality(pair, split, *sides, margins)
    return rows + compare_costs(pair, split, sides, margins)


def compare_records(pair: Pair, split: str, why: str) -> list[Row]:
    """Return rows of quality where records travel without samples: equal numbers are the same, others untested."""
    base, candidate = pair.base.result(split), pair.candidate.result(split)
    others = candidate.performances
    return [
        compare_recorded(
            Row(pair.label, name, "same", "", rule, split),
            point,
            others[rule],
            "equal",
            f"{why}, hence no paired test",
        )
        for rule, point in base.performances.items()
        if rule in others
        for name in point.metrics
        if name in others[rule].metrics
    ]

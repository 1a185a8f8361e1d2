"""What early exit does, counted: compared exactly, place by place, since nothing about it depends on the machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from bench.compare.pairing import Pair
from bench.compare.verdict import Row, Verdict
from bench.results.measures import COUNTED, CountedRun, Counts

COUNTED_WORDS = {
    "operations": "operations",
    "weight_bytes": "bytes of weights",
    "activation_bytes": "bytes of activations",
    "syncs": "host synchronisations",
    "transfers": "transfers to a device",
}
"""Names of the quantities for people, in the order in which a difference is told."""
COUNTED_LIBRARIES = ("torch", "transformers")
"""What decides, besides our own code, which operations there are."""


def compare_counts(row: Row, base: Counts | None, candidate: Counts | None, libraries: str = "") -> list[Row]:
    """Return a row for each counted run. ``libraries`` says how those differ, where they do."""
    if base is None and candidate is None:
        return []
    row = replace(row, metric="counts", verdict="not comparable")
    if base is None or candidate is None:
        side = "base" if base is None else "candidate"
        return [replace(row, reason=f"in the {side}, nothing was counted")]
    for name in ("device", "dtype"):
        one, other = getattr(base, name), getattr(candidate, name)
        if one != other:
            return [replace(row, reason=f"other {name}: {one} -> {other}")]
    names = [[run.name for run in counts.runs] for counts in (base, candidate)]
    if names[0] != names[1]:
        return [replace(row, reason="of other runs")]
    found = (
        judge_counts(replace(row, metric=f"counts, {one.name}"), one, other)
        for one, other in zip(base.runs, candidate.runs, strict=True)
    )
    if not libraries:
        return list(found)
    doubt = f"whether the code or {libraries} did it cannot be told"
    return [
        one if one.verdict == "same" else replace(one, verdict="inconclusive", reason=f"{one.reason}; {doubt}")
        for one in found
    ]


def judge_counts(row: Row, base: CountedRun, candidate: CountedRun) -> Row:
    """Judge one run: worse where any quantity rose in total, better where some only fell."""
    moved = list(list_moves(base, candidate))
    if not moved:
        return replace(row, verdict="same", reason="equal at every layer, head and check")
    totals = {name: (base.sum_amounts(name), candidate.sum_amounts(name)) for name in COUNTED}
    risen = [name for name, (before, after) in totals.items() if after > before]
    fallen = [name for name, (before, after) in totals.items() if after < before]
    told = (risen or fallen or COUNTED)[0]
    before, after = totals[told]
    more = f" and at {len(moved) - 1} more places" if len(moved) > 1 else ""
    reason = f"{COUNTED_WORDS[told]} {before:,} -> {after:,}: {moved[0]}{more}"
    verdict: Verdict = "worse" if risen else "better" if fallen else "inconclusive"
    return replace(row, verdict=verdict, reason=reason, base=before, candidate=after)


def list_moves(base: CountedRun, candidate: CountedRun) -> Iterator[str]:
    """Yield every place with other amounts than before: ``check 3: operations 7 -> 8``."""
    places = {place: None for run in (base, candidate) for place in run.list_places()}
    for place, layer, name in places:
        differ = []
        for quantity in COUNTED:
            one, other = (_find_amount(run, place, layer, quantity) for run in (base, candidate))
            if one != other:
                differ.append(f"{COUNTED_WORDS[quantity]} {one:,} -> {other:,}")
        if differ:
            yield f"{name}: {', '.join(differ)}"


def _find_amount(run: CountedRun, place: str, layer: int, quantity: str) -> int:
    amounts = getattr(run, place).list_amounts(quantity)
    return amounts[layer - 1] if layer <= len(amounts) else 0


def compare_pair_counts(pair: Pair) -> list[Row]:
    """Return the rows of one pair of records."""
    versions = [run.head.environment.versions for run in (pair.base, pair.candidate)]
    libraries = ", ".join(
        f"{name} {versions[0].get(name)} -> {versions[1].get(name)}"
        for name in COUNTED_LIBRARIES
        if versions[0].get(name) != versions[1].get(name)
    )
    row = Row(pair.label, "counts", "not comparable", "")
    return compare_counts(row, pair.base.record.counts, pair.candidate.record.counts, libraries)

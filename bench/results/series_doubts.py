"""Doubts about series of runs, in short beside rows, and why at the foot of tables."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.results.doubts import DOUBT_TITLES, Doubt, DoubtKind
from bench.results.run import Run

MOST_SAID = 6
"""Findings of one kind that the foot of a table spells out."""


@dataclass(frozen=True)
class SeriesDoubt:
    """A doubt about a series: about which of its seeds, and of how many."""

    doubt: Doubt
    seeds: tuple[int, ...]
    of: int

    @property
    def where(self) -> str:
        """The seeds it is about; nothing where that is all of them."""
        return _name_seeds(self.seeds) if len(self.seeds) < self.of else ""

    def to_plain(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**self.doubt.to_plain(), "seeds": list(self.seeds)}


def find_series_doubts(
    runs: Sequence[Run], split: str, rules: Iterable[str] | None = None, *, replayed: bool = False
) -> list[SeriesDoubt]:
    """Return the doubts about runs of one series; of those about operating points only those about ``rules``.

    Of runs that are ``replayed``, all, and whether their criterion is another one by now.
    """
    shown = None if rules is None else set(rules)
    found: dict[Doubt, list[int]] = defaultdict(list)
    for run in runs:
        for doubt in run.find_replay_doubts(split) if replayed else run.find_doubts(split, shown):
            found[doubt].append(run.seed)
    return [SeriesDoubt(doubt, tuple(seeds), len(runs)) for doubt, seeds in found.items()]


def join_marks(doubts: Sequence[SeriesDoubt]) -> str:
    """Return ``no skill, 16 held out``; with ``no skill: seed 1`` where it is not all seeds; nothing without doubts."""
    seeds: dict[str, set[int]] = defaultdict(set)
    of = {one.doubt.mark: one.of for one in doubts}
    for one in doubts:
        seeds[one.doubt.mark] |= set(one.seeds)
    return ", ".join(mark + (f": {_name_seeds(some)}" if len(some) < of[mark] else "") for mark, some in seeds.items())


def add_marks(name: str, doubts: Sequence[SeriesDoubt]) -> str:
    """Return ``entropy (no skill, 16 held out)``; the name alone without doubts."""
    return f"{name} ({join_marks(doubts)})" if doubts else name


def describe_doubts(rows: Iterable[tuple[str, Iterable[SeriesDoubt]]]) -> list[str]:
    """Return a sentence for each kind of doubt about named series, for the foot of a table.

    Series of which the same was found are named together.
    """
    kinds: dict[tuple[DoubtKind, str], dict[str, dict[str, None]]] = defaultdict(lambda: defaultdict(dict))
    for name, doubts in rows:
        for one in doubts:
            kinds[one.doubt.kind, one.doubt.why][one.doubt.found][f"{name} {one.where}".strip()] = None
    sentences = []
    for (kind, why), found in kinds.items():
        each = [f"{', '.join(names)}: {what}" for what, names in found.items()]
        more = f"; and {len(each) - MOST_SAID} more" if len(each) > MOST_SAID else ""
        sentences.append(f"{DOUBT_TITLES[kind]}: {why}. {'; '.join(each[:MOST_SAID])}{more}.")
    return sentences


def describe_row_doubts(rows: Sequence[Mapping[str, Any]], column: str) -> list[str]:
    """Return a sentence for each kind of doubt about the rows of a table, which are called as ``column`` calls them."""
    names = name_rows([(row[column], row["arguments"]) for row in rows])
    return describe_doubts(zip(names, [row["doubts"] for row in rows], strict=True))


def name_rows(rows: Sequence[tuple[str, str]]) -> list[str]:
    """Return a name for each row of a table from its name and arguments: these only where the name is there twice."""
    often = Counter(name for name, _ in rows)
    return [f"{name} ({arguments})" if often[name] > 1 and arguments else name for name, arguments in rows]


def _name_seeds(seeds: Iterable[int]) -> str:
    named = sorted(seeds)
    return f"{'seed' if len(named) == 1 else 'seeds'} {', '.join(map(str, named))}"

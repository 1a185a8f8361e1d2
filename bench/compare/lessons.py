"""What a ranking of criteria teaches: five sentences, whose figures are the ranking's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.compare.leaderboard import Paired, Standings

AT_RANDOM = "random"
"""The criterion that looks at nothing."""
ASKS = {
    "confidence": "that go by how sure one exit is",
    "windows and patience": "that ask whether several exits agree",
    "learned": "that are fitted or read hidden states",
}


@dataclass(frozen=True)
class Against:
    """A criterion beside the reference: its mean difference from it over the checkpoints that both stand on."""

    name: str
    pairs: Sequence[Paired]

    @property
    def difference(self) -> float:
        """How much better it is than the reference."""
        return 0.0 - float(np.mean([pair.difference for pair in self.pairs]))  # never -0

    @property
    def is_level(self) -> bool:
        """Whether it is nowhere better or worse."""
        return all(pair.verdict == "level" for pair in self.pairs)


def draw_lessons(found: Standings, families: Mapping[str, str], against: str) -> list[str]:
    """Return the lessons as far as the ranking shows them; ``families`` of the criteria that are ours, by name.

    Better and worse are paired with ``against``, at 5 % after Holm's adjustment over each criterion's checkpoints.
    """
    if against not in found.quality:
        return []
    said = [_say_family(found, families, against, family) for family in ASKS]
    return [one for one in (*said, _say_chance(found, against), _say_headroom(found, against)) if one]


def _list_family(found: Standings, families: Mapping[str, str], against: str, family: str) -> list[Against]:
    """Return the criteria of a family beside the reference; those that decide alike count one by one."""
    members = {kept: [kept, *found.same.get(kept, ())] for kept in found.quality if kept != against}
    standing = {kept: found.compare(against, kept) for kept in members}
    return [
        Against(name, standing[kept])
        for kept, names in members.items()
        for name in names
        if families.get(name) == family and standing[kept]
    ]


def _say_family(found: Standings, families: Mapping[str, str], against: str, family: str) -> str:
    rivals = sorted(_list_family(found, families, against, family), key=lambda one: (-one.difference, one.name))
    if not rivals:
        return ""
    level = sum(one.is_level for one in rivals)
    verdicts = Counter(pair.verdict for one in rivals for pair in one.pairs)
    mean, best, worst = float(np.mean([one.difference for one in rivals])), rivals[0], rivals[-1]
    others = "other criteria" if families.get(against) == family else "criteria"
    return (
        f"Of {len(rivals)} {others} {ASKS[family]}, {level} are level with {against} on every checkpoint; their mean "
        f"difference from it is {mean:+.4f}, from {worst.difference:+.4f} ({worst.name}) to {best.difference:+.4f} "
        f"({best.name}), and they are worse in {verdicts['better']} and better in {verdicts['worse']} of "
        f"{verdicts.total()} comparisons."
    )


def _say_chance(found: Standings, against: str) -> str:
    """Say where it matters at all which samples leave."""
    if AT_RANDOM not in found.quality or against == AT_RANDOM:
        return ""
    pairs = found.compare(against, AT_RANDOM)
    lost = [pair.difference for pair in pairs if pair.verdict == "better"]
    if not lost:
        return (
            f"Leaving at random is as good as {against} on all of {len(pairs)} checkpoints: who leaves does not matter."
        )
    rest = len(pairs) - len(lost)
    elsewhere = f"; on the other {rest} who leaves hardly matters, and no criterion can show its worth" if rest else ""
    return (
        f"Leaving at random is worse than {against} on {len(lost)} of {len(pairs)} checkpoints, by {np.mean(lost):.4f} "
        f"on average{elsewhere}."
    )


def _say_headroom(found: Standings, against: str) -> str:
    """Compare what the best criterion adds with what is left to add, on the checkpoints of the oracle."""
    room = found.headroom(against)
    full = {name: quality for name, quality in found.quality.items() if set(quality) >= set(found.quality[against])}
    if room is None or room <= 0:
        return ""
    gains = {
        name: float(np.mean([quality[at] - found.quality[against][at] for at in found.bounds if at in quality]))
        for name, quality in full.items()
    }
    best = max(gains, key=lambda name: (gains[name], name == against, name))
    return (
        f"An oracle that knows the labels has {room:+.4f} more than {against}; the best criterion, {best}, has "
        f"{gains[best]:+.4f}: choosing among criteria settles {gains[best] / room:.0%} of what there is to gain."
    )

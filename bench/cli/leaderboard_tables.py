"""The ranking of criteria as one table, the sentences about it, and as plain values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.compare.leaderboard import Standings, explain_missing

NOTE = (
    "Every criterion with its defaults, replayed on the recorded logits of each checkpoint. Quality: the mean over "
    "budgets from a third of the layers to all, each met by the first cut whose mean exit is within it (cost alone "
    "picks it; the commonest answer where no cut is so cheap), over seeds and checkpoints. Rank: the average over "
    "checkpoints, for criteria that stand on all. Against it: how often the first named is better, level and worse on "
    "the task's checkpoints, paired on the same samples, at 5 % after Holm's adjustment over the checkpoints of each "
    "pair. Checkpoints of one task share their samples, so that the critical difference is rather too small."
)


def tabulate_standings(found: Standings, mine: str, added: Sequence[str]) -> tuple[str, list[str], list[list[str]]]:
    """Return title, columns and rows, the best rank first; ``mine`` is compared with every other."""
    tasks = list(dict.fromkeys(block.task for block in found.blocks))
    columns = ["criterion", "rank", "quality", f"{mine} is", *tasks]
    columns += ["oracle has"] if found.bounds else []
    ranks = found.ranks
    order = sorted(found.quality, key=lambda name: (ranks.get(name, np.inf), name))
    rows = []
    for name in order:
        mean = float(np.mean(list(found.quality[name].values())))
        many = "" if name in ranks else f" on {len(found.quality[name])}"
        shown = ", ".join([name, *found.same.get(name, ())])
        row = [f"{shown} (added)" if name in added else shown, f"{ranks[name]:.2f}" if name in ranks else "-"]
        row.append(f"{mean:.4f}{many}")
        row += ["", *[""] * len(tasks)] if name == mine else _compare_cells(found, mine, name, tasks)
        if found.bounds:
            room = found.headroom(name)
            row.append("-" if room is None else f"{room:+.4f}")
        rows.append(row)
    return f"{len(found.quality)} criteria on {len(found.blocks)} checkpoints", columns, rows


def _compare_cells(found: Standings, mine: str, other: str, tasks: Sequence[str]) -> list[str]:
    pairs = found.compare(mine, other) if mine in found.quality else []
    if not pairs:
        return ["-", *["-"] * len(tasks)]
    cells = [f"{np.mean([pair.difference for pair in pairs]):+.4f}"]
    for task in tasks:
        counts = Counter(pair.verdict for pair in pairs if found.blocks[pair.block].task == task)
        cells.append("-".join(str(counts[word]) for word in ("better", "level", "worse")) if counts else "-")
    return cells


def describe_standings(found: Standings, mine: str, added: Sequence[str]) -> list[str]:
    """Return what was found, in sentences that somebody can repeat."""
    ranks, critical, said = found.ranks, found.critical_difference, []
    if ranks:
        best = min(ranks, key=lambda name: (ranks[name], name))
        line = f"{best} has the best average rank, {ranks[best]:.2f} of {len(ranks)}"
        if mine in ranks and mine != best:
            line += f"; {mine} has {ranks[mine]:.2f}"
        said.append(f"{line}.")
        if critical is not None:
            near = sum(rank - ranks[best] < critical for rank in ranks.values())
            p = "" if found.friedman is None else f", Friedman's test p = {found.friedman:.2g}"
            said.append(
                f"Ranks closer than {critical:.2f} are no different (Nemenyi, 5 %{p}): {near} are as good as the best."
            )
    rivals = [name for name in found.quality if name != mine]
    if mine in found.quality and rivals:
        verdicts = Counter(pair.verdict for name in rivals for pair in found.compare(mine, name))
        said.append(
            f"{mine} is better than another criterion in {verdicts['better']}, level in {verdicts['level']} and worse "
            f"in {verdicts['worse']} of {verdicts.total()} comparisons."
        )
    alike = [name for name in rivals if mine in found.quality and _is_same(found, mine, name)]
    said += [f"{mine} decides as {', '.join([name, *found.same.get(name, ())])} everywhere." for name in alike]
    if (room := found.headroom(mine) if mine in found.quality else None) is not None:
        said.append(f"An oracle that knows the labels has {room:+.4f} more than {mine}: the headroom left.")
    said += [f"{name} stands nowhere: {explain_missing(name)}." for name in (*added, mine) if name not in found.quality]
    return list(dict.fromkeys(said))


def _is_same(found: Standings, one: str, other: str) -> bool:
    pairs = found.compare(one, other)
    return len(pairs) == len(found.blocks) and all(pair.low == pair.high == pair.difference == 0 for pair in pairs)


def make_plain_standings(found: Standings, mine: str, added: Sequence[str]) -> dict[str, Any]:
    """Return the ranking as plain JSON values."""
    ranks = found.ranks
    titles = [block.title for block in found.blocks]
    rows = []
    for name in sorted(found.quality, key=lambda name: (ranks.get(name, float("inf")), name)):
        pairs = found.compare(mine, name) if name != mine and mine in found.quality else []
        row = {
            "criterion": name,
            "same": list(found.same.get(name, ())),
            "added": name in added,
            "rank": ranks.get(name),
            "headroom": found.headroom(name),
        }
        row["quality"] = {titles[at]: value for at, value in found.quality[name].items()}
        row["pairs"] = [{**vars(pair), "block": titles[pair.block], "verdict": pair.verdict} for pair in pairs]
        rows.append(row)
    return {
        "against": mine,
        "checkpoints": [{"title": block.title, "task": block.task, "samples": block.samples} for block in found.blocks],
        "critical_difference": found.critical_difference,
        "friedman": found.friedman,
        "criteria": rows,
    }

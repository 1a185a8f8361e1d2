"""How many recorded vectors of released code ours reproduces, and where it departs from them.

``python -m tests.helpers.vector_counts`` prints the tables as docs/methods.md has them.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from bench.text import write_markdown_table
from tests.helpers.golden_deviations import REASONS, listed
from tests.helpers.newer_vectors import DEVIATIONS, GOLDEN

COLUMNS = ("vectors", "recorded", "reproduced", "listed as different")


def count_vectors(folder: Path, different: Counter[tuple[str, str]]) -> list[tuple[str, int, int, str]]:
    """Return of each file its name, vectors, those that are reproduced, and how many differ for which reason."""
    rows = []
    for path in sorted(folder.glob("*.json")):
        many = len(json.loads(path.read_text(encoding="utf-8"))["cases"])
        why = {reason: count for (name, reason), count in sorted(different.items()) if name == path.stem}
        rows.append(
            (path.stem, many, many - sum(why.values()), ", ".join(f"{n} {reason}" for reason, n in why.items()))
        )
    whole = [sum(row[1] for row in rows), sum(row[2] for row in rows)]
    return [*rows, ("all", *whole, str(whole[0] - whole[1]))]


def write_tables() -> str:
    """Return both tables, the five systems' and the newer ones', with the reasons below each, as Markdown."""
    older = Counter((entry["file"], entry["reason"]) for entry in listed())
    newer = Counter((name, said.partition(":")[0]) for (name, _), said in DEVIATIONS.items())
    numbers: dict[tuple[str, str], list[str]] = {}
    for (name, number), said in DEVIATIONS.items():
        numbers.setdefault((name, said), []).append(str(number))
    each = [f"{name} {', '.join(ids)}, {said}" for (name, said), ids in numbers.items()]
    parts = []
    for folder, different, told in (
        (GOLDEN.parent, older, [f"{reason}: {said}" for reason, said in REASONS.items()]),
        (GOLDEN, newer, each),
    ):
        shown = [[name, str(many), str(same), why] for name, many, same, why in count_vectors(folder, different)]
        parts += ["\n".join(write_markdown_table(COLUMNS, shown)), "\n".join(f"- {one}." for one in told)]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    print(write_tables(), end="")

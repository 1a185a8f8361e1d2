"""Two runs on the same samples: on a terminal, as plain values, and as a page of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.analysis.cross import KINDS, Answers, Crossing
from bench.report import numbers
from bench.report.page import make_environment

TEXT_LENGTH = 150
Texts = Mapping[str, str]
"""The text of a sample by its id; empty where the data are not at hand."""


def name_side(side: Answers) -> str:
    """Return a run and its operating point."""
    return f"{side.run.folder.name} at {numbers.format_rule(side.rule) if side.rule else 'all layers'}"


def make_plain_crossing(found: Crossing, texts: Texts) -> dict[str, Any]:
    """Return everything as plain JSON values: every sample on which the two differ, with its text."""
    rows = [{**row, "text": texts.get(row["id"])} for kind in (0, 1) for row in found.list_rows(kind)]
    sides = [
        {"run": side.run.name, "point": side.rule or "all layers", "right": int(side.right.sum()),
         "left_out": left_out, "mean_exit": float(side.layers.mean()),
         "doubts": [doubt.to_plain() for doubt in side.run.find_replay_doubts(side.split)]}
        for side, left_out in zip((found.first, found.second), found.left_out, strict=True)
    ]  # fmt: skip
    counts = dict(zip(KINDS, found.counts, strict=True))
    same = {"samples": len(found.first.ids), "same_samples": found.same}
    return {"first": sides[0], "second": sides[1], **same, "counts": counts, "p": found.p, "differ": rows}


def print_crossing(found: Crossing, texts: Texts, out: Any, most: int) -> None:
    """Print what was found, how many samples are of each kind, and of each difference the ``most`` telling samples."""
    one, other, right, wrong = found.counts
    out.print(found.describe_difference())
    out.print(f"Both are right on {right}, both are wrong on {wrong}. {found.describe_samples()}")
    out.print(f"First: {name_side(found.first)}. Second: {name_side(found.second)}.")
    for kind, count, sides in ((0, one, ("first", "second")), (1, other, ("second", "first"))):
        rows = list(found.list_rows(kind, most))
        if rows:
            part = f"{len(rows)} of {count}" if len(rows) < count else str(count)
            out.print(f"\n{KINDS[kind].capitalize()} ({part}, the surest mistakes first):")
        for row in rows:
            right_side, wrong_side = (row[side] for side in sides)
            said = f"{sides[1]} says {wrong_side['answer']} at exit {wrong_side['exit']} ({wrong_side['sure']:.3f})"
            out.print(f"{row['id']} ({row['label']}): {said}, {sides[0]} leaves at exit {right_side['exit']}")
            if row["id"] in texts:
                out.print(f"    {shorten_text(texts[row['id']])}")
    for doubt in list_crossing_doubts(found):
        out.print(f"{doubt}.")


def shorten_text(text: str) -> str:
    """Return a text on one line, of a long one its beginning."""
    line = " ".join(text.split())
    return line if len(line) <= TEXT_LENGTH else f"{line[: TEXT_LENGTH - 1]}…"


def list_crossing_doubts(found: Crossing) -> list[str]:
    """Return what is doubted of both runs, after their names."""
    return [
        f"{side.run.folder.name}: {doubt.said}"
        for side in (found.first, found.second)
        for doubt in side.run.find_replay_doubts(side.split)
    ]


def render_crossing(found: Crossing, texts: Texts) -> str:
    """Render a page with every sample on which the two differ."""
    page = make_environment().get_template("cross.html.j2")
    lists = [(kind, list(found.list_rows(i))) for i, kind in enumerate(KINDS[:2])]
    names = [name_side(side) for side in (found.first, found.second)]
    counts = list(zip(KINDS, found.counts, strict=True))
    said = {"names": names, "counts": counts, "lists": lists, "texts": texts, "doubts": list_crossing_doubts(found)}
    return page.render(found=found, **said) + "\n"

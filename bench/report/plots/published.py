"""What others have published of a panel's task and backbone: hollow points, never a line, and rows of their own kind.

A speed-up has a place on an axis only where it counts the same thing: layers or FLOPs against FLOPs, layers against
layers. One of wall-clock time on somebody's machine, of several tasks at once or of one forced exit has none.
"""

from __future__ import annotations

from collections.abc import Sequence

from backbones.catalog import BACKBONES
from bench.measure.metrics import title_metric
from bench.report import numbers
from bench.report.formats import DataRow
from bench.report.marks import LARGE, Key, Point
from bench.report.series import Panel
from bench.report.style import Look, choose_look
from bench.reproduce.published import EVIDENCE, PublishedNumber, read_published
from strategies import STRATEGIES

BY_OTHERS = "published by others"
COMPARABLE = {"flops": ("layers", "flops"), "cost": ("layers", "flops"), "layers": ("layers",)}
"""By what `--x` calls an axis: the costs whose speed-ups have a place on it."""


def find_published_of(panel: Panel) -> list[PublishedNumber]:
    """Return the published numbers of a panel's task, backbone and metric with a speed-up of layers or FLOPs.

    None for a backbone of other sizes or from scratch, though it has the name. Likely misprints are left out.
    """
    run = panel.series[0].first
    known, sizes = BACKBONES.get(panel.backbone), run.record.backbone
    if known is None or (known.layers, known.hidden) != (sizes.whole_depth, sizes.hidden):
        return []
    if run.spec.init == "scratch" or run.record.external is not None:
        return []
    return [
        number
        for number in read_published()
        if (number.task, number.backbone, number.metric) == (panel.task, panel.backbone, panel.metric)
        if number.quality is not None and number.times and number.cost in ("layers", "flops")
        if not number.note.startswith("likely")
    ]


def keep_comparable(found: Sequence[PublishedNumber], x: str) -> list[PublishedNumber]:
    """Return the numbers that have a place on the axis ``x``, by their speed-up."""
    kept = [number for number in found if number.cost in COMPARABLE.get(x, ())]
    return sorted(kept, key=lambda number: (number.times or 0, number.quality or 0))


def draw_published(found: Sequence[PublishedNumber], panel: Panel, x: str) -> tuple[list[Point], Key]:
    """Return a hollow point for each number, all comparable on the axis ``x``, and the entry that switches them."""
    points = []
    for number in found:
        assert number.times is not None
        assert number.quality is not None
        look, place = choose_published_look(number), _place(number.times, panel, x)
        tip = tell_published(number)
        points.append(Point(BY_OTHERS, look, place, number.quality, tip, size=LARGE, hollow=True))
    return points, Key(BY_OTHERS, BY_OTHERS, Look("grey", "o", ""), hollow=True)


def _place(times: float, panel: Panel, x: str) -> float:
    return {"flops": times, "cost": 1 / times, "layers": panel.layers / times}[x]


def choose_published_look(number: PublishedNumber) -> Look:
    """Return the look of the strategy that a method is here; grey for one that is none."""
    name = STRATEGIES.find_name(number.system)
    return choose_look(name) if name in STRATEGIES else Look("grey", "o", "")


def tell_published(number: PublishedNumber) -> str:
    """Return everything that must be known of a published number, lines apart by newlines."""
    lines = [
        f"{number.method}: published, not measured here",
        f"{title_metric(number.metric)} {numbers.format_number(number.quality or 0)} ({number.split})",
        f"speed-up {number.speedup}×: {number.speedup_definition}",
        f"{number.paper}, {number.table}{f', {number.setting}' if number.setting else ''}",
        f"{number.evidence}: {EVIDENCE[number.evidence]}",
        number.note,
    ]
    return "\n".join(filter(None, lines))


def describe_published(found: Sequence[PublishedNumber], x: str) -> str:
    """Return what a caption says of the hollow points: which they are, by speed-up, and what is not among them."""
    named = (f"{n.system} {numbers.format_number(n.quality or 0)} at {n.times:.3g}×" for n in found)
    stand = "; their layers stand for FLOPs" if x != "layers" and any(n.cost == "layers" for n in found) else ""
    return (
        f"Hollow: published by others for this task and backbone, on their own split, not measured here{stand}: "
        f"{', '.join(named)}. Wall-clock speed-ups, and those of several tasks at once, are not drawn."
    )


def tabulate_published(found: Sequence[PublishedNumber]) -> list[DataRow]:
    """Return the published numbers as rows, each with its source and definition where others have their doubts."""
    return [
        {"kind": "published", "name": number.method, "series": f"{number.paper}, {number.table}; {number.split}",
         "seeds": "", "speedup": number.times, "quality": number.quality, "rule": number.speedup_definition}
        for number in found
    ]  # fmt: skip

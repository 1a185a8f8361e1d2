"""The charts of `bench history`: every number of every series over its entries, with the steps it took."""

from __future__ import annotations

from collections.abc import Sequence

from bench.compare.history import Entry, by_series, margin_of, steps
from bench.report.marks import SMALL, Axis, Chart, Line, Mark, Point, Reference, pad_range
from bench.report.style import Look

LOOK = Look("blue", "o", "")


def build_history(entries: Sequence[Entry]) -> list[Chart]:
    """Build a chart for each series and number, series by label."""
    return [
        _history_chart([e for e in found if name in e.values], name)
        for found in by_series(entries).values()
        for name in dict.fromkeys(name for e in found for name in e.values)
    ]


def _history_chart(kept: Sequence[Entry], name: str) -> Chart:
    label, values = kept[-1].label, [e.values[name] for e in kept]
    numbers, at = [v.value for v in values], [float(i) for i in range(1, len(kept) + 1)]
    taken = steps(values, margin_of(name, numbers[0]))
    y = Axis("", *pad_range(numbers, 0.12, abs(numbers[0]) * 0.005))
    x = Axis("entry", 0.5, len(kept) + 0.5, sorted({at[0], at[-1], *(at[s.at] for s in taken)}))
    marks: list[Mark] = [Line(label, LOOK, at, numbers)]
    for here, value, e in zip(at, numbers, kept, strict=True):
        marks.append(Point(label, LOOK, here, value, f"{e.commit[:9]} {e.at}: {value:.5g}", size=SMALL))
    for step in taken:
        here = at[step.at] - 0.5
        up = (step.after > step.before) == (here > (x.low + x.high) / 2)  # where the line leaves room for the label
        start, end = (y.low, y.high) if up else (y.high, y.low)
        marks.append(Reference((here, start), (here, end), f"{step.before:.4g} → {step.after:.4g}"))
    title = f"{label}: {name}, {numbers[-1]:.5g}"
    return Chart(title, title, "", "", x, y, marks, height=150)

"""Systems against each other on one panel: curves, operating points with intervals, plain compression as stars."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.measure.curve import Array
from bench.measure.metrics import title_metric
from bench.report import content, numbers
from bench.report.formats import DataRow
from bench.report.marks import LARGE, Axis, Band, Chart, Key, Line, Mark, Point, Reference, Whisker, pad_range
from bench.report.plots.published import describe_published, draw_published, keep_comparable, tabulate_published
from bench.report.plots.systems import Shown, has_learned
from bench.report.series import BandedCurve, Panel, Series, SeriesPoint
from bench.report.style import choose_look
from bench.reproduce.published import PublishedNumber
from bench.results.groups import OverSeeds

COMPRESSION = "plain compression"
MARKED = ("no-loss", "2x", "3x", "4x")  # operating points with a marker in print
BARRED = ("2x", "4x")  # those with an error bar: more of them hide the lines


@dataclass(frozen=True)
class Quantity:
    """What accuracy is drawn against: its label, and where a curve, an operating point and a plain model lie on it."""

    label: str
    short: str
    of_curve: Callable[[BandedCurve], Array] | None
    """None where only operating points were measured."""
    of_point: Callable[[SeriesPoint], float | None]
    of_plain: Callable[[float, int], float]
    """Of its FLOPs speed-up over the whole backbone, and its layers."""
    rises: bool
    """Whether more of it is cheaper."""

    def place_curve(self, series: Series) -> tuple[Array, Array]:
        """Return the curve's places and quality; of what was measured at operating points alone, those."""
        if self.of_curve is not None:
            return self.of_curve(series.curve), series.curve.quality
        places = sorted({(at, p.quality.value) for p in series.points.values() if (at := self.of_point(p)) is not None})
        return np.array([at for at, _ in places]), np.array([quality for _, quality in places])


QUANTITIES = {
    "flops": Quantity(
        "FLOPs speed-up over the plain model", "FLOPs speed-up",
        lambda curve: curve.speedup, lambda point: point.speedup.value, lambda speedup, _: speedup, True,
    ),
    "layers": Quantity(
        "layers run, mean over samples", "mean layers run",
        lambda curve: curve.mean_layer, lambda point: point.mean_layer, lambda _, layers: float(layers), False,
    ),
    "latency": Quantity(
        "measured speed-up over the plain model", "measured speed-up",
        None, lambda point: point.timed.speedup.value if point.timed else None, lambda _, __: np.nan, True,
    ),
    "cost": Quantity(
        "computation (share of the plain model's FLOPs)", "normalised computation cost",
        lambda curve: 1 / curve.speedup, lambda point: 1 / point.speedup.value, lambda speedup, _: 1 / speedup, False,
    ),
}  # fmt: skip
"""By what `--x` calls them."""


def name_baseline(quantity: Quantity, panel: Panel) -> Quantity:
    """Return measured speed-ups with what they are over in their label, where that is not the model as it is."""
    timed = [point.timed for series in panel.series for point in series.points.values() if point.timed]
    names = sorted({one.baseline or "the plain model" for one in timed})
    if names in ([], ["the plain model"]):
        return quantity
    over = f"speed-up over {' or '.join(names)}"
    return replace(quantity, label=f"measured {over}", short=over)


def build_comparison(
    panel: Panel,
    shown: Sequence[Shown],
    x: str = "flops",
    *,
    bands: Collection[str] = (),
    rules: Collection[str] | None = MARKED,
    barred: Collection[str] = BARRED,
    off: Sequence[Shown] = (),
    plain: bool = True,
    published: Sequence[PublishedNumber] = (),
) -> Chart:
    """Build the chart of quality against a quantity of :data:`QUANTITIES`, ``shown`` at first and ``off`` on demand.

    ``bands`` names those with a 95 % band, ``rules`` the operating points that are marked (None: all), ``barred`` those
    with an error bar; ``plain``: with the whole model's quality as a line and shorter models as stars; ``published``:
    what others have published of the same, as far as it has a place on this axis.
    """
    across = name_baseline(QUANTITIES[x], panel) if x == "latency" else QUANTITIES[x]
    metric = title_metric(panel.metric)
    drawn = [one for one in (*shown, *off) if len(across.place_curve(one.series)[0])]
    whole, stars = _find_plain(panel, across) if plain else (None, {})
    spans = [across.place_curve(one.series) for one in drawn]
    at = [*(float(v) for xs, _ in spans for v in xs), *(place for place, _ in stars.values())]
    at += [across.of_plain(1.0, panel.layers)] if x != "latency" else [1.0]
    heights = [float(v) for _, ys in spans for v in ys]
    heights += [*(quality.value for _, quality in stars.values()), *([whole.value] if whole else [])]
    banded = [one.series.curve for one in shown if one.name in bands and across.of_curve is not None]
    heights += [float(v) for curve in banded for edge in (curve.low, curve.high) for v in edge]
    bars = [
        _read_interval(p) for one in shown if one.name not in bands for r, p in one.series.points.items() if r in barred
    ]
    heights += [edge for interval in bars for edge in interval]
    placed = keep_comparable(published, x)
    others, key = draw_published(placed, panel, x)
    at, heights = [*at, *(point.x for point in others)], [*heights, *(point.y for point in others)]
    axis_x = Axis(across.label, *pad_range(at, 0.03), short=across.short)
    axis_y = Axis(metric, *pad_range(heights, 0.08, 0.005))
    marks: list[Mark] = []
    if whole:
        ends = ((axis_x.low, whole.value), (axis_x.high, whole.value))
        said = f"full model {numbers.format_number(whole.value)}"
        marks.append(Reference(*(ends if across.rises else ends[::-1]), said))
    marks += [mark for one in drawn if one.name in bands for mark in _draw_band(one, across, axis_y)]
    marks += [mark for one in drawn for mark in _draw_line(one, across)]
    marks += [mark for one in drawn for mark in _draw_points(one, across, rules, () if one.name in bands else barred)]
    for series, (place, quality) in stars.items():
        tip = f"{series.label}\n{metric} {numbers.format_quality(quality)}\n{across.label} {place:.2f}"
        said = f"{series.first.layers} layers"
        marks.append(Point(COMPRESSION, choose_look("full"), place, quality.value, tip, "*", LARGE, label=said))
    marks += others
    keys = [Key(name_key(one), one.name, one.look, on=one in shown, inside=one.series.upper_bound) for one in drawn]
    keys += [Key(COMPRESSION, COMPRESSION, choose_look("full"), "*")] if stars else []
    keys += [key] if others else []
    words = _describe_marks([one for one in drawn if one in shown], bands, barred, whole is not None, bool(stars), x)
    name = f"{metric} against {across.label}, {panel.title}"
    sentence = f"{metric} against {across.label}. {words}"
    source = describe_published(placed, x) if placed else ""
    title = panel.title if any(has_learned(one.series) for one in shown) else f"{panel.title} (no skill)"
    return Chart(title, name, sentence[:1].upper() + sentence[1:], source, axis_x, axis_y, marks, keys)


def name_key(one: Shown) -> str:
    """Return a legend's text: the name, how many have the same curve, and what is doubted."""
    return one.full_name + (f" and {len(one.alike)} alike" if one.alike else "")


def _find_plain(panel: Panel, across: Quantity) -> tuple[OverSeeds | None, dict[Series, tuple[float, OverSeeds]]]:
    """Return the whole plain model's quality, and where shorter plain models lie."""
    whole, stars = None, {}
    for series, speedup in content.find_stars(panel).items():
        if series.first.layers == panel.layers:
            whole = series.full
        elif np.isfinite(place := across.of_plain(speedup, series.first.layers)):
            stars[series] = (float(place), series.full)
    return whole, stars


def _draw_band(one: Shown, across: Quantity, y: Axis) -> Iterator[Mark]:
    if across.of_curve is None:
        return
    curve, xs = one.series.curve, across.of_curve(one.series.curve).tolist()
    low, high = (edge.clip(y.low, y.high).tolist() for edge in (curve.low, curve.high))
    yield Band(one.name, one.look, xs, low, high)
    for seed in (curve.lowest, curve.highest):
        if seed is not None:
            yield Line(one.name, one.look, xs, seed.clip(y.low, y.high).tolist(), thin=True)


def _draw_line(one: Shown, across: Quantity) -> Iterator[Mark]:
    xs, ys = across.place_curve(one.series)
    told = across.of_curve is not None
    thresholds = one.series.curve.thresholds if told else []
    notes = [f"threshold {numbers.format_threshold(t)}" if t is not None else "" for t in thresholds]
    yield Line(one.name, one.look, xs.tolist(), ys.tolist(), notes)


def _draw_points(
    one: Shown, across: Quantity, rules: Collection[str] | None, barred: Collection[str]
) -> Iterator[Mark]:
    """Yield a marker for every operating point, and its interval; rules that chose the same one share it."""
    places: dict[tuple[float, float], list[str]] = {}
    every = rules is None or one.series.upper_bound or across.of_curve is None  # a line through points has them all
    known = {rule: p for rule, p in one.series.points.items() if every or (rules and rule in rules)}
    for rule, point in known.items():
        if (place := across.of_point(point)) is not None:
            places.setdefault((round(place, 6), round(point.quality.value, 6)), []).append(rule)
    for at, found in places.items():
        point = known[found[0]]
        invalid = across.of_curve is None and point.timed is not None and not point.timed.valid
        if set(found) & set(barred):
            yield Whisker(one.name, one.look, at[0], *_read_interval(point), faint=True)
        hollow = invalid or one.series.upper_bound
        yield Point(one.name, one.look, *at, tell_point(one.series, found), hollow=hollow)


def _read_interval(point: SeriesPoint) -> tuple[float, float]:
    """Return the interval over seeds and samples where it is known, else over samples."""
    return point.quality.both or (point.quality.low, point.quality.high)


def tell_point(series: Series, rules: Sequence[str]) -> str:
    """Return everything that is known of an operating point, lines apart by newlines; ``rules`` all chose it."""
    point = series.points[rules[0]]
    lines = [
        series.full_name,
        f"point: {', '.join(map(numbers.format_rule, rules))}",
        f"{title_metric(series.first.metric)} {numbers.format_quality(point.quality)}",
        f"FLOPs speed-up {numbers.format_times(point.speedup)}",
        f"mean exit {point.mean_layer:.2f} of {series.first.layers}",
        f"threshold {', '.join(numbers.format_threshold(t) for t in point.thresholds)}",
    ]
    if point.timed:
        lines.append(f"measured speed-up {numbers.format_times(point.timed.speedup)}")
    return "\n".join(lines)


def _describe_marks(
    drawn: Sequence[Shown], bands: Collection[str], barred: Collection[str], whole: bool, stars: bool, x: str
) -> str:
    banded = [one for one in drawn if one.name in bands]
    said = ["Lines: every threshold" if x != "latency" else "Lines join the points that were timed"]
    if banded:
        seeds = "; thin lines: its worst and best seed" if any(len(one.series.runs) > 1 for one in banded) else ""
        said.append(f"band: 95 % over samples{seeds}")
    said.append("markers: operating points")
    if len(banded) < len(drawn) and barred:
        over = "seeds and samples" if any(len(one.series.runs) > 1 for one in drawn) else "samples"
        at = " and ".join(numbers.format_rule(rule) for rule in barred)
        said.append(f"bars: 95 % over {over}, at {at}")
    said += ["dashed line: the plain model with all layers"] * whole
    said += ["stars: plain models of fewer layers"] * stars
    said += ["hollow and grey: upper bounds, which know more than can be known"] * any(
        one.series.upper_bound for one in drawn
    )
    return "; ".join(said) + "."


def tabulate_comparison(
    panel: Panel, shown: Sequence[Shown], published: Sequence[PublishedNumber] = ()
) -> list[DataRow]:
    """Return every line that is drawn, then its operating points; at the end plain models, and what is published."""
    rows: list[DataRow] = []
    ends = ("speedup", "quality", "low", "high", "lowest_seed", "highest_seed", "mean_layer")
    blank = dict.fromkeys((*ends, "threshold", "pareto", "rule", "latency_speedup"))
    for one in shown:
        curve, series = one.series.curve, one.series
        head = {"name": one.name, "series": series.label, "seeds": series.seeds, **blank}
        columns = (curve.speedup, curve.quality, curve.low, curve.high, curve.lowest, curve.highest, curve.mean_layer)
        for k, threshold in enumerate(curve.thresholds):
            row = {name: None if c is None else round(float(c[k]), 6) for name, c in zip(ends, columns, strict=True)}
            rows.append({"kind": "curve", **head, **row, "threshold": threshold, "pareto": bool(curve.pareto[k])})
        for rule, point in series.points.items():
            timed = point.timed.speedup.value if point.timed else None
            more = {"rule": rule, "threshold": point.threshold, "latency_speedup": timed}
            row = _flatten(point.speedup.value, point.quality) | {"mean_layer": point.mean_layer}
            rows.append({"kind": "point", **head, **row, **more})
    for series, speedup in content.find_stars(panel).items():
        head = {"name": COMPRESSION, "series": series.label, "seeds": series.seeds, **blank}
        rows.append({"kind": "no early exit", **head, **_flatten(speedup, series.full)})
    return rows + [{**head, **row} for head in [blank] for row in tabulate_published(published)]


def _flatten(speedup: float, quality: OverSeeds) -> DataRow:
    seeds = {"lowest_seed": quality.lowest, "highest_seed": quality.highest}
    return {"speedup": speedup, "quality": quality.value, "low": quality.low, "high": quality.high, **seeds}

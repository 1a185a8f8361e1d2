"""Charts over exits: where samples leave, what every exit is worth alone, what it knows, what leaving there costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from bench.measure.metrics import title_metric
from bench.report import content, numbers
from bench.report.content import Diagnosis
from bench.report.marks import SMALL, Axis, Bar, Chart, Key, Line, Mark, Point, Shares, Whisker, pad_range
from bench.report.provenance import describe_lowest_seeds, describe_source
from bench.report.series import Panel, Series
from bench.results.groups import make_checkpoint_key

SHOWN_RULES = ("no-loss", "2x")  # where samples leave is drawn at these points, where they were reached
HEIGHT = 240


def make_exit_axis(layers: int, label: str = "exit") -> Axis:
    """Return the axis of exits 1 to ``layers``."""
    step = 1 if layers <= 12 else 2 if layers <= 24 else max(1, layers // 12)
    return Axis(label, 0.5, layers + 0.5, [float(k) for k in range(step, layers + 1, step)])


def make_keys(series: Iterable[Series]) -> list[Key]:
    """Return a legend's entries."""
    return [Key(s.full_name, s.label, s.look) for s in series]


def build_exits_used(panel: Panel) -> list[Chart]:
    """Build the charts of where samples leave, for two operating points or the first one that was reached."""
    shown = content.choose_drawn(panel)
    reached = list(dict.fromkeys(r for s in shown for r in s.points))
    return [_build_used(panel, rule) for rule in [r for r in SHOWN_RULES if r in reached] or reached[:1]]


def _build_used(panel: Panel, rule: str) -> Chart:
    drawn = [(s, p.exit_counts) for s in content.choose_drawn(panel) if (p := s.points.get(rule))]
    shares = {series: [count / sum(counts) for count in counts] for series, counts in drawn}
    width = 0.84 / len(shares)
    marks: list[Mark] = []
    for i, (series, share) in enumerate(shares.items()):
        for k, value in enumerate(share):
            if value:
                tip = f"{series.full_name}\nexit {k + 1}: {numbers.format_percent(value)} of samples"
                at = k + 0.58 + i * width
                marks.append(Bar(series.label, series.look, at, width, 0.0, value, tip, capped=True))
    several = ", mean over seeds" if any(len(s.runs) > 1 for s in shares) else ""
    return Chart(
        f"Exits used, {numbers.format_rule(rule)}",
        f"Exits at {numbers.format_rule(rule)}, {panel.title}",
        f"Share of samples that leave at each exit at the operating point “{numbers.format_rule(rule)}”{several}.",
        describe_source(list(shares)),
        make_exit_axis(max(map(len, shares.values()))),
        Axis("share of samples", 0.0, max(map(max, shares.values())) * 1.12, short="share leaving"),
        marks,
        make_keys(shares),
        height=HEIGHT,
    )


def build_used(panel: Panel, rule: str = "2x") -> Shares | None:
    """Build the table of where samples leave at ``rule``, or the first point of all that some series reached."""
    early = content.choose_drawn(panel)
    reached = list(dict.fromkeys(r for s in early for r in s.points))
    at = rule if rule in reached else next(iter(reached), None)
    if at is None:
        return None
    counts = {s: p.exit_counts for s in early if (p := s.points.get(at))}
    return Shares(
        f"% of samples leaving, at {numbers.format_rule(at)}",
        f"Below: percent of samples that leave at each exit at the operating point “{numbers.format_rule(at)}”.",
        describe_source(list(counts)),
        make_exit_axis(panel.layers),
        [series.label for series in counts],
        [[count / sum(found) for count in found] for found in counts.values()],
    )


def build_every_exit(panel: Panel) -> Chart:
    """Build the chart of quality with all samples forced to leave at the same exit, each checkpoint once."""
    metric, shown = title_metric(panel.metric), _pick_one_a_checkpoint(panel)
    marks: list[Mark] = []
    values: list[float] = []
    for i, series in enumerate(shown):
        rows, aside = content.tabulate_every_exit(series), 0.07 * (i - (len(shown) - 1) / 2)  # so that none is hidden
        at, qualities = [r["exit"] + aside for r in rows], [r["quality"] for r in rows]
        marks.append(Line(series.label, series.look, at, qualities))
        values += qualities
        for x, row in zip(at, rows, strict=True):
            tip = f"{series.label}\nexit {row['exit']} alone: {metric} {numbers.format_number(row['quality'])}"
            if row["low"] is not None:
                marks.append(Whisker(series.label, series.look, x, row["low"], row["high"]))
                values += [row["low"], row["high"]]
                tip += f" [{numbers.format_number(row['low'])}, {numbers.format_number(row['high'])}]"
            marks.append(Point(series.label, series.look, x, row["quality"], tip, size=SMALL))
    words = f"{metric} when every sample leaves at the same exit (criteria that share a checkpoint are drawn once)."
    return Chart(
        "Every exit alone",
        f"{metric} of every exit alone, {panel.title}",
        words[:1].upper() + words[1:],
        describe_lowest_seeds(shown),
        make_exit_axis(panel.layers),
        Axis(metric, *pad_range(values)),
        marks,
        make_keys(shown),
        height=HEIGHT,
    )


def _pick_one_a_checkpoint(panel: Panel) -> list[Series]:
    kept: dict[str, Series] = {}
    for series in [*content.choose_drawn(panel), *panel.series]:
        kept.setdefault(make_checkpoint_key(series.first), series)
    return list(kept.values())[: content.MOST_DRAWN]


def build_knowledge(panel: Panel, found: Sequence[Diagnosis]) -> list[Chart]:
    """Build the charts of what exits know: calibration error, AUROC and overthinking, where there are logits."""
    known = [(d, c, h) for d in found if (c := d.calibration) and (h := d.headroom)][: content.MOST_DRAWN]
    if not known:
        return []
    errors, ranks = {d: c.ece for d, c, _ in known}, {d: c.auroc for d, c, _ in known}
    lost = {d: h.overthought for d, _, h in known}
    low, high = pad_range([0.0, *_flatten(errors)])
    error = Axis("expected calibration error", max(0.0, low), high, short="ECE")
    low, high = pad_range(_flatten(ranks), 0.1)
    rank = Axis("AUROC of “this exit is right”", max(0.0, low), min(1.0, high), short="AUROC")
    share = Axis("right here, wrong at the last", 0.0, max([*_flatten(lost), 0.01]) * 1.1, short="overthought")
    return [
        _draw_over_exits(panel, errors, error, "Calibration",
                         "Expected calibration error of every exit, 15 equal bins of confidence: 0 is perfect."),
        _draw_over_exits(panel, ranks, rank, "Does confidence tell right from wrong?",
                         "How well an exit's confidence ranks its right answers above its wrong ones: 0.5 is chance, "
                         "1 perfect."),
        _draw_over_exits(panel, lost, share, "Overthinking",
                         "Share of samples that an exit answers rightly and the last exit wrongly.", in_percent=True),
    ]  # fmt: skip


Column = Mapping[Diagnosis, Sequence[float | None]]
"""A number of every exit, for each checkpoint."""


def _flatten(columns: Column) -> list[float]:
    return [value for column in columns.values() for value in column if value is not None]


def _draw_over_exits(panel: Panel, columns: Column, y: Axis, title: str, words: str, in_percent: bool = False) -> Chart:
    """Build a chart of one number of every exit, a line a checkpoint; exits without the number are left out."""
    marks: list[Mark] = []
    for d, column in columns.items():
        pairs = [(k, v) for k, v in enumerate(column, start=1) if v is not None]
        if pairs:
            marks.append(Line(d.label, d.series.look, [float(k) for k, _ in pairs], [v for _, v in pairs]))
        for layer, value in pairs:
            text = numbers.format_percent(value) if in_percent else numbers.format_number(value)
            tip = f"{d.label}\nexit {layer}: {y.label} {text}"
            marks.append(Point(d.label, d.series.look, layer, value, tip, size=SMALL))
    source, x = describe_lowest_seeds([d.series for d in columns]), make_exit_axis(panel.layers)
    keys = [Key(d.label, d.label, d.series.look) for d in columns]
    return Chart(title, f"{y.label}, {panel.title}", words, source, x, y, marks, keys, height=HEIGHT)


def build_depth(panel: Panel) -> Chart | None:
    """Build the chart of what leaving at each exit costs, layers below and checks on top, where it was measured."""
    rows = content.tabulate_depth(panel)
    if not rows:
        return None
    shown = [s for s in panel.series if any(r["series"] == s.label for r in rows)]
    width = 0.8 / len(shown)
    marks: list[Mark] = []
    for i, series in enumerate(shown):
        for row in (r for r in rows if r["series"] == series.label):
            at, low, more = row["exit"] - 0.4 + width * i, row["layers_ms"], max(0.0, row["checks_ms"])
            tip = f"{series.label}\nexit {row['exit']}: layers {low:.3f} ms, checks {row['checks_ms']:.3f} ms"
            marks.append(Bar(series.label, series.look, at, width, 0.0, low, tip))
            marks.append(Bar(series.label, series.look, at, width, low, low + more, tip, light=True, capped=True))
    invalid = list(dict.fromkeys(r["series"] for r in rows if not r["valid"]))
    two_speeds = list(dict.fromkeys(r["series"] for r in rows if not r["one_speed"]))
    return Chart(
        "Depth table",
        f"Depth table, {panel.title}",
        "Time of leaving at each exit: layers and one head below, heads and criterion on the way lighter on top."
        + (f" INVALID timing: {', '.join(invalid)}." if invalid else "")
        + (f" The machine's speed moved, milliseconds are means: {', '.join(two_speeds)}." if two_speeds else ""),
        describe_lowest_seeds(shown),
        make_exit_axis(max(r["exit"] for r in rows), "forced exit"),
        Axis("ms a sample", 0.0, max(r["layers_ms"] + max(0.0, r["checks_ms"]) for r in rows) * 1.12),
        marks,
        make_keys(shown),
        height=HEIGHT,
    )

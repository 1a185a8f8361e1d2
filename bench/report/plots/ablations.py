"""What changes where one thing does: criteria on one checkpoint, windows of one criterion."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from bench.report import content
from bench.report.figures import Figure
from bench.report.plots.captions import add_doubts
from bench.report.plots.comparison import build_comparison, tabulate_comparison
from bench.report.plots.options import PlotOptions, find_banded, rename_lines
from bench.report.plots.systems import SYSTEMS, Shown, choose_variant, describe_drawn, merge_alike, share_seeds
from bench.report.series import Panel, Series
from bench.report.style import MARKERS, Look, choose_look
from bench.results.groups import make_checkpoint_key, write_canonical

SHADES = ("#0b2a4a", "#1f5a8c", "#2f8fb5", "#52b5a6", "#8fc46a", "#c9b33c", "#d98a3a")
"""Of windows, from short to long: dark to light."""
REFERENCES = ("entropy", "random")  # kept among the criteria where they are there: the common rule, and the floor
MOST_CRITERIA = 8  # criteria in one chart, without upper bounds


def group_criteria(panel: Panel, options: PlotOptions) -> list[list[Series]]:
    """Return the groups of a panel's early series that share a checkpoint, of several strategies, the largest first."""
    groups: dict[str, list[Series]] = defaultdict(list)
    for series in panel.series:
        if series.early and (not options.strategies or series.strategy in options.strategies):
            groups[make_checkpoint_key(series.first)].append(series)
    several = [found for found in groups.values() if len({s.strategy for s in found}) > 1]
    return sorted(several, key=lambda found: (-len({s.strategy for s in found}), found[0].label))


def build_criteria(panel: Panel, found: Sequence[Series], options: PlotOptions, number: int = 1) -> Figure:
    """Return the figure of criteria on one and the same checkpoint: the only comparison of criteria alone."""
    by_strategy: dict[str, list[Series]] = defaultdict(list)
    most = max(len(series.runs) for series in found)
    for series in found:
        if len(series.runs) == most or options.whole:
            by_strategy[series.strategy].append(series)
    ordered = [name for name in REFERENCES if name in by_strategy]
    ordered += [name for name in by_strategy if name not in ordered]
    if not options.strategies:  # of several criteria of one system the first
        ordered = [name for name in ordered if not any(name in system.strategies[1:] for system in SYSTEMS)]
    chosen = [one for name in ordered if (one := choose_variant(panel, by_strategy[name]))]
    chosen = share_seeds(list(found) if options.whole else chosen)
    names = {s: s.strategy if not options.whole else s.label for s in chosen}
    merged = merge_alike([Shown(names[s], s, choose_look(s.strategy)) for s in chosen])
    kept = [one for one in merged if one.series.strategy in REFERENCES or one.series.upper_bound]
    best = content.choose_best([one.series for one in merged if one not in kept], MOST_CRITERIA - min(len(kept), 2))
    shown = [one for one in merged if one in kept or one.series in best]
    [shown] = rename_lines([sorted(shown, key=lambda one: one.series.upper_bound)], options.labels)
    left = [one.name for one in merged if one.series not in [other.series for other in shown]]
    words = [
        f"Criteria on one and the same checkpoint ({found[0].trained_as}), {panel.title}.",
        *(f"{one.name} and {', '.join(one.alike)} have the same curve." for one in shown if one.alike),
        *([f"Not drawn: {', '.join(left)}."] if left else []),
        describe_drawn([one.series for one in shown]),
    ]
    (bands,) = find_banded([shown], options)
    chart = build_comparison(panel, shown, options.x or "flops", bands=bands, barred=("2x",), plain=False)
    words.insert(1, chart.words)
    figure = Figure(f"criteria-{panel.slug}-{number}", " ".join(words), tabulate_comparison(panel, shown), [chart], 2.6)
    return add_doubts(figure, [(panel, one.name, one.series) for one in shown])


def group_windows(panel: Panel, options: PlotOptions) -> list[list[tuple[int, Series]]]:
    """Return the groups of series of a panel that differ in the window alone, the largest first."""
    groups: dict[str, list[tuple[int, Series]]] = defaultdict(list)
    for series in panel.series:
        args = dict(series.first.spec.criterion_args)
        window = args.pop("window", None)
        if isinstance(window, int) and (not options.strategies or series.strategy in options.strategies):
            key = write_canonical([series.strategy, args, make_checkpoint_key(series.first)])
            groups[key].append((window, series))
    several = [sorted(found, key=lambda item: item[0]) for found in groups.values() if len({w for w, _ in found}) > 1]
    return sorted(several, key=lambda found: (-len(found), found[0][1].strategy != "elbert-mono", found[0][1].label))


def build_windows(panel: Panel, found: Sequence[tuple[int, Series]], options: PlotOptions, number: int = 1) -> Figure:
    """Return the figure of one criterion's windows on the same checkpoint, darker the shorter they are."""
    windows, same = [window for window, _ in found], share_seeds([series for _, series in found])
    shades = [SHADES[i * len(SHADES) // len(found)] for i in range(len(found))]
    shown = [
        Shown(f"window {w}" if w else "no window", s, Look(shade, MARKERS[i % len(MARKERS)], ""))
        for i, (w, s, shade) in enumerate(zip(windows, same, shades, strict=True))
    ]
    [shown] = rename_lines([shown], options.labels)
    series = [one.series for one in shown]
    (bands,) = find_banded([shown], options)
    chart = build_comparison(panel, shown, options.x or "flops", bands=bands, barred=(), plain=False)
    words = f"Window size of {series[0].strategy} on {panel.title}, same checkpoint ({series[0].trained_as})."
    caption = " ".join([words, chart.words, describe_drawn(series)])
    figure = Figure(
        f"window-{panel.slug}-{number}", caption, tabulate_comparison(panel, shown), [chart], 2.1, direct=True
    )
    return add_doubts(figure, [(panel, one.name, one.series) for one in shown])

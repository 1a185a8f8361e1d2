"""The figures for print: matplotlib at a column's width, as SVG, PDF and PNG with the numbers beside them as CSV.

Fonts are embedded, ids are seeded and no date is written, so that the same results give the same bytes.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.files import replace_file
from bench.report import content
from bench.report.captions import caption, timed_caption
from bench.report.content import Diagnosis, metric_name
from bench.report.formats import Row, to_csv
from bench.report.series import Panel, Series
from bench.report.style import look

COLUMN = 3.3  # inches: one column of the usual two-column conference style
STYLE: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so it is the same everywhere
    "font.size": 7.5,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.6,
    "axes.linewidth": 0.6,
    "grid.linewidth": 0.4,
    "grid.color": "#dddddd",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "exitbench",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
    "savefig.dpi": 200,
    "text.parse_math": False,  # names are names, whatever dollars are in them
    "figure.constrained_layout.use": True,
}
FORMATS: dict[str, dict[str, Any]] = {
    "svg": {"metadata": {"Date": None, "Creator": "ExitBench"}},
    "pdf": {"metadata": {"CreationDate": None, "ModDate": None, "Creator": "ExitBench", "Producer": None}},
    "png": {"metadata": {"Software": None}},
}
FEW = 3  # bands of more series lie over one another and are drawn fainter
CAP = 0.03  # markers stand so far above their bars
LONGEST = 46  # characters of a name in a figure


@dataclass(frozen=True)
class Figure:
    """One figure: a file name, what it says, the numbers, and how to draw it on a matplotlib figure."""

    name: str
    caption: str
    rows: Sequence[Row]
    draw: Callable[[Any], None]
    height: float = 2.5
    width: float = COLUMN


@contextmanager
def paper() -> Iterator[Any]:
    """pyplot without a display, in the papers' style, leaving the caller's settings as they were."""
    import matplotlib

    matplotlib.use("Agg", force=False)
    import seaborn as sns
    from matplotlib import pyplot as plt

    with sns.axes_style("ticks"), plt.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # an emoji in a name becomes a box
        yield plt


def save(figure: Figure, folder: Path, formats: Sequence[str] = tuple(FORMATS)) -> list[Path]:
    """Write ``figure`` as .svg, .pdf and .png, or those of ``formats``, and its numbers as .csv under ``folder``."""
    with paper() as plt:
        fig = plt.figure(figsize=(figure.width, figure.height))
        try:
            figure.draw(fig)
            written = []
            for kind in formats:
                buffer = io.BytesIO()
                fig.savefig(buffer, format=kind, **FORMATS[kind])
                path = folder / f"{figure.name}.{kind}"
                with replace_file(path) as temporary:
                    temporary.write_bytes(buffer.getvalue())
                written.append(path)
        finally:
            plt.close(fig)
    path = folder / f"{figure.name}.csv"
    with replace_file(path) as temporary:
        temporary.write_text(to_csv(figure.rows), encoding="utf-8")
    return [*written, path]


def cut(name: str) -> str:
    """A name that fits into a figure."""
    shown = "".join(c if c.isprintable() else "�" for c in name)
    if len(shown) <= LONGEST:
        return shown
    return shown[: LONGEST // 2 - 1] + "…" + shown[-LONGEST // 2 :]  # names often differ at their end


def style_of(series: Series) -> dict[str, Any]:
    """Colour, dashes and marker of a series for matplotlib."""
    found = series.look
    dashes = tuple(float(v) for v in found.dash.split())
    return {"color": found.hex, "linestyle": (0, dashes) if dashes else "-"}


def panel_figures(panel: Panel, diagnosed: Sequence[Diagnosis]) -> list[Figure]:
    """Trade-off, exits, and calibration of one panel."""
    metric = metric_name(panel.metric)
    shown = content.drawn(panel)
    made = []
    if shown or content.stars(panel):
        words = f"{metric} against FLOPs speed-up on {panel.title}; bands 95 % over samples"
        words += "; thin lines: worst and best seed" if any(s.line.lowest is not None for s in shown) else ""
        words += f". {caption(panel)}{content.left_out(panel)}"
        rows = content.curve_csv(panel)
        height = 2.0 + legend_height([s.label for s in shown] + [s.series.label for s in content.stars(panel)])
        made.append(Figure(f"trade-off-{panel.slug}", words, rows, lambda f: _trade_off(f, panel), height))
    height = 2.6 + legend_height([s.label for s in shown])
    words = f"Top: {metric} of every exit alone, 95 %. Bottom: share of samples that leave at each exit at 2×, or at "
    words += f"the first point that was reached; {panel.title}. {caption(panel)}"
    made.append(Figure(f"exits-{panel.slug}", words, content.exits_csv(panel), lambda f: _exits(f, panel), height))
    rows = content.calibration_csv(diagnosed)
    if rows:
        words = "Expected calibration error (15 bins), AUROC of “this exit is right”, and samples right at an exit and "
        known = [d for d in diagnosed if d.calibration is not None][: content.MOST_DRAWN]
        height = 2.8 + legend_height([d.label for d in known])
        words += f"wrong at the last; {panel.title}. {caption(panel, [d.series for d in known], False, lowest=True)}"
        made.append(Figure(f"calibration-{panel.slug}", words, rows, lambda f: _calibration(f, known), height))
    rows = content.depth_rows(panel)
    if rows:
        words = f"Time of leaving at each exit, layers and checks apart; {panel.title}. "
        words += caption(panel, points=False, lowest=True)
        made.append(Figure(f"depth-{panel.slug}", words, rows, lambda f: _depth(f, panel), 2.3))
    return made


def _trade_off(fig: Any, panel: Panel) -> None:
    draw_trade_off(fig.subplots(), panel)
    legend(fig, panel)


def draw_trade_off(ax: Any, panel: Panel, bands: bool = True) -> None:
    """Curves with bands, Pareto marks, operating points and stars on one pair of axes."""
    shown = content.drawn(panel)
    opacity = 0.13 if len(shown) <= FEW else 0.05
    for series in shown:
        line, style = series.line, style_of(series)
        if bands:
            ax.fill_between(line.speedup, line.low, line.high, color=style["color"], alpha=opacity, linewidth=0)
        for seed in (line.lowest, line.highest):
            if seed is not None:
                ax.plot(line.speedup, seed, **{**style, "linewidth": 0.4})
        ax.plot(line.speedup, line.quality, **style)
        ax.plot([], [], marker=look(series.strategy).marker, label=cut(series.label), **style)  # the legend's
        points = [p for r in series.rules if (p := series.point(r, panel.metric))]
        at = ([p["speedup"]["value"] for p in points], [p["quality"]["value"] for p in points])
        ax.plot(*at, linestyle="", marker=look(series.strategy).marker, color=style["color"], zorder=3)
    for star in content.stars(panel):
        at = ([star.speedup], [star.quality["value"]])
        ax.plot(*at, "*", color=look(star.series.strategy).hex, markersize=7, label=cut(star.series.label), zorder=4,
                markeredgecolor="black", markeredgewidth=0.4)  # fmt: skip
    ax.set_xlabel("FLOPs speed-up over the plain model")
    ax.set_ylabel(metric_name(panel.metric))
    ax.grid(True)


def legend_height(labels: Sequence[str]) -> float:
    """Inches that a legend below the axes takes: two columns, or one where names are long."""
    long = max((len(cut(name)) for name in labels), default=0) > 22
    return 0.1 + 0.145 * (len(labels) if long else (len(labels) + 1) // 2)


def legend(fig: Any, panel: Panel) -> None:
    """Below the axes, where it hides nothing."""
    handles, labels = fig.axes[0].get_legend_handles_labels()
    if handles:
        long = max(map(len, labels)) > 22
        fig.legend(handles, labels, loc="outside lower center", ncols=1 if long else 2, handlelength=2.2)


def _exits(fig: Any, panel: Panel) -> None:
    upper, lower = fig.subplots(2, 1, sharex=True)
    shown = content.drawn(panel) or list(panel.series)[: content.MOST_DRAWN]
    width = 0.84 / len(shown)
    for i, series in enumerate(shown):
        rows, style = content.per_exit(series.first), style_of(series)
        layers = [r["exit"] for r in rows]
        values = [r["quality"] for r in rows]
        upper.plot(layers, values, marker=look(series.strategy).marker, label=cut(series.label), **style)
        if rows[0]["low"] is not None:
            upper.fill_between(layers, [r["low"] for r in rows], [r["high"] for r in rows], color=style["color"],
                               alpha=0.1, linewidth=0)  # fmt: skip
        rule = next((r for r in ("2x", *series.rules) if series.point(r, panel.metric)), None)
        if rule is not None:
            counts = (series.point(rule, panel.metric) or {})["exit_counts"]
            at, shares = [k + 0.58 + width * (i + 0.5) for k in range(len(counts))], [c / sum(counts) for c in counts]
            lower.bar(at, shares, width, color=style["color"], linewidth=0)
            lower.plot(at, [s + CAP for s in shares], linestyle="", marker=look(series.strategy).marker, markersize=2.2,
                       color=style["color"])  # fmt: skip
    upper.set_ylabel(metric_name(panel.metric))
    lower.set_ylabel("share leaving")
    lower.set_xlabel("exit")
    lower.xaxis.get_major_locator().set_params(integer=True)
    upper.grid(True)
    legend(fig, panel)


def _calibration(fig: Any, known: Sequence[Diagnosis]) -> None:
    axes = fig.subplots(3, 1, sharex=True)
    for d in known:
        if d.calibration is None or d.headroom is None:
            continue
        style = {**style_of(d.series), "marker": look(d.series.strategy).marker}
        layers = list(range(1, len(d.calibration.ece) + 1))
        axes[0].plot(layers, d.calibration.ece, label=cut(d.label), **style)
        axes[1].plot(layers, [float("nan") if v is None else v for v in d.calibration.auroc], **style)
        axes[2].plot(layers, d.headroom.overthought, **style)
    for ax, name in zip(axes, ("ECE", "AUROC", "overthought"), strict=True):
        ax.set_ylabel(name)
        ax.grid(True)
    axes[2].set_xlabel("exit")
    axes[2].xaxis.get_major_locator().set_params(integer=True)
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=1 if max(map(len, labels)) > 22 else 2)


def _depth(fig: Any, panel: Panel) -> None:
    ax = fig.subplots()
    rows = content.depth_rows(panel)
    shown = [s for s in panel.series if any(r["series"] == s.label for r in rows)]
    width = 0.8 / len(shown)
    for i, series in enumerate(shown):
        own = [r for r in rows if r["series"] == series.label]
        at = [r["exit"] - 0.4 + width * (i + 0.5) for r in own]
        base, more = [r["layers_ms"] for r in own], [max(0.0, r["checks_ms"]) for r in own]
        ax.bar(at, base, width, color=series.look.hex, linewidth=0, label=cut(series.label))
        ax.bar(at, more, width, bottom=base, color=series.look.hex, alpha=0.45, linewidth=0)
    ax.set_xlabel("forced exit; lighter: checks on the way")
    ax.set_ylabel("ms a sample")
    fig.legend(loc="outside lower center", ncols=2)


def realisation_figure(panels: Sequence[Panel]) -> list[Figure]:
    """Promised against measured speed-up of everything that was timed."""
    rows = content.realisation_rows(panels)
    if not rows:
        return []
    words = (
        "Measured against FLOPs speed-up of timed operating points, on the timed samples; 95 % over rounds, faint over "
        "samples; dashed: "
        f"y = x; hollow: INVALID timing. {timed_caption(panels)}"
    )
    return [Figure("flops-and-time", words, rows, lambda f: _realisation(f, rows), 2.8)]


def _realisation(fig: Any, rows: Sequence[Row]) -> None:
    ax = fig.subplots()
    seen: set[str] = set()
    for r in rows:
        found = look(r["strategy"])
        ax.vlines(r["flops_speedup"], r["samples_low"], r["samples_high"], color=found.hex, alpha=0.4, linewidth=0.5)
        gap = [[max(0.0, r["latency_speedup"] - r["low"])], [max(0.0, r["high"] - r["latency_speedup"])]]
        label = cut(r["strategy"]) if r["strategy"] not in seen else None
        seen.add(r["strategy"])
        ax.errorbar([r["flops_speedup"]], [r["latency_speedup"]], yerr=gap, fmt=found.marker, color=found.hex,
                    markerfacecolor=found.hex if r["valid"] else "white", elinewidth=0.7, label=label)  # fmt: skip
    top = max(max(r["flops_speedup"], r["high"], r["samples_high"]) for r in rows)
    low = min(min(r["flops_speedup"], r["low"], r["samples_low"]) for r in rows)
    ax.plot([low, top], [low, top], "--", color="#777777", linewidth=0.8)
    ax.annotate("y = x", (top, top), xytext=(-12, 2), textcoords="offset points", ha="right", fontsize=6.5)
    ax.set_xlabel("FLOPs speed-up")
    ax.set_ylabel("measured speed-up")
    ax.grid(True)
    handles, labels = ax.get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=2)

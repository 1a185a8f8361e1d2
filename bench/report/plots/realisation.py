"""What FLOPs promise and the clock keeps, in print."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report import content
from bench.report.charts import build_realisation
from bench.report.figures import Figure, join_captions
from bench.report.plots.captions import add_doubts
from bench.report.plots.options import PlotOptions
from bench.report.series import Panel


def build_realisation_figure(panels: Sequence[Panel], options: PlotOptions) -> Figure | None:
    """Return the figure of promised against measured speed-up, of every timed point; None where nothing was timed."""
    chart = build_realisation(panels)
    if chart is None:
        return None
    words = join_captions(chart.title, [chart])
    figure = Figure("flops-and-time", words, content.tabulate_timings(panels), [chart], 2.5)
    timed = [(panel, series.label, series) for panel in panels for series in panel.series
             if any(point.timed for point in series.points.values())]  # fmt: skip
    return add_doubts(figure, timed)

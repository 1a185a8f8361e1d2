"""The figures that a report comes with: every kind for every panel that has it, and the papers' own of them all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from bench.report.charts import PanelCharts
from bench.report.figures import Figure
from bench.report.plots.ablations import build_criteria, build_windows, group_criteria, group_windows
from bench.report.plots.elbert import build_figure_2, build_figure_3
from bench.report.plots.kinds import (
    build_calibration_figure,
    build_depth_figure,
    build_exits_figure,
    build_trade_off_figure,
)
from bench.report.plots.options import PlotOptions

DEFAULT = PlotOptions()
OF_PANELS = (build_trade_off_figure, build_exits_figure, build_calibration_figure, build_depth_figure)


def build_panel_figures(made: PanelCharts, published: bool = True) -> Iterator[Figure]:
    """Return the figures of one panel: trade-off, exits, calibration and depth, those that there is data for.

    The first with what others have ``published``.
    """
    for build in OF_PANELS:
        if (figure := build([made.panel], replace(DEFAULT, published=published))) is not None:
            yield figure


def build_paper_figures(panels: Sequence[PanelCharts]) -> list[Figure]:
    """Return ELBERT's two figures, and for each panel those of windows and of criteria, that there is data for."""
    plain = [made.panel for made in panels]
    found = [figure for build in (build_figure_2, build_figure_3) if (figure := build(plain, DEFAULT)) is not None]
    for panel in plain:
        for number, windows in enumerate(group_windows(panel, DEFAULT), start=1):
            found.append(build_windows(panel, windows, DEFAULT, number))
        for number, criteria in enumerate(group_criteria(panel, DEFAULT), start=1):
            found.append(build_criteria(panel, criteria, DEFAULT, number))
    return found

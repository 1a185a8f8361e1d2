"""Charts for print: matplotlib at a column's width, as SVG, PDF and PNG with the numbers beside them as CSV.

Fonts are embedded, ids are seeded and no date is written, so that the same results give the same bytes.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_never

from bench.files import replace_file, write_text
from bench.report.formats import DataRow, format_csv
from bench.report.marks import Band, Bar, Chart, Dots, Key, Line, Mark, Point, Reference, Whisker, format_tick
from bench.report.style import Look
from bench.text import show_hidden

COLUMN = 3.3  # inches: one column of the usual two-column conference style
METADATA: dict[str, dict[str, str | None]] = {
    "svg": {"Date": None, "Creator": "ExitBench"},
    "pdf": {"CreationDate": None, "ModDate": None, "Creator": "ExitBench", "Producer": None},
    "png": {"Software": None},
}
CAPTION = {"svg": "Description", "pdf": "Subject", "png": "Description"}
"""What a kind of file calls what is said of it."""
POINT = 0.8  # a marker's width in points for each unit of its radius on the page
CAP = 0.04  # markers stand so far above their bars, in heights of the axes
NAME_LENGTH = 46  # characters of a name in a figure


@dataclass(frozen=True)
class Figure:
    """One figure: a file name, what it says, the numbers, and its charts, one below another or ``beside`` each other.

    ``height`` and ``width`` are in inches, without the legend; ``titled``: each chart's title stands above it.
    """

    name: str
    caption: str
    rows: Sequence[DataRow]
    charts: Sequence[Chart]
    height: float = 2.0
    width: float = COLUMN
    beside: bool = False
    titled: bool = False

    @property
    def keys(self) -> list[Key]:
        """The legend's entries for all charts, of what is shown, each name once."""
        return list({key.name: key for chart in self.charts for key in chart.legend if key.on}.values())


def join_captions(subject: str, charts: Sequence[Chart], more: str = "") -> str:
    """Return a figure's caption: what its charts show of ``subject``, and from which data, once where it can be."""
    sources = {chart.source for chart in charts}
    if len(sources) == 1:
        said = [*(chart.words for chart in charts), *sources]
    else:
        said = [text for chart in charts for text in (chart.words, chart.source)]
    return " ".join([f"{subject}.", *said]) + more


@contextmanager
def use_paper_style() -> Iterator[Any]:
    """Give pyplot without a display, in the papers' style, and leave the caller's settings as they were."""
    import matplotlib

    matplotlib.use("Agg", force=False)
    import seaborn as sns
    from matplotlib import pyplot as plt

    path = Path(__file__).parent / "templates" / "paper.mplstyle"
    style = matplotlib.rc_params_from_file(path, use_default_template=False)
    with sns.axes_style("ticks"), plt.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # an emoji in a name becomes a box
        yield plt


@contextmanager
def open_canvas(width: float, height: float) -> Iterator[Any]:
    """Give an empty matplotlib figure of so many inches in the papers' style, and close it at the end."""
    with use_paper_style() as plt:
        fig = plt.figure(figsize=(width, height))
        try:
            yield fig
        finally:
            plt.close(fig)


def save_canvas(fig: Any, path: Path, kind: str, caption: str = "") -> None:
    """Write a matplotlib figure as ``kind`` with its caption inside, the same bytes each time."""
    said = {CAPTION[kind]: show_hidden(caption)} if caption else {}
    with replace_file(path) as temporary:
        fig.savefig(temporary, format=kind, metadata=METADATA[kind] | said)


def save_figure(figure: Figure, folder: Path, formats: Sequence[str] = tuple(METADATA)) -> list[Path]:
    """Write ``figure`` as .svg, .pdf and .png, or those of ``formats``, and its numbers as .csv under ``folder``."""
    *drawn, numbers = (folder / f"{figure.name}.{kind}" for kind in (*formats, "csv"))
    with open_canvas(figure.width, figure.height + measure_legend(figure.keys)) as fig:
        draw_figure(figure, fig)
        for path in drawn:
            save_canvas(fig, path, path.suffix[1:], figure.caption)
    write_text(numbers, format_csv(figure.rows))
    return [*drawn, numbers]


def draw_figure(figure: Figure, fig: Any) -> None:
    """Draw the charts of ``figure`` on a matplotlib figure, or a part of one, and below them one legend of all."""
    charts = figure.charts
    grid = (1, len(charts)) if figure.beside else (len(charts), 1)
    axes = fig.subplots(*grid, squeeze=False).flatten()
    for i, (ax, chart) in enumerate(zip(axes, charts, strict=True)):
        draw_chart(chart, ax)
        if figure.titled:
            ax.set_title(shorten_name(chart.title))
        if not figure.beside and i + 1 < len(charts) and charts[i + 1].x.label == chart.x.label:
            ax.set_xlabel("")
            if charts[i + 1].x == chart.x:
                ax.tick_params(labelbottom=False)
    if figure.keys:
        handles = [_make_handle(key) for key in figure.keys]
        fig.legend(handles=handles, loc="outside lower center", ncols=_count_columns(figure.keys), handlelength=2.2)


def draw_chart(chart: Chart, ax: Any) -> None:
    """Draw what ``chart`` shows at first on matplotlib axes; every artist's label is the name of its series."""
    marks = chart.shown()
    for i, mark in enumerate(marks):
        _draw_mark(mark, ax, chart, zorder=2 + i / len(marks))
    ax.set(xlim=(chart.x.low, chart.x.high), ylim=(chart.y.low, chart.y.high))
    ax.set(xlabel=chart.x.short or chart.x.label, ylabel=chart.y.short or chart.y.label)
    ax.set_xticks(chart.x.numbers(), [format_tick(v) for v in chart.x.numbers()])
    ax.set_yticks(chart.y.numbers(), [format_tick(v) for v in chart.y.numbers()])
    ax.grid(True)
    ax.set_axisbelow(True)


def _draw_mark(mark: Mark, ax: Any, chart: Chart, zorder: float) -> None:
    if isinstance(mark, Reference):
        (x1, y1), (x2, y2) = mark.start, mark.end
        ax.plot([x1, x2], [y1, y2], "--", color="#777777", linewidth=0.8, zorder=zorder)
        side, align = (3, "left") if x2 < (chart.x.low + chart.x.high) / 2 else (-3, "right")
        down = -9 if y2 > (chart.y.low + chart.y.high) / 2 else 4
        place = {"xytext": (side, down), "textcoords": "offset points", "ha": align}
        ax.annotate(shorten_name(mark.label), (x2, y2), fontsize=6.5, **place)
        return
    style = {"color": mark.look.hex, "label": mark.series, "zorder": zorder}
    match mark:
        case Line():
            more = {"linewidth": 0.4} if mark.thin else {}
            ax.plot(mark.x, mark.y, linestyle=_find_dashes(mark.look), **style, **more)
        case Band():
            ax.fill_between(mark.x, mark.low, mark.high, alpha=0.05 if mark.faint else 0.13, linewidth=0, **style)
        case Point():
            star = {"markeredgecolor": "black", "markeredgewidth": 0.4} if mark.marker == "*" else {}
            face = {"markerfacecolor": "white"} if mark.hollow else {}
            size = POINT * mark.size * (1.5 if mark.marker == "*" else 1.0)
            ax.plot([mark.x], [mark.y], mark.marker or mark.look.marker, markersize=size, **style, **star, **face)
        case Dots():
            ax.plot(mark.x, mark.y, ".", markersize=1.8, **style)
        case Whisker():
            width, alpha = (0.5, 0.4) if mark.faint else (0.7, 1.0)
            ax.vlines(mark.x, mark.low, mark.high, linewidth=width, alpha=alpha, **style)
        case Bar():
            height, middle = mark.high - mark.low, mark.x + mark.width / 2
            ax.bar(middle, height, mark.width, bottom=mark.low, alpha=0.45 if mark.light else 1, linewidth=0, **style)
            if mark.capped:
                ax.plot([middle], [mark.high + CAP * chart.y.span], mark.look.marker, markersize=2.2, **style)
        case _:
            assert_never(mark)


def _find_dashes(look: Look) -> Any:
    dashes = tuple(float(v) for v in look.dash.split())
    return (0, dashes) if dashes else "-"


def _make_handle(key: Key) -> Any:
    from matplotlib.lines import Line2D

    style: dict[str, Any] = {"linestyle": _find_dashes(key.look), "marker": key.marker or key.look.marker}
    if key.marker == "*":
        style |= {"linestyle": "", "markersize": 7, "markeredgecolor": "black", "markeredgewidth": 0.4}
    return Line2D([], [], color=key.look.hex, label=shorten_name(key.name), **style)


def shorten_name(name: str) -> str:
    """Return a name that fits into a figure."""
    shown = " ".join(show_hidden(name).split())
    if len(shown) <= NAME_LENGTH:
        return shown
    return shown[: NAME_LENGTH // 2 - 1] + "…" + shown[-NAME_LENGTH // 2 :]  # names often differ at their end


def _count_columns(keys: Sequence[Key]) -> int:
    """Return the columns of a legend: two, or one where names are long."""
    return 1 if max(len(shorten_name(key.name)) for key in keys) > 22 else 2


def measure_legend(keys: Sequence[Key]) -> float:
    """Return the inches that the legend takes."""
    return 0.1 + 0.145 * -(-len(keys) // _count_columns(keys)) if keys else 0.0

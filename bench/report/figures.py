"""Charts for print: matplotlib at a column's width, as SVG, PDF and PNG with the numbers beside them as CSV.

Fonts are embedded, ids are seeded and no date is written, so that the same results give the same bytes.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, assert_never

from bench.environment import count_cores, keep_import_path
from bench.errors import UsageError
from bench.files import replace_file, write_text
from bench.report.formats import DataRow, format_csv
from bench.report.marks import Band, Bar, Chart, Key, Line, Mark, Point, Reference, Shares, Whisker, format_tick
from bench.report.plots.texts import DIRECT, name_lines, settle_layout, shorten_name, write_inside
from bench.report.style import Look
from bench.text import show_hidden

COLUMN, WIDE = 3.4, 7.0  # inches: one column of the usual two-column conference style, and both
METADATA: dict[str, dict[str, str | None]] = {
    "svg": {"Date": None, "Creator": "ExitBench"},
    "pdf": {"CreationDate": None, "ModDate": None, "Creator": "ExitBench", "Producer": None},
    "png": {"Software": None},
}
CAPTION = {"svg": "Description", "pdf": "Subject", "png": "Description"}
"""What a kind of file calls what is said of it."""
FONTS = {"sans": (["DejaVu Sans"], 1.0), "serif": (["STIXGeneral", "DejaVu Serif"], 1.12)}
"""Fonts that come with matplotlib, and how much larger their letters must be to look as large."""
POINT = 0.95  # a marker's width in points for each unit of its radius on the page
WORTH_A_PROCESS = 12
"""So many figures take longer than another process to begin, which imports matplotlib."""
CAP = 0.04  # markers stand so far above their bars, in heights of the axes


@dataclass(frozen=True)
class Figure:
    """One figure: a file name, what it says, the numbers, and its charts, in ``columns``.

    ``height`` of all charts and ``width`` are in inches; the legend is below them, unless ``whole`` says how high all
    is. ``titled``: each chart's title stands above it. ``direct``: lines are named where they end, not in a legend.
    """

    name: str
    caption: str
    rows: Sequence[DataRow]
    charts: Sequence[Chart | Shares]
    height: float = 2.0
    width: float = COLUMN
    columns: int = 1
    titled: bool = False
    direct: bool = False
    title: str = ""
    font: str = "sans"
    whole: float | None = None

    @property
    def keys(self) -> list[Key]:
        """The legend's entries for all charts, of what is shown, each name once."""
        charts = sorted(self.charts, key=lambda chart: -len(chart.legend))  # the longest legend has the order of all
        shown = [key for chart in charts for key in chart.legend if key.on and not key.inside]
        names: dict[str, set[str]] = defaultdict(set)
        for key in shown:
            names[key.series].add(key.name)
        # what is doubted in one chart and not in another is left to the caption
        first: dict[str, Key] = {}
        for key in shown:
            first.setdefault(key.series, key if len(names[key.series]) == 1 else replace(key, name=key.series))
        return list(first.values())

    @property
    def named_directly(self) -> bool:
        """Whether lines are named where they end: it is asked for, and their names are short."""
        return self.direct and all(len(key.name) <= DIRECT for key in self.keys if not key.hollow)

    @property
    def legend(self) -> list[Key]:
        """The entries of the legend below: all, or where lines are named directly what is no line."""
        return [key for key in self.keys if key.hollow or not self.named_directly]

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of everything, in inches."""
        legend = measure_legend(self.legend, self.width)
        return self.width, self.whole or self.height + legend + (0.2 if self.title else 0.0)


def join_captions(subject: str, charts: Sequence[Chart | Shares], more: str = "") -> str:
    """Return a figure's caption: what its charts show of ``subject``, and from which data, once where it can be."""
    sources = {chart.source for chart in charts}
    if len(sources) == 1:
        said = [*(chart.words for chart in charts), *sources]
    else:
        said = [text for chart in charts for text in (chart.words, chart.source)]
    return " ".join([f"{subject}.", *filter(None, said)]) + more


@contextmanager
def use_paper_style(font: str = "sans") -> Iterator[Any]:
    """Give pyplot without a display, in the papers' style, and leave the caller's settings as they were.

    ``font`` is one of :data:`FONTS` or a family that matplotlib finds. Raises UsageError for another one.
    """
    import matplotlib

    matplotlib.use("Agg", force=False)
    import seaborn as sns
    from matplotlib import font_manager
    from matplotlib import pyplot as plt

    path = Path(__file__).parent / "templates" / "paper.mplstyle"
    style = matplotlib.rc_params_from_file(path, use_default_template=False)
    if font not in FONTS and font not in (known := sorted(font_manager.get_font_names())):
        raise UsageError(
            f"Matplotlib finds no font '{font}'. Known: {', '.join(FONTS)}, and its own, as '{known[-1]}'."
        )
    families, larger = FONTS.get(font, ([font, "DejaVu Sans"], 1.0))
    style |= {name: size * larger for name, size in style.items() if name.endswith(("font.size", "labelsize"))}
    style |= {name: style[name] * larger for name in ("axes.titlesize", "legend.fontsize")}
    with sns.axes_style("ticks"), plt.rc_context({**style, "font.family": families}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # an emoji in a name becomes a box
        yield plt


@contextmanager
def open_canvas(width: float, height: float, font: str = "sans") -> Iterator[Any]:
    """Give an empty matplotlib figure of so many inches in the papers' style, and close it at the end."""
    with use_paper_style(font) as plt:
        fig = plt.figure(figsize=(width, height))
        try:
            yield fig
        finally:
            plt.close(fig)


def save_canvas(fig: Any, path: Path, kind: str, caption: str = "", dpi: int | None = None) -> None:
    """Write a matplotlib figure as ``kind`` with its caption inside, the same bytes each time."""
    with replace_file(path) as temporary:
        fig.savefig(temporary, format=kind, metadata=_describe_file(kind, caption), dpi=dpi or "figure")


def _describe_file(kind: str, caption: str) -> dict[str, str | None]:
    return METADATA[kind] | ({CAPTION[kind]: show_hidden(caption)} if caption else {})


def save_figure(figure: Figure, folder: Path, formats: Sequence[str] = tuple(METADATA)) -> list[Path]:
    """Write ``figure`` as .svg, .pdf and .png, or those of ``formats``, and its numbers as .csv under ``folder``."""
    *drawn, numbers = (folder / f"{figure.name}.{kind}" for kind in (*formats, "csv"))
    from matplotlib.backend_bases import get_registered_canvas_class

    with open_canvas(*figure.size, figure.font) as fig:
        draw_figure(figure, fig)
        fig.set_layout_engine("none")  # it has been found, and every file would find it again
        dpi = fig.dpi
        for path in drawn:
            kind = path.suffix[1:]
            fig.set_dpi(dpi)  # a file of vectors leaves its own behind
            canvas: Any = get_registered_canvas_class(kind)(fig)
            with replace_file(path) as temporary:  # savefig would draw twice, once for the layout
                getattr(canvas, f"print_{kind}")(temporary, metadata=_describe_file(kind, figure.caption))
    write_text(numbers, format_csv(figure.rows))
    return [*drawn, numbers]


@contextmanager
def save_figures(figures: Sequence[Figure], folder: Path) -> Iterator[Iterable[list[Path]]]:
    """Write many figures as :func:`save_figure` does, and give the files of each, in order, as they are written.

    Processes of their own write them where they are worth these, from the start, beside what the caller does meanwhile.
    """
    workers = min(count_cores(), len(figures) // WORTH_A_PROCESS)
    if workers < 2:
        yield (save_figure(figure, folder) for figure in figures)
        return
    with keep_import_path(), ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        try:
            yield pool.map(partial(save_figure, folder=folder), figures)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def draw_figure(figure: Figure, fig: Any) -> None:
    """Draw the charts of ``figure`` on a matplotlib figure, or a part of one, and below them one legend of all."""
    charts, columns = figure.charts, min(figure.columns, len(figure.charts))
    axes = fig.subplots(-(-len(charts) // columns), columns, squeeze=False).flatten()
    for ax in axes[len(charts) :]:
        ax.set_axis_off()
    for i, (ax, chart) in enumerate(zip(axes, charts, strict=False)):
        draw_chart(chart, ax) if isinstance(chart, Chart) else _draw_shares(chart, ax)
        if figure.titled:
            ax.set_title(shorten_name(chart.title))
        below = charts[i + columns] if i + columns < len(charts) else None
        if below is not None and below.x.label == chart.x.label:
            ax.set_xlabel("")
            if below.x == chart.x and isinstance(below, Chart):
                ax.tick_params(labelbottom=False)
        if i % columns and charts[i - 1].y.label == chart.y.label:
            ax.set_ylabel("")
    if figure.title:
        fig.suptitle(shorten_name(figure.title), fontsize="medium", fontweight="bold")
    if keys := figure.legend:
        handles = [_make_handle(key) for key in keys]
        fig.legend(handles=handles, loc="outside lower center", ncols=_count_columns(keys, figure.width))
    both = [(ax, chart) for ax, chart in zip(axes, charts, strict=False) if isinstance(chart, Chart)]
    lines = [[key for key in chart.legend if key.on and not key.hollow] for _, chart in both]
    shown = [[key for key in keys if figure.named_directly or key.inside] for keys in lines]
    if any(shown):
        settle_layout(fig)
    left = [name_lines(ax, chart, keys) for (ax, chart), keys in zip(both, shown, strict=True)]
    settle_layout(fig)
    for (ax, chart), named in zip(both, left, strict=True):
        write_inside(ax, chart, [key for key in named if not key.marker])


def draw_chart(chart: Chart, ax: Any) -> None:
    """Draw what ``chart`` shows at first on matplotlib axes; every artist's label is the name of its series."""
    marks = chart.shown()
    for i, mark in enumerate(marks):
        _draw_mark(mark, ax, chart, zorder=2 + i / len(marks))
    ax.set(xlim=(chart.x.low, chart.x.high), ylim=(chart.y.low, chart.y.high))
    ax.set(xlabel=chart.x.short or chart.x.label, ylabel=chart.y.short or chart.y.label)
    ax.set_xticks(chart.x.numbers(), [format_tick(v) for v in chart.x.numbers()])
    ax.set_yticks(chart.y.numbers(), [format_tick(v) for v in chart.y.numbers()])


def _draw_shares(chart: Shares, ax: Any) -> None:
    """Draw a table of shares in shades, the number in each field that has some."""
    import seaborn as sns

    words = [[f"{100 * v:.0f}" if v >= 0.005 else "" for v in row] for row in chart.values]
    names = [shorten_name(name, DIRECT) for name in chart.names]
    sns.heatmap(
        [list(row) for row in chart.values], ax=ax, annot=words, fmt="", cmap="Blues", vmin=0.0, vmax=1.0, cbar=False,
        linewidths=0.8, xticklabels=[format_tick(v) for v in chart.x.numbers()], yticklabels=names,
        annot_kws={"fontsize": "small"},
    )  # fmt: skip
    ax.set(xlabel=chart.x.label, title=chart.title)
    ax.tick_params(length=0)
    ax.tick_params(axis="y", rotation=0)


def _draw_mark(mark: Mark, ax: Any, chart: Chart, zorder: float) -> None:
    if isinstance(mark, Reference):  # its words come last, where they cover nothing
        (x1, y1), (x2, y2) = mark.start, mark.end
        ax.plot([x1, x2], [y1, y2], linestyle=(0, (4, 2)), color="#777777", linewidth=0.8, zorder=1.9)
        return
    style = {"color": mark.look.hex, "label": mark.series, "zorder": zorder}
    match mark:
        case Line():
            more = {"linewidth": 0.4} if mark.thin else {}
            ax.plot(mark.x, mark.y, linestyle=_find_dashes(mark.look), **style, **more)
        case Band():
            ax.fill_between(mark.x, mark.low, mark.high, alpha=0.05 if mark.faint else 0.13, linewidth=0, **style)
        case Point():
            edge = {"markeredgecolor": "black", "markeredgewidth": 0.4}
            star = edge if mark.marker == "*" else {"markeredgecolor": "white", "markeredgewidth": 0.4}
            face = {"markerfacecolor": "white", "markeredgecolor": mark.look.hex} if mark.hollow else {}
            size = POINT * mark.size * (1.5 if mark.marker == "*" else 1.0)
            ax.plot([mark.x], [mark.y], mark.marker or mark.look.marker, markersize=size, **{**style, **star, **face})
        case Whisker():
            width, alpha = (0.6, 0.55) if mark.faint else (0.7, 1.0)
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
    if key.hollow:
        style |= {"linestyle": "", "markersize": 4.5, "markerfacecolor": "white"}
    if key.marker == "*":
        style |= {"linestyle": "", "markersize": 7, "markeredgecolor": "black", "markeredgewidth": 0.4}
    return Line2D([], [], color=key.look.hex, label=shorten_name(key.name), **style)


def _count_columns(keys: Sequence[Key], width: float) -> int:
    """Return how many columns of a legend are no wider than ``width`` inches; two where one would do for all."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    size, font = 7.0, FontProperties(family="DejaVu Sans")
    longest = max(TextPath((0, 0), shorten_name(key.name), size=size, prop=font).get_extents().width for key in keys)
    fit = int((width * 72 - size) / (longest + 4.4 * size))
    rows = -(-len(keys) // max(1, min(fit, 4)))
    return -(-len(keys) // rows)


def measure_legend(keys: Sequence[Key], width: float = COLUMN) -> float:
    """Return the inches that the legend takes below charts of ``width``."""
    return 0.1 + 0.145 * -(-len(keys) // _count_columns(keys, width)) if keys else 0.0

"""`bench plot`: any figure, from recorded runs, for a paper or a talk."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.completing import complete_plots
from bench.cli.display import make_console, print_json
from bench.cli.session import Backbones, MetricName, Session, Tasks, split_names, split_seeds, with_session
from bench.text import build_table, show_line


@with_session("results_dir", "json", "allow_imports")
def plot(
    session: Session,
    kind: Annotated[
        str,
        typer.Argument(
            autocompletion=complete_plots,
            help="trade-off, elbert-figure-2, elbert-figure-3, criteria, windows, realisation, exits, calibration or "
            "depth; without one, a line on each.",
        ),
    ] = "",
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN]...", help="Only these runs, each a line: folder, name or key.")
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            metavar="LINE,...", help="Only these lines, separated by commas: systems, strategies or whole labels."
        ),
    ] = None,
    task: Tasks = None,
    backbone: Backbones = None,
    seed: Annotated[
        str | None, typer.Option(metavar="SEED,...", help="Only these seeds, separated by commas; 0-4 is a range.")
    ] = None,
    metric: MetricName = None,
    x: Annotated[str, typer.Option(help="The x axis: flops, layers, latency or cost.")] = "",
    labels: Annotated[
        str | None, typer.Option(help="Names for lines: line=name, or names in order, separated by commas.")
    ] = None,
    highlight: Annotated[str | None, typer.Option(help="Lines with a 95 % band, separated by commas.")] = None,
    bands: Annotated[
        bool | None, typer.Option("--bands/--no-bands", help="A 95 % band for every line, or for none.")
    ] = None,
    legend: Annotated[str, typer.Option(help="direct (beside the lines' ends), below or none.")] = "",
    width: Annotated[str | None, typer.Option(help="single (3.4), double (7) or a number of inches.")] = None,
    height: Annotated[float | None, typer.Option(help="Inches of the whole figure.")] = None,
    font: Annotated[str, typer.Option(help="sans, serif or a font that matplotlib finds.")] = "sans",
    dpi: Annotated[int, typer.Option(help="Dots per inch of a PNG.")] = 200,
    published: Annotated[
        bool,
        typer.Option("--published/--no-published", help="What others publish of this task and backbone, hollow."),
    ] = True,
    title: Annotated[str, typer.Option(help="Words above the figure.")] = "",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="The file: .pdf, .svg or .png; default KIND.pdf.")
    ] = None,
) -> None:
    """Draw a figure of recorded results, as PDF, SVG or PNG.

    Its caption is printed. Without a KIND: every kind, a line each.

    $ bench plot trade-off --task sst2 --out trade-off.pdf
    $ bench plot elbert-figure-3 --task mnli --font serif --width double
    """
    from bench.report.plots.kinds import PLOT_KINDS, find_kind, save_plot
    from bench.report.plots.options import PlotOptions, choose_runs, read_width

    if not kind:
        show_kinds(session, {name: known.summary for name, known in PLOT_KINDS.items()})
        return
    kind = find_kind(kind)
    options = PlotOptions(
        strategies=split_labels(strategy, "--strategy"),
        tasks=tuple(split_names(task, "--task")) if task is not None else (),
        backbones=tuple(split_names(backbone, "--backbone")) if backbone is not None else (),
        seeds=tuple(split_seeds(seed)) if seed is not None else (),
        x=x,
        labels=split_labels(labels, "--labels"),
        highlight=split_labels(highlight, "--highlight"),
        bands=bands,
        legend=legend,
        width=None if width is None else read_width(width),
        height=height,
        font=font,
        dpi=dpi,
        title=title,
        whole=bool(runs),
        published=published,
    )
    asked = session.read_metric(metric)
    found = [session.find_run(name) for name in runs] if runs else session.read_runs()
    if asked is not None:
        found = session.judge_runs(choose_runs(found, options), asked, curves=True)
    path = out or Path(f"{kind}.pdf")
    figure = save_plot(kind, found, path, options)
    if session.json:
        print_json({"file": str(path), "kind": kind, "caption": figure.caption, "rows": list(figure.rows)})
        return
    console = make_console()
    console.print(show_line(f"{path}: {figure.size[0]:g} x {figure.size[1]:.3g} in"))
    console.print(show_line(figure.caption))


def show_kinds(session: Session, kinds: dict[str, str]) -> None:
    """Print every kind of figure with what it shows."""
    if session.json:
        print_json([{"kind": name, "what": what} for name, what in kinds.items()])
    else:
        make_console().print(build_table("kinds of figures", ("kind", "what"), list(kinds.items())))


def split_labels(text: str | None, option: str) -> tuple[str, ...]:
    """Return the names in ``a,b (c, d)``: a comma in parentheses parts nothing. Raises UsageError for none."""
    if text is None:
        return ()
    names = tuple(name.strip() for name in re.split(r",(?![^()]*\))", text) if name.strip())
    return names or tuple(split_names("", option))

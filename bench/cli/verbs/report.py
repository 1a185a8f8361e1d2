"""`bench report`: the store as a page, tables and figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.display import print_json
from bench.cli.session import Backbones, MetricName, Session, Tasks, split_names, with_session
from bench.text import show_line


@with_session("results_dir", "json", "quiet", "allow_imports")
def report(
    session: Session,
    task: Tasks = None,
    backbone: Backbones = None,
    metric: MetricName = None,
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("reports"),
    formats: Annotated[
        str, typer.Option("--format", help="html, md, latex, csv, figures; separated by commas.")
    ] = "html,md,latex,csv,figures",
    published: Annotated[
        bool,
        typer.Option("--published/--no-published", help="What others publish of a task and backbone, hollow."),
    ] = True,
) -> None:
    """Write recorded results as an HTML page, tables and figures.

    Reads the results folder only: nothing is trained or timed.

    $ bench report --task sst2,mrpc --out reports
    """
    from bench.report.write import write_report
    from bench.results.store import Only

    only, judge = Only.named(task, backbone), session.read_metric(metric, ranked="bench report")
    asked = split_names(formats, "--format")
    written = write_report(session.results_dir, out, asked, session.progress, only, published=published, metric=judge)
    if session.json:
        print_json(written)
        return
    files = written["files"]
    page = next((path for path in files if Path(path).name == "report.html"), files[0])
    missing = [f"{written[what]} {what}" for what in ("failed", "damaged", "newer") if written[what]]
    said = f" ({', '.join(missing)})" if missing else ""
    counts = f"{written['cells']} cells{said}, {written['comparisons']} comparisons, {len(files)} files"
    print(show_line(f"{counts}: {page}"))
    if not written["comparisons"]:
        print(show_line(f"The page is empty. {session.store.explain_none()}"))

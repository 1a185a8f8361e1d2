"""`bench report`, top to bottom: read the store, compute once, write every format."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from bench.errors import NothingComparable, UsageError
from bench.files import write_text
from bench.measure.judges import AskedMetric
from bench.progress import Progress
from bench.report import tables
from bench.report.charts import build_charts, build_realisation
from bench.report.counts import build_counts_table
from bench.report.figures import Figure, save_figures
from bench.report.formats import TextTable, format_csv, format_latex, format_markdown
from bench.report.overview.answers import render_answers
from bench.report.overview.lines import Overview, arrange_panels
from bench.report.page import render_page
from bench.report.plots.collection import DEFAULT, build_panel_figures, build_paper_figures
from bench.report.plots.realisation import build_realisation_figure
from bench.report.provenance import Revision, StoreContents, describe_machines, find_revisions, find_timing_problem
from bench.report.series import make_panels
from bench.results.groups import group_seeds
from bench.results.store import (
    ALL,
    Only,
    Store,
    find_damaged_logits,
    find_unpooled,
    judge_runs,
    leave_out,
    make_all_answers,
)
from bench.text import escape_latex, escape_markdown

FORMATS = ("html", "md", "latex", "csv", "figures")


def write_report(
    results: Path,
    out: Path,
    formats: Collection[str],
    progress: Progress,
    only: Only = ALL,
    *,
    published: bool = True,
    metric: AskedMetric | None = None,
) -> dict[str, Any]:
    """Write the report on ``results``, or those of ``only``, under ``out``; return its files and how many cells it has.

    ``published``: what others have published of the same task and backbone stands in the trade-off figures, hollow.
    With a ``metric`` that is asked for, everything is judged by it instead of the tasks' own.

    Raises UsageError for unknown formats or no results folder, NothingComparable where it holds none of ``only``.
    """
    unknown = [f for f in formats if f not in FORMATS]
    if unknown or not formats:
        raise UsageError(f"Unknown format '{unknown[0] if unknown else ''}'. Known: {', '.join(FORMATS)}.")
    runs, left_out = Store(results).runs(only)
    left_out += find_damaged_logits(runs)
    if metric is not None:
        runs, unjudged = judge_runs(leave_out(runs, left_out), metric, curves=True)
        left_out += unjudged
    contents = StoreContents(runs, left_out)
    for bad in contents.left_out:
        progress.say(f"Left out: {bad.name}: {bad.why}")
    bare = sum(not run.is_sealed for run in runs)
    if bare:
        progress.say(f"{bare} of {len(runs)} records have no checksum (schema_version 1).")
    if only != ALL and not contents.runs:
        raise NothingComparable(Store(results).explain_none())
    progress.say(f"Read {len(contents.runs)} cells of {results}.")
    several = [run for seeds in group_seeds(contents.runs) if len(seeds) > 1 for run in seeds]
    for bad in find_unpooled(leave_out(several, contents.left_out)):
        progress.say(f"No interval over seeds with {bad.name}: {bad.why}")
    make_all_answers(leave_out(contents.runs, contents.left_out))
    found, marks = make_panels(contents.runs), find_revisions(contents.runs)
    made = []
    with progress.work("Analysing stored exits", max(1, len(found))) as work:
        for panel in found:
            made.append(build_charts(panel))
            work.advance(note=panel.title)
    realisation = build_realisation(found)
    points = [tables.build_points_table(panel, marks) for panel in found]
    classes = {panel.number: table for panel in found if (table := tables.build_class_table(panel))}
    single = {"curves": tables.build_curves_table(found), "cells": tables.build_cells_table(contents, marks)}
    if (counted := build_counts_table(found)).rows:
        single["counts"] = counted
    drawn: list[Figure] = []
    if "figures" in formats:
        drawn += [figure for one in made for figure in build_panel_figures(one, published)]
        drawn += [figure] if (figure := build_realisation_figure(found, DEFAULT)) else []
        drawn += build_paper_figures(made)

    with save_figures(drawn, out / "figures") as written:
        texts: dict[str, str] = {}
        tasks = arrange_panels(found, published) if {"html", "md"} & set(formats) else []
        if "html" in formats:
            texts["report.html"] = render_page(contents, tasks, made, realisation, marks, single, points, classes)
        if "md" in formats:
            texts["report.md"] = render_markdown(contents, tasks, marks, [*points, *classes.values()], single, drawn)
        if "latex" in formats:
            texts["tables.tex"] = render_latex([*points, *classes.values()], single)
        if "csv" in formats:
            texts["points.csv"] = format_csv([v for t in points for v in t.values])
            texts |= {f"{t.name}.csv": format_csv(t.values) for t in single.values()}
            texts |= {"classes.csv": format_csv([v for t in classes.values() for v in t.values])} if classes else {}
        for name, text in texts.items():
            write_text(out / name, text)
        files = [out / name for name in texts]
        with progress.work("Drawing figures", max(1, len(drawn))) as work:
            for figure, made_files in zip(drawn, written, strict=True):
                files += made_files
                work.advance(note=figure.name)
    if drawn:
        files.append(out / "figures" / "captions.md")
        write_text(files[-1], render_captions(drawn))
    counts = {"cells": len(contents.runs), "failed": len(contents.failed), **contents.count_left_out()}
    return {"files": [str(path) for path in files], **counts, "comparisons": len(found)}


def render_markdown(
    contents: StoreContents,
    tasks: Sequence[tuple[str, Sequence[Overview]]],
    marks: dict[str, Revision],
    points: list[TextTable],
    single: dict[str, TextTable],
    drawn: list[Figure],
) -> str:
    """Render everything as one Markdown file: answers, what is missing, all points, figures, cells, provenance."""
    said = [(f"failed: {escape_markdown(run.name)}", run.error) for run in contents.failed]
    said += [("not finished", f"{run.name} ({run.status})") for run in contents.unfinished]
    for run in contents.badly_timed:
        said.append((f"latency INVALID: {escape_markdown(run.name)}", find_timing_problem(run)))
    said += [(f"{bad.state}: {escape_markdown(bad.name)}", bad.why) for bad in contents.left_out]
    made_by = [(f"machine {name}", text) for name, text in describe_machines(contents.runs).items()]
    made_by += [(f"code {one.letter}", f"{one.text} ({len(one.cells)} cells)") for one in marks.values()]
    lines = ["# ExitBench report", ""]
    lines += render_answers(tasks) if points else ["There are no finished results here yet.", ""]
    if said:
        lines += ["## What is missing or not to be trusted", "", *_list_facts(said), ""]
    lines += ["## Every strategy and setting at every operating point", ""] if points else []
    parts = [format_markdown(t) for t in points]
    if single["curves"].rows:
        parts.append(format_markdown(single["curves"]))
    if "counts" in single:
        parts.append(format_markdown(single["counts"]))
    if drawn:
        parts.append("## Figures\n")
        for f in drawn:
            parts.append(f"![{escape_markdown(f.name)}](figures/{f.name}.png)\n\n{escape_markdown(f.caption)}\n")
    if contents.runs or contents.left_out:
        parts.append(format_markdown(single["cells"]))
    if made_by:
        parts.append("\n".join(["## Machines, code and packages", "", *_list_facts(made_by), ""]))
    return "\n".join([*lines, *parts])


def _list_facts(facts: Sequence[tuple[str, str | None]]) -> list[str]:
    return [f"- {what}: {escape_markdown(text or 'no message was kept')}" for what, text in facts]


def render_latex(points: list[TextTable], single: dict[str, TextTable]) -> str:
    """Render all tables, to be \\input; says what it needs."""
    head = "% Tables of an ExitBench report. Needs \\usepackage{booktabs,graphicx,textcomp} and T1 fonts.\n"
    shown = [*points, *(single[name] for name in ("curves", "counts") if name in single and single[name].rows)]
    return head + "\n".join(format_latex(t) for t in shown)


def render_captions(drawn: list[Figure]) -> str:
    """Render every figure\'s caption, for Markdown and as LaTeX."""
    parts = ["# Captions\n"]
    for figure in drawn:
        code = f"```latex\n\\caption{{{escape_latex(figure.caption)}}}\n```\n"
        parts.append(f"## {escape_markdown(figure.name)}\n\n{escape_markdown(figure.caption)}\n\n{code}")
    return "\n".join(parts)

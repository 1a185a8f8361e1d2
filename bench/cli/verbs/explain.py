"""`bench explain`: the decision process of one input, or the typical cases of a run."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from bench.cli.display import make_console, print_json
from bench.cli.session import RunName, Session, with_session
from bench.errors import UsageError
from bench.files import write_text
from bench.text import build_table, show_hidden

if TYPE_CHECKING:
    from bench.results.run import Run
    from bench.tasks.base import TaskData

MOST_OF_TEXT = 600
"""Of a text that a terminal shows: with its exits it fits a screen."""


@with_session()
def explain(
    session: Session,
    run: RunName,
    text: Annotated[str | None, typer.Option(help="Explain this text.")] = None,
    second: Annotated[str | None, typer.Option(help="The second text, for tasks with two.")] = None,
    sample: Annotated[str | None, typer.Option(help="Explain the sample with this id.")] = None,
    cases: Annotated[bool, typer.Option("--cases", help="Find simple and overthinking samples.")] = False,
    against: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Find the samples that one of two runs gets right and the other wrong."),
    ] = None,
    point: Annotated[
        str | None, typer.Option(help="Operating point: no-loss, 2x, default, ...; default no-loss.")
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", "--out", "-o", help="Write a page.")] = None,
    png: Annotated[Path | None, typer.Option(help="Write a picture.")] = None,
) -> None:
    """Look into one input, exit by exit.

    Probabilities, the criterion's state, attention; or a run's typical cases, or those on which two runs differ.

    $ bench explain last --text "a film that nobody needs"
    $ bench explain last --cases --html cases.html
    """
    if sum((text is not None, sample is not None, cases, against is not None)) != 1:
        raise UsageError("bench explain takes one of --text, --sample, --cases and --against.")
    asked = session.find_run(run).finished()
    if against is not None:
        if png is not None:
            raise UsageError("--png draws one input; of two runs there is a page (--html).")
        cross_two(session, asked, session.find_run(against).finished(), point, html)
        return
    session.progress.say("Loading torch, transformers and the model.")
    if cases and html is None and png is None:
        print_cases(session, asked, point)
        return
    from bench.analysis import explain as explaining
    from bench.analysis.cases import describe_absent
    from bench.cell.reload import load_run_model
    from bench.report.explain_view import print_explanation, render_explanations, save_png

    model = load_run_model(asked, session.context(of=asked))
    if cases:
        found = explaining.explain_cases(asked, model, point)
    elif sample is not None:
        found = [explaining.explain_sample(asked, model, sample, rule=point)]
    else:
        found = [explaining.explain_text(asked, model, explaining.Text(text or "", second), point)]
    if html is not None:
        write_text(html, render_explanations(found, asked.folder.name))
    if png is not None:
        for number, one in enumerate(found, start=1):
            save_png(one, png if len(found) == 1 else png.with_name(f"{png.stem}-{number}{png.suffix}"))
    if session.json:
        doubts = [[doubt.to_plain() for doubt in one.doubts] for one in found]
        print_json([
            {**replace_infinities(asdict(one)), "doubts": said} for one, said in zip(found, doubts, strict=True)
        ])  # fmt: skip
        return
    for one in found:
        print_explanation(one, make_console())
    for absent in describe_absent({one.kind for one in found}, asked.result().samples) if cases else ():
        make_console().print(absent)
    for path in filter(None, (html, png)):
        session.progress.say(f"Written: {path}")


def print_cases(session: Session, run: Run, point: str | None) -> None:
    """List typical samples with their texts, where the data can be had."""
    from bench.analysis.cases import describe_absent, describe_cases, find_run_cases

    cases = find_run_cases(run, point, most=5)
    data = load_data_or_say(session, run)
    rows, doubts = describe_cases(run, cases, data), run.find_replay_doubts()
    if session.json:
        print_json([{**row, "doubts": [doubt.to_plain() for doubt in doubts]} for row in rows])
        return
    out = make_console()
    out.print(f"Typical cases of {run.folder.name}, from the recorded logits" + (f", at {point}" if point else ""))
    for number, row in enumerate(rows, start=1):
        known = "" if row["label"] is None else f", label {row['label']}"
        out.print(f"\n{number} of {len(rows)}, {row['id']}{known}: {row['kind']}")
        if row["text"]:
            out.print(shorten(row["text"], MOST_OF_TEXT, placeholder=" …"))
        out.print(build_case(row, run.record.task.labels))
    for absent in describe_absent({row["kind"] for row in rows}, run.result().samples):
        out.print(f"\n{absent}")
    for doubt in doubts:
        out.print(f"{doubt.said}.")


def load_data_or_say(session: Session, run: Run) -> TaskData | None:
    """Return a run's data; None, and why on stderr, where they cannot be had: then texts are left out."""
    from backbones.hubcalls import ask_once
    from bench.cell.reload import load_run_data

    try:
        with ask_once():
            return load_run_data(run, session.context(of=run))
    except UsageError as error:
        print(show_hidden(f"Texts are left out: {error}"), file=sys.stderr)
        return None


def cross_two(session: Session, first: Run, second: Run, point: str | None, html: Path | None) -> None:
    """Pair two runs' answers to the same samples and tell on which they differ."""
    from bench.analysis.cross import cross_runs, list_split_texts
    from bench.report.overview.cross_view import make_plain_crossing, print_crossing, render_crossing

    found = cross_runs(first, second, point)
    texts = list_split_texts(load_data_or_say(session, first), found.first.split)
    if html is not None:
        write_text(html, render_crossing(found, texts))
        session.progress.say(f"Written: {html}")
    if session.json:
        print_json(make_plain_crossing(found, texts))
        return
    print_crossing(found, texts, make_console(), most=5)


def build_case(row: Mapping[str, Any], labels: Sequence[str]) -> Table:
    """Build the table of one case, short enough for a screen: a row for neighbouring exits of the same answer."""
    cells = []
    for one in row["exits"]:
        alone = one["first"] == one["last"]
        sure = f"{one['least']:.3f}" if alone else f"{one['least']:.3f} to {one['most']:.3f}"
        right = row["label"] is not None and labels[one["answer"]] == row["label"]
        said = [labels[one["answer"]], sure, "right" if right else "wrong" if row["label"] is not None else ""]
        where = str(one["first"]) if alone else f"{one['first']} to {one['last']}"
        cells.append([where, *said, "leaves here" if one["leaves"] else ""])
    return build_table("", ("exit", "answer", "sure", "", ""), cells)


def replace_infinities(value: Any) -> Any:
    """Return ``value`` for JSON: infinities, which it does not have, as None."""
    if isinstance(value, dict):
        return {k: replace_infinities(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [replace_infinities(v) for v in value]
    return None if isinstance(value, float) and math.isinf(value) else value

"""`bench compare`: two results, number by number, with a verdict for each and an exit code for the whole."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.display import make_console, print_json
from bench.cli.session import Session, with_session
from bench.errors import NOTHING_COMPARABLE
from bench.text import show_line


@with_session("json", "allow_imports")
def compare(
    session: Session,
    base: Annotated[str, typer.Argument(help="Results folder, run's folder, or git revision (REV:results).")],
    candidate: Annotated[str, typer.Argument(help="The same for what is judged.")],
    fail_on: Annotated[
        str, typer.Option(help="Verdicts for exit code 3: worse,inconclusive,not-comparable; or none.")
    ] = "worse",
    across: Annotated[str, typer.Option(help="Settings that may differ, such as dtype,seed,train.")] = "",
    margin: Annotated[float, typer.Option(help="Quality differences up to so many points are no regression.")] = 0.5,
    cost_margin: Annotated[float, typer.Option(help="The same for FLOPs at operating points, in percent.")] = 1.0,
    latency_factor: Annotated[float, typer.Option(help="The same for latency, in percent.")] = 5.0,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", "-o", help="Append a Markdown report, as for a job summary.")
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML.")] = None,
    tracker: Annotated[
        Path | None, typer.Option(help="Write the candidate's quality and speed-ups as customBiggerIsBetter JSON.")
    ] = None,
    tracker_costs: Annotated[
        Path | None, typer.Option(help="Write its FLOPs and latency as customSmallerIsBetter JSON.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Show what is the same too.")] = False,
) -> int:
    """Say what got better, worse or stayed the same.

    Exit code 3 for a regression, 4 where nothing compares.

    $ bench compare main:results results
    $ bench compare old/results results --markdown summary.md
    """
    from bench.compare.sources import open_results

    with open_results(base) as old, open_results(candidate) as new:
        session.say_unsealed([*old.runs, *new.runs])
        old, new = old.leave_out_damaged(), new.leave_out_damaged()
        session.say_left_out(old.left_out, "Left out of the base:")
        session.say_left_out(new.left_out, "Left out of the candidate:")
        # torch and scipy, which take seconds: after what needs none of them has been read
        from bench.compare.compare import compare_results, parse_fail_on
        from bench.compare.output import explain_nothing, make_table, write_files, write_headline
        from bench.compare.verdict import Margins

        failing = parse_fail_on(fail_on)
        free = [name.strip() for name in across.split(",") if name.strip()]
        margins = Margins(margin / 100, cost_margin / 100, latency_factor / 100)
        found = compare_results(old, new, margins, free, (base, candidate))
        write_files(found, new.runs, failing, markdown, junit, tracker, tracker_costs)
    code = found.exit_code(failing)
    if session.json:
        print_json({**found.to_json(), "exit_code": code})
    else:
        out = make_console()
        if everything or any(row.verdict != "same" for row in found.rows):
            out.print(make_table(found, everything))
        for cell, notes in found.notes.items():
            out.print(f"{cell}: {'; '.join(notes)}.")
        for sentence in found.describe_doubts():
            out.print(sentence)
        out.print(f"{write_headline(found)}.")
    if code == NOTHING_COMPARABLE:
        print(show_line(explain_nothing(found)), file=sys.stderr)
    return code

"""`bench history`: results over time, with the steps they took."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli.display import make_console, print_json
from bench.cli.session import Session, with_session
from bench.errors import UsageError
from bench.files import write_text
from bench.text import build_table, show_line

if TYPE_CHECKING:
    from bench.compare.history import Entry
    from bench.compare.sources import SourceRuns
    from bench.results.run import Run


@with_session("results_dir", "json")
def history(
    session: Session,
    record: Annotated[bool, typer.Option("--record", help="Keep the results that are there for good.")] = False,
    revisions: Annotated[int, typer.Option(help="First add the results of so many past commits.")] = 0,
    svg: Annotated[Path | None, typer.Option("--svg", "-o", help="Draw it as SVG.")] = None,
) -> None:
    """Follow results over commits, with the steps they took.

    Those that are there, and those kept in history.jsonl in the results folder, which only grows.

    $ bench history --record
    $ bench history --revisions 20 --svg history.svg
    """
    from bench.compare import history
    from bench.compare.sources import open_results, read_results
    from bench.report.charts import build_history
    from bench.report.svg import stack_svg
    from bench.results.store import LeftOut

    results_dir = session.results_dir
    path = results_dir / history.FILE

    def find(results: SourceRuns, take: Callable[[Path, Iterable[Run]], list[Entry]]) -> list[Entry]:
        unfinished = [LeftOut(run.name, f"its status is {run.status}") for run in results.runs if not run.is_finished()]
        untimed = [
            LeftOut(f"the latency of {run.name}", f"it is INVALID: {run.timing_problem}")
            for run in results.runs
            if run.is_finished() and run.timing_problem
        ]
        session.say_left_out([*results.left_out, *unfinished, *untimed])
        session.say_unsealed(results.runs)
        return take(path, results.runs)

    added = []
    for commit in list_past_commits(results_dir, revisions) if revisions else []:
        with open_results(f"{commit}:{results_dir.as_posix()}") as past:
            added += find(past, history.append_runs)
    if record:
        added += find(read_results(results_dir), history.append_runs)
    if added:
        print(show_line(f"Added {len(added)} to {path}."), file=sys.stderr)
    entries, left_out = history.read_history(path)
    session.say_left_out(left_out)
    fresh: list[Entry] = []
    if not record and not revisions:
        try:
            fresh = find(read_results(results_dir), history.find_fresh)
        except UsageError:  # a history may travel without its results
            if not entries:
                raise
        if fresh:
            print(show_line(f"{len(fresh)} not in {path} yet: --record keeps them."), file=sys.stderr)
        entries += fresh
    if not entries:
        raise UsageError(f"{path} has no entries, and there are no finished results: `bench run` makes some.")
    if svg is not None:
        write_text(svg, stack_svg(build_history(entries)))
    found = list_series(entries)
    if session.json:
        print_json({"entries": [asdict(e) for e in entries], "series": found})
        return
    cells = []
    for row, (name, kept, _) in zip(found, history.follow_numbers(entries), strict=True):
        marks = [f"{s['before']:.4g} -> {s['after']:.4g} at {s['commit'][:9] or s['at']}" for s in row["steps"]]
        first, last = kept[0].mark_number(name), kept[-1].mark_number(name)
        cells.append((row["cell"], row["what"], first, last, "\n".join(marks)))
    title = f"{len(entries)} entries" + (f", {len(fresh)} of them not in {path}" if fresh else f" in {path}")
    out = make_console()
    out.print(build_table(title, ("cell", "what", "first", "last", "steps"), cells))
    for sentence in history.describe_entry_doubts(entries):
        out.print(sentence)


def list_series(entries: Any) -> list[dict[str, Any]]:
    """Return each series and number with its values and steps."""
    from bench.compare import history

    found = []
    for name, kept, taken in history.follow_numbers(entries):
        steps = [
            {"at": kept[s.at].at, "commit": kept[s.at].commit, "before": s.before, "after": s.after} for s in taken
        ]
        values = [e.values[name].value for e in kept]
        found.append({"cell": kept[-1].label, "what": name, "values": values, "steps": steps})
    return found


def list_past_commits(results_dir: Path, most: int) -> list[str]:
    """Return the last ``most`` commits that touched the results, oldest first. Raises UsageError outside a checkout."""
    command = ["git", "log", f"-{most}", "--format=%H", "--diff-filter=AM", "--", f"{results_dir}/*record.json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UsageError("--revisions needs a git checkout with results in it.") from error
    return done.stdout.split()[::-1]

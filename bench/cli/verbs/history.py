"""`bench history`: results over time, with the steps they took."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli.display import make_console, print_json
from bench.cli.session import Session, with_session
from bench.errors import UsageError
from bench.files import write_text
from bench.measure.rules import shorten_rule
from bench.text import FittedTable, TextConsole, build_table, show_line

if TYPE_CHECKING:
    from bench.compare.history import Entry
    from bench.compare.sources import SourceRuns
    from bench.results.run import Run

ONCE = ("all layers", "no-loss")
"""Points that are shown of a cell that was made once."""


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
    if session.json:
        print_json({"entries": [asdict(e) for e in entries], "series": list_series(entries)})
        return
    title = f"{len(entries)} entries" + (f", {len(fresh)} of them not in {path}" if fresh else f" in {path}")
    print_history(title, entries, make_console())


def print_history(title: str, entries: Sequence[Entry], out: TextConsole) -> None:
    """Print each cell that was made several times with its steps, all others in one table, and what is doubted."""
    from bench.compare import history

    out.print(f"{title}.")
    once = []
    for series in history.group_by_series(entries).values():
        if len(series) == 1:
            once.append([series[0].label, *(_write_number(series[0], rule) for rule in ONCE)])
            continue
        out.print(_tabulate_numbers(series))
        steps = [(name, kept, taken) for name, kept, taken in history.follow_numbers(series) if taken]
        for name, kept, taken in steps:
            marks = [f"{s.before:.4g} -> {s.after:.4g} at {kept[s.at].commit[:9] or kept[s.at].at}" for s in taken]
            out.print(f"Steps of {name}: {', '.join(marks)}.")
        out.print("" if steps else "No step.\n")
    if once:
        out.print(build_table("Made once: nothing to follow yet", ("cell", *ONCE), once))
    for sentence in history.describe_entry_doubts(entries):
        out.print(sentence)


def _tabulate_numbers(series: Sequence[Entry]) -> FittedTable:
    """Return a cell's numbers, a row a point: the last one, before it the first where that is another."""
    names = list(dict.fromkeys(name for entry in series for name in entry.values))
    kinds = list(dict.fromkeys(name.rpartition(" at ")[0] for name in names))
    rows = []
    for rule in dict.fromkeys(name.rpartition(" at ")[2] for name in names):
        cells = []
        for name in (f"{kind} at {rule}" for kind in kinds):
            kept = [entry.mark_number(name, 4) for entry in series if name in entry.values]
            cells.append(" -> ".join(dict.fromkeys([kept[0], kept[-1]])) if kept else "-")
        rows.append([shorten_rule(rule), *cells])
    since = f"{series[0].at[:10]} to {series[-1].at[:10]}"
    return build_table(f"{series[-1].label}: {len(series)} entries, {since}", ("point", *kinds), rows)


def _write_number(entry: Entry, rule: str) -> str:
    """Return an entry's quality at a point, and the FLOPs or layers saved: ``accuracy 0.829 (11.2x)``."""
    found = {name.rpartition(" at ")[0]: name for name in entry.values if name.rpartition(" at ")[2] == rule}
    quality = [f"{kind} {entry.mark_number(name, 4)}" for kind, name in found.items() if "speed-up" not in kind]
    speed = next((entry.values[name].value for kind, name in found.items() if "speed-up" in kind), None)
    early = [f"({speed:.2f}x)"] if speed is not None and rule != "all layers" else []
    return " ".join([*quality, *early]) or "-"


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

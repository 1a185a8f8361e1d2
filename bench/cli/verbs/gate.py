"""`bench gate`: the present code against the committed baseline; `--accept` rewrites it and says what moved."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.display import make_console, print_json
from bench.cli.session import Session, with_session
from bench.errors import OK, UsageError
from bench.text import show_line
from strategies import STRATEGIES


@with_session("json", "quiet")
def gate(
    session: Session,
    accept: Annotated[bool, typer.Option("--accept", help="Rewrite the baseline and say what moved.")] = False,
    baseline: Annotated[Path, typer.Option(help="Where the baseline is.")] = Path("results/baseline"),
    strategy: Annotated[
        str | None, typer.Option(help="Only these, separated by commas; your own: module:Name.")
    ] = None,
    rules_only: Annotated[
        bool, typer.Option("--rules-only", help="Rules, FLOPs and counts on stored logits only: seconds, no training.")
    ] = False,
    work_dir: Annotated[Path | None, typer.Option(help="Keep the runs here, to go on after an interruption.")] = None,
    fail_on: Annotated[str, typer.Option(help="Verdicts for exit code 3.")] = "worse,not-comparable",
    markdown: Annotated[Path | None, typer.Option("--markdown", "-o", help="Append a Markdown report.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Show what is the same too.")] = False,
) -> int:
    """Hold small seeded runs against the committed baseline.

    Every strategy is trained and decided again; exit code 3 where something moved.

    $ bench gate --rules-only
    $ bench gate --strategy my_margin:Margin --baseline my_baseline --accept
    """
    if accept and rules_only:
        raise UsageError("--accept needs the runs: leave --rules-only out.")
    from bench.compare.compare import Comparison, parse_fail_on
    from bench.compare.gate import baseline as store
    from bench.compare.gate import check
    from bench.compare.gate.cells import list_gate_cells, run_gate_cells
    from bench.compare.output import make_table, write_files, write_headline
    from bench.compare.verdict import Margins

    failing = parse_fail_on(fail_on)
    named = [] if strategy is None else session.read_strategies(strategy)
    cells = list_gate_cells(named)
    for name in named:
        STRATEGIES.load(name)  # what cannot be loaded is said before anything is done
    fresh = accept and not (baseline / "platform.json").exists()
    kept = None if fresh else store.Baseline.read(baseline)
    if kept is not None and named:
        if accept and (others := sorted(kept.strategies - set(named))):
            raise UsageError(f"The baseline in {baseline} would lose {', '.join(others)}: name another --baseline.")
        kept = kept.select(named)
    rows = [] if kept is None else check.compare_probe(kept, named) + check.compare_rules(kept, cells)
    if not rules_only:
        observed = run_gate_cells(cells, work_dir, session.progress)
        rows += [] if kept is None else check.compare_trained(kept, observed)
    found = Comparison(str(baseline), "the present code", rows, Margins(quality=check.MARGIN))
    write_files(found, [], failing, markdown, junit)
    code = OK if accept else found.exit_code(failing)
    if session.json:
        print_json({**found.to_json(), "exit_code": code})
    else:
        if everything or any(row.verdict != "same" for row in rows):
            make_console().print(make_table(found, everything))
        print(f"{write_headline(found)}." if rows else "There was no baseline.")
    if accept:
        store.write_baseline(baseline, observed, check.decide_on_probe(named))
        print(show_line(f"Accepted as the baseline in {baseline}; what moved is above."), file=sys.stderr)
    return code

"""`bench pick`: which strategy is best at a speed-up or a loss, from the recorded runs alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.display import make_console, print_json
from bench.cli.session import Backbones, MetricName, Session, Tasks, with_session
from bench.errors import NothingComparable, UsageError
from bench.files import write_text


def read_speedup(text: str) -> float:
    """Return a number of times, written as 2 or 2x."""
    try:
        return float(text.removesuffix("x"))
    except ValueError:
        raise typer.BadParameter(f"'{text}' is no speed-up: give a number such as 2 or 2x.") from None


@with_session("results_dir", "json", "allow_imports")
def pick(
    session: Session,
    task: Tasks = None,
    backbone: Backbones = None,
    speedup: Annotated[
        float | None,
        typer.Option(
            help="The best quality at this speed-up or more, 3 or 3x; 2 where nothing is asked.",
            parser=read_speedup,
            metavar="TIMES",
        ),
    ] = None,
    max_loss: Annotated[
        float | None, typer.Option(help="Instead: the fastest that loses at most this (0.01: one point).")
    ] = None,
    metric: MetricName = None,
    every: Annotated[bool, typer.Option("--all", help="Also show each that is clearly behind.")] = False,
    panel: Annotated[int | None, typer.Option(help="Show the table of this answer, by its number.")] = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", "-o", help="Write table and answers to this file too.")
    ] = None,
) -> None:
    """Say which strategy is best at a speed-up or a loss.

    And which are within noise of it, paired on the same samples.

    $ bench pick --task sst2 --speedup 2
    $ bench pick --task mnli --max-loss 0.01
    """
    from bench.compare.sentences import say_ranking
    from bench.measure.rules import Rule
    from bench.results.store import Only, find_damaged_logits

    if speedup is not None and max_loss is not None:
        raise UsageError("bench pick takes --speedup or --max-loss, not both.")
    goal = Rule("speedup", 2.0 if speedup is None else speedup) if max_loss is None else Rule("max_loss", max_loss)
    asked = session.read_metric(metric, ranked="bench pick")
    runs = [run for run in session.read_runs(Only.named(task, backbone)) if run.is_finished()]
    session.say_left_out(find_damaged_logits(runs), "Not paired:")
    if not runs:
        raise NothingComparable(session.store.explain_none())
    runs = session.judge_runs(runs, asked)
    from bench.cli.ranking_tables import MOST_BEHIND, format_ranking, print_rankings, rank_runs

    found = rank_runs(runs, goal)
    if panel is not None and not 1 <= panel <= len(found):
        raise UsageError(f"--panel takes a number from 1 to {len(found)}, not {panel}.")
    tabled, most = found[(panel or 1) - 1], None if every else MOST_BEHIND
    answered = found if panel is None else [tabled]
    if markdown is not None:
        write_text(markdown, format_ranking(tabled, most, [say_ranking(one) for one in answered]))
    if session.json:
        print_json([{**one.to_plain(), "said": say_ranking(one)} for one in answered])
        return
    print_rankings([tabled], most)
    if panel is None and len(found) > 1:
        make_console().print("\nElsewhere, what was trained or measured otherwise (--panel NUMBER shows its table):")
        for number, one in enumerate(found[1:], start=2):
            make_console().print(f"{number}. {say_ranking(one)}")

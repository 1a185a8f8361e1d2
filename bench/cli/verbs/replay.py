"""`bench replay`: a criterion on anybody's recorded logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli.display import make_console, print_json
from bench.cli.session import Session, SettingOptions, split_names, with_session
from bench.measure.metrics import title_metric
from bench.settings import parse_settings

if TYPE_CHECKING:
    from bench.results.doubts import Doubt
    from bench.results.measures import SplitResult

SHOWN = 20  # decisions printed on a terminal; --json has all of them


@with_session("json")
def replay(
    session: Session,
    logits: Annotated[
        Path, typer.Argument(help=".npz with logits (samples, exits, classes), labels, ids, observed; or .parquet.")
    ],
    strategy: Annotated[str, typer.Option(metavar="STRATEGY", help="The strategy whose criterion decides.")],
    threshold: Annotated[float | None, typer.Option(help="Show this threshold's decisions too.")] = None,
    settings: SettingOptions = None,
    metric: Annotated[
        str | None,
        typer.Option(help="Metrics, separated by commas, as of bench show; default accuracy or pearson."),
    ] = None,
    fit_on: Annotated[
        Path | None, typer.Option(help="Held-out logits with labels, for criteria that are fitted.")
    ] = None,
) -> None:
    """Let a criterion decide on anybody's recorded logits.

    Prints its operating points and the decisions at one threshold. Nothing is trained or timed.

    $ bench replay exits.npz --strategy patience
    """
    from bench.analysis.logits import replay_file
    from bench.measure.judges import read_metric

    strategy = session.read_strategy(strategy)
    asked = tuple(read_metric(name) for name in split_names(metric, "--metric")) if metric else ()
    facts, result, doubts = replay_file(logits, strategy, parse_settings(settings or []), threshold, asked, fit_on)
    if session.json:
        print_json(facts)
    else:
        print_replayed(facts, result, doubts)


def print_replayed(facts: Mapping[str, Any], result: SplitResult | None, doubts: Sequence[Doubt]) -> None:
    """Print the operating points, where there are any, what is doubted, and the first decisions."""
    from bench.cli.run_tables import tabulate_points

    out = make_console()
    if result is not None:
        title = f"{facts['strategy']} | {facts['samples']} samples, {facts['exits']} exits"
        out.print(tabulate_points(title, result, facts["metrics"], doubts=doubts))
    for doubt in doubts:
        out.print(f"{doubt.said}.")
    if result is not None:
        chosen = f"Thresholds are chosen by {title_metric(facts['metrics'][0])} on these samples"
        out.print(f"{chosen} and reported on them: optimistic. Costs in layers.")
    exits = f"mean exit {facts['mean_layer']:.3f}, exits {facts['exit_counts']}"
    out.print(f"At threshold {facts['threshold']:g}: {exits}")
    for row in facts["decisions"][:SHOWN]:
        out.print(f"  {row['id']}: exit {row['layer']}, prediction {row['prediction']}")
    if facts["samples"] > SHOWN:
        out.print(f"  ... {facts['samples'] - SHOWN} more; --json prints all.")
    for warning in facts["warnings"]:
        out.print(f"Warning: {warning}")

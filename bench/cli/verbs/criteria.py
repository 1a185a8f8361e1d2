"""`bench criteria`: every criterion on the same checkpoints, each paired with one of them on the same samples.

What differs between the rows of a table is the criterion alone: backbone, heads, training and samples are the same.
Costs are layers; what a criterion costs itself is in `bench table`'s FLOPs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table
from rich.text import Text

from bench.cli.display import NAMES, console, print_json
from bench.cli.options import Backbones, Tasks
from bench.cli.session import Session, with_session
from bench.compare.quality import AREA_GRID, Area
from bench.errors import OK, NothingComparable, UsageError
from bench.files import write_text
from bench.measure.metrics import is_additive
from bench.measure.stats import Interval
from bench.reproduce.evidence import NotRun, Run, measured, minus
from bench.results.spec import key
from bench.results.store import Cell, Only, Store
from bench.text import escape_markdown

LEAST = 3  # criteria that a checkpoint must carry to be a table
COLUMNS = ("criterion", "arguments", "seeds", "least layers", "at L/2", "difference at L/2", "difference of the curve")

FOOT = (
    "At L/2: the quality of the first cut whose mean exit is at most half of the layers (cost alone picks it). "
    "Difference of the curve: the mean difference of quality over {grid} budgets of layers, evenly spaced over those "
    "that both curves reach. Brackets: 95 %, paired on the same samples; over seeds too where there are several. "
    "Differences are against {against}."
)


@with_session("results_dir", "json")
def criteria(
    session: Session,
    task: Tasks = None,
    backbone: Backbones = None,
    against: Annotated[str, typer.Option(help="The criterion that the others are paired with.")] = "entropy",
    markdown: Annotated[Path | None, typer.Option(help="Write the tables to this file too.")] = None,
) -> int:
    """Every criterion on the same checkpoints, paired on the same samples."""
    found = [
        compared
        for group in checkpoints(session.store, Only.named(task, backbone)).values()
        if len(group) >= LEAST and (compared := compare(group, against)) is not None
    ]
    if not found:
        raise NothingComparable(
            f"No checkpoint in {session.results_dir} carries {LEAST} criteria, '{against}' among them: run several "
            "strategies with the same --recipe and --head, and they share one."
        )
    if markdown is not None:
        write_text(markdown, as_markdown(found, against))
    if session.json:
        print_json(found)
        return OK
    out = console()
    for table in found:
        shown = Table(title=Text(table["title"]), title_justify="left")
        for column in COLUMNS:
            shown.add_column(column, overflow="fold")
        for row in table["rows"]:
            shown.add_row(*map(Text, _cells(row)))
        out.print(shown)
    out.print(FOOT.format(grid=AREA_GRID, against=against))
    return OK


Group = dict[tuple[str, str], list[Run]]
"""The runs of one training (whatever its seed) by criterion and its arguments, one a seed."""


def checkpoints(store: Store, only: Only) -> Mapping[str, Group]:
    """Finished classification runs by their training without its seed."""
    found: dict[str, Group] = defaultdict(lambda: defaultdict(list))
    for cell in store.cells():
        record: Any = cell.read()
        if record["status"] != "success" or not is_additive(record["task"]["metrics"][0]):
            continue
        run = _loaded(cell) if only.holds(record) else None
        if run is not None:
            training = {name: value for name, value in record["identity"].items() if name not in ("strategy", "seed")}
            spec = record["spec"]
            arguments = ", ".join(f"{name}={value}" for name, value in spec["criterion_args"].items())
            found[key(training)][spec["strategy"], arguments].append(run)
    for group in found.values():
        for runs in group.values():
            runs.sort(key=lambda run: run.record["spec"]["seed"])
    return found


def compare(group: Group, against: str) -> dict[str, Any] | None:
    """The table of one training: best curve first; None where the reference is not among the criteria.

    Raises UsageError where the reference stands there with several settings.
    """
    references = [runs for (name, _), runs in group.items() if name == against]
    if not references:
        return None
    if len(references) > 1:
        raise UsageError(f"'{against}' was run with several arguments on one checkpoint; take another for --against.")
    reference = {run.record["spec"]["seed"]: run for run in references[0]}
    rows = []
    for (name, arguments), runs in group.items():
        pairs = [(run, reference[seed]) for run in runs if (seed := run.record["spec"]["seed"]) in reference]
        if pairs:
            rows.append({"criterion": name, "arguments": arguments, **against_reference(pairs)})
    rows.sort(key=lambda row: -row["curve"]["estimate"] if row["curve"] else 1.0)
    return {"title": _title(references[0][0].record), "against": against, "rows": rows}


def against_reference(pairs: Sequence[tuple[Run, Run]]) -> dict[str, Any]:
    """What a criterion reaches, and how it differs from the reference on the same checkpoints and samples."""
    runs, samples = [run for run, _ in pairs], len(pairs[0][0].last)
    half = runs[0].exits / 2
    row: dict[str, Any] = {
        "seeds": [run.record["spec"]["seed"] for run in runs],
        "upper_bound": bool(runs[0].record["upper_bound"]),
        "least_layers": float(np.mean([_reachable(run)[0] for run in runs])),
        "half": None,
        "half_difference": None,
        "curve": None,
    }
    try:
        ours = [run.quality(run.at_cost(half)) for run in runs]
        theirs = [other.quality(other.at_cost(half)) for _, other in pairs]
    except (NotRun, ValueError):
        pass  # this criterion has no setting that is so cheap
    else:
        row["half"] = asdict(measured(ours, samples, 0.95))
        row["half_difference"] = asdict(measured(list(map(minus, ours, theirs)), samples, 0.95))
    row["curve"] = None if (found := curve_difference(pairs, samples)) is None else asdict(found)
    return row


def curve_difference(pairs: Sequence[tuple[Run, Run]], samples: int) -> Interval | None:
    """Mean difference of quality over the budgets of layers that both curves reach; None where there are none."""
    reach = [_reachable(run) for pair in pairs for run in pair]
    lowest, highest = max(low for low, _ in reach), min(high for _, high in reach)
    if highest - lowest < 1e-9:
        return None
    grid = np.linspace(lowest, highest, AREA_GRID)
    areas = [(Area(one.tradeoff, one.metric), Area(other.tradeoff, other.metric)) for one, other in pairs]
    differences = [
        minus(lambda w, a=one: a.of_weights(w, grid), lambda w, a=other: a.of_weights(w, grid))  # type: ignore[misc]
        for one, other in areas
    ]
    return measured(differences, samples, 0.95)


def _reachable(run: Run) -> tuple[float, float]:
    """The least and the largest mean exit of the settings that the method has."""
    curve = run.tradeoff.curve
    settings = curve.mean_layer[curve.midpoints <= run.tradeoff.criterion.loosest]
    return float(settings.min()), float(settings.max())


def _loaded(cell: Cell) -> Run | None:
    try:
        return Run.load(cell.folder)
    except NotRun:
        return None  # recorded without its logits


def _title(record: Mapping[str, Any]) -> str:
    spec, backbone, task = record["spec"], record["backbone"], record["task"]
    split = task["evaluation"][0]
    metric = NAMES.get(task["metrics"][0], task["metrics"][0])
    limit = f", limit {spec['limit']}" if spec["limit"] else ""
    return (
        f"{spec['task']} | {spec['backbone']}, {backbone['layers']} layers, {spec['recipe']} / {spec['head']}{limit} | "
        f"{metric}, n = {record['evaluation'][split]['samples']}"
    )


def _cells(row: Mapping[str, Any]) -> list[str]:
    bound = " (upper bound)" if row["upper_bound"] else ""
    figures = [_text(row["half"], ""), _text(row["half_difference"], "+"), _text(row["curve"], "+")]
    least = f"{row['least_layers']:.2f}"
    return [row["criterion"] + bound, row["arguments"], str(len(row["seeds"])), least, *figures]


def _text(found: Mapping[str, float] | None, sign: str) -> str:
    if found is None:
        return "not reached"
    return f"{found['estimate']:{sign}.3f} [{found['low']:{sign}.3f}, {found['high']:{sign}.3f}]"


def as_markdown(tables: Sequence[Mapping[str, Any]], against: str) -> str:
    """All tables, then what the columns are."""
    lines: list[str] = []
    for table in tables:
        lines += [
            f"### {escape_markdown(table['title'])}",
            "",
            f"| {' | '.join(COLUMNS)} |",
            "|" + " --- |" * len(COLUMNS),
        ]
        lines += [f"| {' | '.join(map(escape_markdown, _cells(row)))} |" for row in table["rows"]]
        lines.append("")
    return "\n".join([*lines, FOOT.format(grid=AREA_GRID, against=against)]) + "\n"

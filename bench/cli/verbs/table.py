"""`bench table`: recorded runs side by side at matched cost, read from the store alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from bench.cli.display import NAMES, console, counted, print_json
from bench.cli.options import Backbones, Tasks
from bench.cli.session import Session, with_session
from bench.errors import OK, NothingComparable, UsageError
from bench.files import write_text
from bench.measure.points import Rule
from bench.report.numbers import format_quality
from bench.report.spread import OverSeeds, average_seeds
from bench.results.part import Estimate
from bench.results.spec import key
from bench.results.store import Cell, Only, Store
from bench.text import escape_markdown

Row = dict[str, Any]


@with_session("results_dir", "json")
def table(
    session: Session,
    task: Tasks = None,
    backbone: Backbones = None,
    at: Annotated[
        str, typer.Option(help="Operating points to show, separated by commas.")
    ] = "default,no-loss,1.5x,2x,3x",
    markdown: Annotated[Path | None, typer.Option(help="Write the table to this file too.")] = None,
) -> int:
    """Recorded runs side by side at matched cost."""
    rules = [recorded_name(name.strip()) for name in at.split(",")]
    rows = matched(session.store, Only.named(task, backbone), rules)
    if not rows:
        raise NothingComparable(f"No finished runs in {session.results_dir} for these tasks and backbones.")
    if markdown is not None:
        write_text(markdown, "\n".join(_markdown(rows, rules)) + "\n")
    if session.json:
        print_json(rows)
        return OK
    out = console()
    for group, members in _groups(rows).items():
        out.print(_table(group, members, rules))
    out.print(FOOT)
    return OK


def recorded_name(name: str) -> str:
    """An operating point as records name it: ``speedup=2`` is ``2x``; ``default`` and thresholds are as given.

    Raises UsageError for anything else.
    """
    try:
        return Rule.parse(name).format()
    except UsageError:
        if name != "default" and not _is_number(name):
            raise
        return name


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


FOOT = (
    "Thresholds are chosen on samples held out of train and reported on the evaluation split; the realised FLOPs "
    "speed-up stands in parentheses. Brackets: 95 % interval over samples, for these seeds. Several seeds: their mean, "
    "the standard deviation between seeds after ±, and the 95 % interval over both, seeds and samples (two-level "
    "bootstrap). Sample describe_sizes: used/available. Default: the criterion's own default setting."
)


def matched(store: Store, only: Only, rules: Sequence[str]) -> list[Row]:
    """One row for each strategy, recipe, head and arguments on a task and backbone; seeds are averaged."""
    cells: dict[tuple[str, ...], list[tuple[Cell, Mapping[str, Any]]]] = defaultdict(list)
    for cell in store.cells():
        record: Any = cell.read()
        spec = record["spec"]
        if record["status"] != "success" or not only.holds(record):
            continue
        backbone = record["backbone"]
        model = f"{spec['backbone']}, {backbone['init']}, {backbone.get('depth', backbone['layers'])} layers"
        model += f", limit {spec['limit']}" if spec["limit"] else ""
        arguments = ", ".join(f"{k}={v}" for k, v in spec["criterion_args"].items())
        training = key({**record["identity"], "seed": None})
        cells[(spec["task"], model, spec["strategy"], spec["recipe"], spec["head"], arguments, training)].append(
            (cell, record)
        )
    return [_row(identity, found, rules) for identity, found in sorted(cells.items(), key=lambda item: item[0])]


def _row(identity: tuple[str, ...], found: Sequence[tuple[Cell, Mapping[str, Any]]], rules: Sequence[str]) -> Row:
    cells, records = [cell for cell, _ in found], [record for _, record in found]
    task, model, strategy, recipe, head, arguments, _ = identity
    split = records[0]["task"]["evaluation"][0]
    metric = records[0]["task"]["metrics"][0]
    summaries = [record["evaluation"][split] for record in records]
    row: Row = {
        "task": task,
        "model": model,
        "strategy": strategy,
        "recipe": recipe,
        "head": head,
        "arguments": arguments,
        "metric": metric,
        "samples": summaries[0]["samples"],
        "reported on": counted(records[0], split),
        "trained on": counted(records[0], "train"),
        "seeds": sorted(record["spec"]["seed"] for record in records),
        "upper_bound": records[0]["upper_bound"],
        "layers": records[0]["backbone"]["layers"],
        "all layers": _figure([summary["full"] for summary in summaries], metric),
    }
    for rule in rules:
        points = [[p for p in s["points"] if p["rule"] == rule and "metrics" in p] for s in summaries]
        reached = [one[0] for one in points if one]
        row[rule] = _figure(reached, metric) if len(reached) == len(summaries) else None
    if len(records) > 1:
        for column in ("all layers", *rules):
            if row[column] is not None:
                row[column] |= _over_seeds(cells, records, split, metric, None if column == "all layers" else column)
    return row


def _over_seeds(
    cells: Sequence[Cell], records: Sequence[Mapping[str, Any]], split: str, metric: str, rule: str | None
) -> dict[str, Any]:
    """The bootstrap's intervals over several seeds; nothing where the stored logits do not allow them."""
    from bench.results.pooled import pooled  # only here: it needs torch

    found = pooled(cells, records, split, metric, rule)
    if found is None or found.both is None:
        return {}
    return {"low": found.samples.low, "high": found.samples.high, "both": (found.both.low, found.both.high)}


def _figure(points: Sequence[Mapping[str, Any]], metric: str) -> dict[str, Any]:
    """Quality over the seeds' points, samples and seeds apart, and the mean of their costs."""
    costs = [p["cost_speedup"]["value"] for p in points]
    return {
        **average_seeds([Estimate.from_plain(p["metrics"][metric]) for p in points]).to_plain(),
        "cost_speedup": sum(costs) / len(costs),
    }


def _groups(rows: Sequence[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        trained = f", trained on {row['trained on']}" if row["trained on"] != "unknown" else ""
        name = f"{NAMES.get(row['metric'], row['metric'])}, n = {row['reported on']}{trained}"
        groups[f"{row['task']} | {row['model']} | {name}"].append(row)
    return groups


def _cells(row: Row, rules: Sequence[str]) -> list[str]:
    name = row["strategy"] + (" (upper bound)" if row["upper_bound"] else "")
    seeds = len(row["seeds"])
    figures = [_text(row[column]) for column in ("all layers", *rules)]
    return [name, f"{row['recipe']} / {row['head']}", row["arguments"], str(seeds), *figures]


def _text(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return "-"
    quality = {name: value for name, value in figure.items() if name != "cost_speedup"}
    return f"{format_quality(OverSeeds(**quality))} ({figure['cost_speedup']:.2f}x)"


def _columns(rules: Sequence[str]) -> list[str]:
    return ["strategy", "recipe / head", "arguments", "seeds", "all layers", *rules]


def _table(group: str, rows: Sequence[Row], rules: Sequence[str]) -> Table:
    table = Table(title=Text(group), title_justify="left")
    for column in _columns(rules):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*_cells(row, rules))
    return table


def _markdown(rows: Sequence[Row], rules: Sequence[str]) -> list[str]:
    lines: list[str] = []
    for group, members in _groups(rows).items():
        lines += [f"### {escape_markdown(group)}", "", f"| {' | '.join(map(escape_markdown, _columns(rules)))} |"]
        lines.append("|" + " --- |" * len(_columns(rules)))
        lines += [f"| {' | '.join(map(escape_markdown, _cells(row, rules)))} |" for row in members]
        lines.append("")
    return [*lines, FOOT]

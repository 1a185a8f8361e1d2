"""`bench table`: recorded runs side by side at matched cost, read from the store alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from bench.cli.display import console, print_json
from bench.cli.options import Backbones, Tasks
from bench.cli.session import Session, with_session
from bench.errors import OK, NothingComparable, UsageError
from bench.files import write_text
from bench.measure.metrics import metric_title
from bench.measure.points import Rule
from bench.report.numbers import format_quality
from bench.report.provenance import count_used
from bench.results.groups import OverSeeds, average_quality
from bench.results.measures import Performance
from bench.results.run import Run
from bench.results.spec import key
from bench.results.store import Only
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
    rows = match_runs(session.read_runs(Only.named(task, backbone)), rules)
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
    "bootstrap). Sample sizes: used/available. Default: the criterion's own default setting."
)


def match_runs(runs: Iterable[Run], rules: Sequence[str]) -> list[Row]:
    """Return a row for each strategy, recipe, head and arguments on a task and backbone; seeds are averaged."""
    alike: dict[tuple[str, ...], list[Run]] = defaultdict(list)
    for run in runs:
        if run.is_finished():
            spec, backbone = run.spec, run.record.backbone
            model = f"{spec.backbone}, {backbone.init}, {backbone.whole_depth} layers"
            model += f", limit {spec.limit}" if spec.limit else ""
            arguments = ", ".join(f"{k}={v}" for k, v in spec.criterion_args.items())
            but_seed = key({**run.head.identity.to_plain(), "seed": None})
            alike[spec.task, model, spec.strategy, spec.recipe, spec.head, arguments, but_seed].append(run)
    return [_row(names, found, rules) for names, found in sorted(alike.items(), key=lambda item: item[0])]


def _row(names: tuple[str, ...], runs: Sequence[Run], rules: Sequence[str]) -> Row:
    first, split = runs[0], runs[0].primary
    row: Row = {
        **dict(zip(("task", "model", "strategy", "recipe", "head", "arguments"), names, strict=False)),
        "metric": first.metric,
        "samples": first.result().samples,
        "reported on": count_used(first, split),
        "trained on": count_used(first, "train"),
        "seeds": sorted(run.seed for run in runs),
        "upper_bound": first.record.upper_bound,
        "layers": first.layers,
        "all layers": _figure(runs, [run.result(split).full for run in runs]),
    }
    for rule in rules:
        points = [point for run in runs if (point := run.point(rule, split))]
        row[rule] = _figure(runs, points, rule) if len(points) == len(runs) else None
    return row


def _figure(runs: Sequence[Run], points: Sequence[Performance], rule: str | None = None) -> dict[str, Any]:
    """Return quality over the seeds, samples and seeds apart, and the mean of their costs."""
    found = average_quality(runs, runs[0].primary, rule).to_plain()
    both = {"both": found.pop("both")} if "both" in found else {}
    return {**found, "cost_speedup": sum(p.cost_speedup.value for p in points) / len(points), **both}


def _groups(rows: Sequence[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        trained = f", trained on {row['trained on']}" if row["trained on"] != "unknown" else ""
        name = f"{metric_title(row['metric'])}, n = {row['reported on']}{trained}"
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

"""`bench explain`: the decision process of one input, or the typical cases of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.cli.display import console, print_json
from bench.cli.options import Run
from bench.cli.session import Session, with_session
from bench.errors import OK, UsageError


@with_session()
def explain(
    session: Session,
    run: Run,
    text: Annotated[str | None, typer.Option(help="Explain this text.")] = None,
    second: Annotated[str | None, typer.Option(help="The second text, for tasks with two.")] = None,
    sample: Annotated[str | None, typer.Option(help="Explain the sample with this id.")] = None,
    cases: Annotated[bool, typer.Option("--cases", help="Find simple and overthinking samples.")] = False,
    point: Annotated[str | None, typer.Option(help="Operating point, such as 2x; default no-loss.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page.")] = None,
    png: Annotated[Path | None, typer.Option(help="Write a picture.")] = None,
) -> int:
    """One input, exit by exit: probabilities, the criterion's state, attention; or a run's typical cases."""
    if sum((text is not None, sample is not None, cases)) != 1:
        raise UsageError("bench explain takes one of --text, --sample and --cases.")
    progress = session.progress
    cell = session.store.find(run)
    record: Mapping[str, Any] | None = cell.read()
    if record is None or record.get("status") != "success":
        raise UsageError(f"{cell.folder.name} is not finished: there is nothing to explain.")
    progress.say("Loading torch, transformers and the model.")
    if cases and html is None and png is None:
        return show_cases(cell, record, session, point)
    from bench.cell.reload import reload_model
    from bench.results.run import Run

    model = reload_model(Run.load(cell.folder), session.context())
    if cases:
        found = [_sample(model, record, c.id, c.kind, split, point) for split, c in cases_of(cell, record, point)]
        if not found:
            raise UsageError(f"{cell.folder.name} has neither simple nor overthinking samples at this point.")
    elif sample is not None:
        found = [_sample(model, record, sample, "", None, point)]
    else:
        from bench.analysis.explain import explain as explain_text

        found = [explain_text(model, record, text or "", second, point=point)]
    if html is not None:
        from bench.report.explain_view import save_html

        save_html(found, cell.folder.name, html)
    if png is not None:
        from bench.report.explain_view import save_png

        for number, one in enumerate(found, start=1):
            save_png(one, png if len(found) == 1 else png.with_name(f"{png.stem}-{number}{png.suffix}"))
    if session.json:
        print_json([finite(asdict(one)) for one in found])
        return OK
    from bench.report.explain_view import show

    for one in found:
        show(one, console())
    for path in filter(None, (html, png)):
        progress.say(f"Written: {path}")
    return OK


def _sample(model: Any, record: Mapping[str, Any], name: str, kind: str, split: str | None, point: str | None) -> Any:
    from bench.analysis.explain import explain as explain_text
    from bench.analysis.explain import find_sample
    from bench.inference.replay import hash_ids

    found, row = find_sample(model.data, name, split)
    second = None if found.second is None else found.second[row]
    key = int(hash_ids((name,))[0])
    label = found.labels[row].item()
    return explain_text(model, record, found.first[row], second, split=found.name, point=point, label=label, title=name,
                   key=key, kind=kind)  # fmt: skip


def cases_of(cell: Any, record: Mapping[str, Any], point: str | None, most: int = 3) -> list[tuple[str, Any]]:
    """The split and case of every typical sample, from the stored exits. Raises UsageError without them."""
    from bench.analysis.cases import find_cases
    from bench.analysis.explain import operating_point
    from bench.cell.fitting import recorded_criterion
    from bench.inference.replay import score_recorded
    from bench.results.data import Exits
    from bench.results.exits import read_exits

    if record["task"]["kind"] == "regression":
        raise UsageError("Cases need right and wrong answers, and this task is a regression.")
    split = next(iter(record["evaluation"]))
    path = cell.exits_file(split)
    if not path.exists():
        raise UsageError(f"{cell.folder.name} has no stored exits of {split}; run the cell again.")
    criterion, recorded = recorded_criterion(cell.folder, record), read_exits(path)
    found = score_recorded(criterion, recorded)
    exits = Exits(recorded.ids, recorded.labels, recorded.logits)
    _, _, cut = operating_point(record, split, point)
    return [(split, case) for case in find_cases(found, cut, criterion.strict, exits, most)]


def show_cases(cell: Any, record: Mapping[str, Any], session: Session, point: str | None) -> int:
    """List typical samples with their texts, where the data can be had."""
    from rich.table import Table
    from rich.text import Text

    from bench.analysis.explain import find_sample
    from bench.cell.reload import load_run_data
    from bench.results.run import Run

    found = cases_of(cell, record, point, most=5)
    try:
        data: Any = load_run_data(Run.load(cell.folder), session.context())
    except UsageError as error:
        data = None
        console().print(f"Texts are left out: {error}")
    rows = []
    for split, case in found:
        words, label = "", None
        if data is not None:
            where, row = find_sample(data, case.id, split)
            words = where.first[row] + ("" if where.second is None else f" | {where.second[row]}")
            label = record["task"]["labels"][int(where.labels[row])]
        rows.append({**asdict(case), "split": split, "label": label, "text": words})
    if session.json:
        print_json(rows)
        return OK
    table = Table(title=Text(f"Typical cases of {cell.folder.name}"), title_justify="left")
    for name in ("kind", "sample", "exit", "sure", "label", "text"):
        table.add_column(name, overflow="fold")
    for r in rows:
        cells = (r["kind"], r["id"], str(r["layer"]), f"{r['confidence']:.3f}", r["label"] or "", r["text"][:200])
        table.add_row(*map(Text, cells))
    console().print(table)
    return OK


def finite(value: Any) -> Any:
    """``value`` for JSON: infinities, which it does not have, as None."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and value in (float("inf"), float("-inf")) else value

"""`bench diagnose`: whether a run's exits know what they do, and how far small or foreign texts throw them off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.cli.display import console, print_json
from bench.cli.options import Run
from bench.cli.session import Session, with_session
from bench.errors import OK, UsageError
from bench.files import write_text
from bench.results.store import Cell


@dataclass(frozen=True)
class Asked:
    """What `bench diagnose` was asked. ``limit``: samples that the model is run on; ``on``: another task, or None."""

    run: str
    point: str | None
    on: str | None
    stored: bool
    limit: int
    edits: int
    candidates: int
    seed: int

    def check(self) -> None:
        """Raise UsageError for what makes no sense."""
        if self.stored and self.on:
            raise UsageError("--stored runs no model, and --on needs one: leave one of them out.")
        for name, least in (("limit", 2), ("edits", 1), ("candidates", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"--{name} must be at least {least}, not {getattr(self, name)}.")


@with_session()
def diagnose(
    session: Session,
    run: Run,
    point: Annotated[
        str | None, typer.Option(help="Operating points, separated by commas; default no-loss and 2x.")
    ] = None,
    on: Annotated[str | None, typer.Option(help="Read another task's texts too: its name, or a folder.")] = None,
    stored: Annotated[
        bool, typer.Option("--stored", help="Only what the stored exits tell: no model, no texts changed.")
    ] = False,
    limit: Annotated[int, typer.Option(help="Texts to change, and to read of the other task, at most.")] = 200,
    edits: Annotated[int, typer.Option(help="Changes of words in each text.")] = 3,
    candidates: Annotated[int, typer.Option(help="Changes to choose from, in the targeted case.")] = 8,
    seed: Annotated[int, typer.Option(help="Seed of the changes.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for JSON, CSV and the figure of the shift.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the tables to this file too.")] = None,
) -> int:
    """Do a run's exits know when they are right, can small changes slow it down, what happens on other texts?"""
    asked = Asked(run, point, on, stored, limit, edits, candidates, seed)
    asked.check()
    progress = session.progress
    cell = session.store.find(asked.run)
    record = cell.read()
    refuse(cell, record)
    progress.say("Loading torch." if asked.stored else "Loading torch, transformers and the model.")
    found = findings(asked, cell, record or {}, session)
    from bench.report import diagnose_view

    if out is not None:
        for path in diagnose_view.write_diagnosis(found, out):
            progress.say(f"Written: {path}")
    if markdown is not None:
        write_text(markdown, diagnose_view.diagnosis_markdown(found))
    if session.json:
        print_json(found)
    else:
        diagnose_view.print_diagnosis(found, console())
    return OK


def refuse(cell: Cell, record: Mapping[str, Any] | None) -> None:
    """Raise UsageError for a run that cannot be diagnosed."""
    if record is None or record.get("status") != "success":
        raise UsageError(f"{cell.folder.name} is not finished: there is nothing to diagnose.")
    if record["task"]["kind"] == "regression":
        raise UsageError("A diagnosis needs right and wrong answers, and this run's task is a regression.")


def findings(asked: Asked, cell: Cell, record: Mapping[str, Any], session: Session) -> dict[str, Any]:
    """All numbers of a diagnosis, as ``--json`` prints them."""
    from bench.analysis import diagnose as d
    from bench.cell.reload import find_parts, reload_model
    from bench.results.run import Run

    split = next(iter(record["evaluation"]))
    points = d.recorded_points(record, split)
    chosen = d.chosen_points(points, asked.point)
    run = Run.load(cell.folder)
    spec, strategy = run.spec, find_parts(run).strategy
    sees_labels = strategy.upper_bound
    rerun = None
    if not asked.stored:
        rerun = d.Rerun(reload_model(run, session.context()), session.progress)
    own = stored_curve(cell, record, split, rerun)
    found: dict[str, Any] = {
        "run": cell.folder.name,
        "strategy": spec.strategy,
        "task": spec.task,
        "split": split,
        "samples": len(own.exits.ids),
        **d.stored_findings(own, points),
        "slowdown": None,
        "shift": None,
        "notes": [],
    }
    if rerun is None:
        return found
    if sees_labels or not strategy.criterion.uses_early_exits:
        why = "sees labels or later exits" if sees_labels else "never leaves early"
        found["notes"].append(f"No texts were changed: strategy '{spec.strategy}' {why}.")
    else:
        from bench.tasks.sampling import limited

        texts = limited(rerun.run.data.evaluation[split], asked.limit)
        found["slowdown"] = d.slowdown_findings(
            rerun, texts, chosen, edits=asked.edits, candidates=asked.candidates, seed=asked.seed
        )
    if asked.on is not None:
        found["shift"] = shifted(asked, rerun, own, chosen, session)
    return found


def stored_curve(cell: Cell, record: Mapping[str, Any], split: str, rerun: Any) -> Any:
    """The trade-off on the run's stored exits. Raises UsageError where they are gone."""
    from bench.cell.fitting import recorded_criterion
    from bench.measure.trade_off import Costs, TradeOff
    from bench.results.exits import read_exits

    path = cell.exits_file(split)
    if not path.exists():
        raise UsageError(f"{cell.folder.name} has no stored exits of {split}; run the cell again.")
    exits = read_exits(path)
    if rerun is not None:
        return rerun.judge(exits)
    samples, layers, _ = exits.logits.shape
    return TradeOff(recorded_criterion(cell.folder, record), exits, Costs.layers(samples, layers), ["accuracy"])


def shifted(asked: Asked, rerun: Any, own: Any, points: Any, session: Session) -> dict[str, Any]:
    """The run on another task's evaluation texts, at most ``--limit`` of them."""
    from bench.analysis import diagnose as d
    from bench.tasks import get_task
    from bench.tasks.base import LoadOptions

    options = LoadOptions(rerun.run.spec.seed, asked.limit, session.hub, session.offline)
    data = get_task(asked.on or "").load(options)
    warnings = d.comparable(rerun.run.data, data)
    texts = next(iter(data.evaluation.values()))
    names = (rerun.run.data.name, data.name)
    if names[0] == names[1]:
        raise UsageError(f"--on {asked.on}: the run was trained on this task; give another one.")
    return {
        "samples": len(texts),
        "warnings": warnings,
        **d.shift_findings(own, rerun.read(texts), points, names),
    }

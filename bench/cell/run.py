"""One cell, from question to record: :func:`measure_cell` reads like the method section of a paper.

Every stage returns what it made and changes nothing that another one made, but for the weights: :func:`train_or_load`
takes over the encoder that was loaded, and after it the backbone is asked only where it came from. What takes long is
kept under the key of what makes it, so that a run that was killed goes on where it stopped and runs that share a stage
share its work.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from bench.cell.facts import describe_backbone, describe_cell, describe_task
from bench.cell.fitting import fit_cell_criterion
from bench.cell.identify import Cell, Warn, identify_cell, load_data
from bench.cell.latency import add_latency, measure_latency
from bench.cell.live import LiveSplit, check_live, count_live
from bench.cell.request import Context, Request
from bench.cell.resolve import resolve_request
from bench.cell.sources import digest_sources, find_changed_sources, list_classes
from bench.cell.splits import count_precision_changes, explain_void, measure_split, measure_trade_offs
from bench.cell.stages import (
    cast_model,
    keep_exits,
    load_cell_backbone,
    load_whole_model,
    make_reader,
    record_reference,
    record_splits,
    train_or_load,
)
from bench.environment import check_threads
from bench.errors import Damaged, MakersFault, UsageError, UserError, name_causes
from bench.files import remove_leftovers
from bench.measure.exits import AllExits
from bench.results.doubts import check_skill
from bench.results.facts import RunError
from bench.results.measures import HeldOut
from bench.results.packed.packing import hold_logits
from bench.results.places import RECORD, locate_exits, locate_times
from bench.results.points import measure_performance
from bench.results.record import RunRecord, UnfinishedRecord
from bench.results.record_file import read_record, write_record
from bench.results.reuse import describe_reuse
from bench.results.run import Run
from bench.results.store import is_damaged, load_or_set_aside
from bench.results.times import read_times


def run_request(request: Request, context: Context) -> Run:
    """Measure one cell, or return the run that is recorded already. Raises UserError for what cannot be run."""
    return run_cell(prepare_cell(request, context))


def prepare_cell(request: Request, context: Context) -> Cell:
    """Return the cell that is asked for, with its data, before any of its work is done."""
    spec, parts = resolve_request(request)
    return identify_cell(spec, parts, load_data(spec, parts, context), context)


def run_cell(cell: Cell) -> Run:
    """Measure ``cell``, or return the run that is recorded already."""
    found = find_finished(cell)
    if found is None:
        if cell.keys.speed is not None and cell.spec.latency is not None:
            check_threads(cell.spec.latency.threads or None, "latency.threads")
        with blame_removal(cell), cell.context.store.lock(cell.keys.quality, cell.context.progress):
            # another process may have been at it while this one waited
            found = find_finished(cell) or measure_and_record(cell)
    if found.reused:
        for line in describe_reuse([found]):
            cell.context.progress.warn(line)
    return found


def find_finished(cell: Cell) -> Run | None:
    """Return the run on disk if it answers what is asked, None if not; nothing on disk is moved.

    Raises UsageError for a record that a newer version wrote.
    """
    context, spec = cell.context, cell.spec
    if context.overwrite == "always":
        return None
    try:
        found = Run.load(cell.folder)
    except (FileNotFoundError, Damaged):
        return None
    if not found.is_finished():
        return None
    found = replace(found, reused=True, changed=tuple(find_changed_sources(found.record, cell.sources)))
    if context.overwrite == "never":
        return found
    record = found.record
    same = (record.thresholds, record.selected) == (spec.thresholds, spec.select)
    same = same and not found.changed and not found.find_damaged_logits()
    if cell.keys.speed is not None:
        same = same and record.speed_key == cell.keys.speed
        same = same and not is_damaged(locate_times(cell.folder, cell.keys.speed), read_times)
    return found if same else None


def set_aside_logits(cell: Cell, previous: Run, warn: Warn) -> None:
    """Move logits beside the record of ``previous`` to the quarantine where they are damaged, or another run's."""
    for split in (*previous.record.task.evaluation, previous.record.task.select):

        def read_split(path: Path, split: str = split) -> AllExits:
            return previous.exits(split)

        path = locate_exits(cell.folder, split)
        load_or_set_aside(cell.context.store, path, read_split, cell.context.progress, warn)


def measure_and_record(cell: Cell) -> Run:
    """Do the work of a cell; whatever happens, its record says so."""
    path, head = cell.folder / RECORD, describe_cell(cell)
    warnings: list[str] = []
    store, progress = cell.context.store, cell.context.progress
    with hold_logits(store, cell.folder.parent, progress):
        remove_leftovers(cell.folder)
    previous = load_or_set_aside(store, path, read_record, progress, warnings.append)

    if isinstance(previous, RunRecord):
        set_aside_logits(cell, Run(cell.folder, previous, cell.folder.name), warnings.append)

    if isinstance(previous, RunRecord) and (changed := find_changed_sources(previous, cell.sources)):
        cell.context.progress.say(
            f"The source of the {', '.join(changed)} has changed since {cell.folder.name} was recorded on "
            f"{previous.created[:10]}: it is measured again."
        )

    def note(status: Literal["started", "cancelled", "error"], **more: Any) -> None:
        if previous is None or previous.status != "success":  # a finished record stays until a better one replaces it
            write_record(path, UnfinishedRecord(status=status, **head, **more))

    note("started")
    try:
        with name_causes(), blame_removal(cell):
            record = measure_cell(cell, head, warnings)
    except KeyboardInterrupt:
        note("cancelled")
        raise
    except UserError as error:
        where = traceback.format_exc(limit=-8) if isinstance(error, MakersFault) else ""
        note("error", error=RunError(kind="user", message=str(error), traceback=where))
        raise
    except Exception as error:
        note("error", error=RunError(kind="internal", message=str(error), traceback=traceback.format_exc(limit=-8)))
        raise
    found = Run(cell.folder, write_record(path, record), cell.folder.name)
    with suppress(UserError):  # tables of many runs read what is kept here, and do without torch
        replace(found, name=cell.folder.relative_to(store.root).as_posix()).answers()
    return found


def measure_cell(cell: Cell, head: dict[str, Any], warnings: list[str]) -> RunRecord:
    """Train, run once over the data with every exit on, replay, check live, time; ``head`` is how the record begins."""
    data, spec, warn = cell.data, cell.spec, warnings.append
    loaded = load_cell_backbone(cell, warn)
    reader = make_reader(cell, loaded, warn)
    full_precision, training = train_or_load(cell, loaded, reader, warn)

    encoded = {split.name: reader.encode(split) for split in cell.splits}
    reference = record_reference(cell, full_precision, encoded, warn)
    model = cast_model(full_precision, spec)
    exits = record_splits(cell, model, encoded, warn)
    criterion, exits, shares, fitted = fit_cell_criterion(cell, model, reader, encoded, exits, warn)

    whole = load_whole_model(cell, model)
    trade_offs = measure_trade_offs(cell, model, whole, criterion, {**exits, data.select.name: shares.choose})
    select = trade_offs[data.select.name]
    void = explain_void(criterion, shares)
    evaluation = {name: measure_split(select, trade_offs[name], spec, void) for name in data.evaluation}
    skill = {name: check_skill(exits[name]) for name in data.evaluation}
    precision = {
        name: count_precision_changes(trade_offs[name], reference[name], evaluation[name]) for name in reference
    }
    keep_exits(cell, exits)

    primary = evaluation[cell.primary]
    live = LiveSplit(model, criterion, trade_offs[cell.primary], encoded[cell.primary])
    checked = check_live(live, primary, spec.dtype) if criterion.causal else None
    counts = count_live(live) if criterion.causal else None
    latency = measure_latency(cell, live, whole, primary, warn) if cell.keys.speed is not None else None
    if latency is not None:
        evaluation |= {cell.primary: add_latency(primary, latency)}
    return RunRecord(
        status="success",
        **head,
        speed_key=cell.keys.speed,
        task=describe_task(cell, encoded, reader.max_length),
        backbone=describe_backbone(cell, loaded, model, depth=whole.num_layers),
        training=training,
        sources=digest_sources({**list_classes(spec, cell.parts), "backbone": type(model.encoder)})
        | dict(cell.sources),
        criterion=fitted,
        thresholds=spec.thresholds,
        selected=spec.select,
        upper_bound=cell.parts.strategy.upper_bound,
        select=HeldOut(split=data.select.name, full=measure_performance(select, -math.inf).metrics),
        evaluation=evaluation,
        skill=skill,
        precision=precision or None,
        live_check=checked,
        latency=latency,
        counts=counts,
        warnings=(*warnings, *criterion.warnings(model.num_layers)),
    )


@contextmanager
def blame_removal(cell: Cell) -> Iterator[None]:
    """Raise UsageError for a missing file where the cell's record, which is written before all else, is missing too."""
    try:
        yield
    except FileNotFoundError as error:
        if (cell.folder / RECORD).exists():
            raise
        raise UsageError(
            f"What was in {cell.context.store.root} has been removed while it was needed: run the same command again."
        ) from error

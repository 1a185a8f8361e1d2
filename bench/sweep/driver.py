"""The loop that keeps an engine busy: first one cell of every training, then those that share it."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from bench.cell.facts import describe_cell
from bench.cell.request import Context, Request
from bench.cell.run import find_finished
from bench.errors import CellsFailed, UserError
from bench.results.facts import RunError
from bench.results.places import RECORD
from bench.results.record import UnfinishedRecord
from bench.results.record_file import read_record, write_record
from bench.results.reuse import describe_reuse
from bench.sweep.engines import make_engine
from bench.sweep.engines.base import Ending, Engine, Job
from bench.sweep.engines.local import LocalEngine
from bench.sweep.estimate import estimate_load, estimate_memory
from bench.sweep.plan import Plan, Planned, make_plan, plan_again
from bench.sweep.remote import Remote
from bench.text import show_hidden

WORTH_MEASURING = 4
"""Trainings of a sweep from which on a few seconds are spent to find out how many go on at once."""


@dataclass(frozen=True)
class Outcome:
    """What became of a cell. ``recorded``: was there before; ``died``: its workers were lost, as often as was tried."""

    cell: Planned
    status: Literal["recorded", "success", "error", "died"]
    folder: Path | None = None
    error: str = ""
    attempts: int = 0
    seconds: float = 0.0
    traceback: str = ""

    @property
    def ok(self) -> bool:
        """Whether the cell's record is there."""
        return self.status in ("recorded", "success")

    def note(self) -> dict[str, Any]:
        """Return the line that the sweep's journal keeps."""
        named = {name: getattr(self.cell.spec, name) for name in ("strategy", "task", "backbone", "seed")}
        folder = None if self.folder is None else str(self.folder)
        return {
            **named, "label": self.cell.label, "status": self.status, "folder": folder, "error": self.error,
            "attempts": self.attempts, "seconds": round(self.seconds, 2),
        }  # fmt: skip


def run_cells(
    requests: Sequence[Request],
    context: Context,
    engine: Engine | None = None,
    sync: str | None = None,
    on_end: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Plan ``requests``, run what is missing on ``engine`` (default: this machine), and return an outcome a cell.

    A mistake in any request is raised before the first cell runs; see :func:`run_plan` for the rest. ``sync`` is a URL
    that finished cells are fetched from and sent to.
    """
    engine = engine or make_engine()
    plan = fetch_and_plan(requests, context, sync)
    if isinstance(engine, LocalEngine):
        plan.refuse_threads()
    missing = sum(cell.status != "recorded" for cell in plan.cells)
    context.progress.say(
        f"{len(plan.cells)} cells, {len(plan.cells) - missing} recorded, {missing} to run; "
        f"{len(plan.trainings())} trainings."
    )
    reused = [find_finished(cell.identified) for cell in plan.cells if cell.status == "recorded" and cell.identified]
    for line in describe_reuse([run for run in reused if run is not None]):
        context.progress.warn(line)
    outcomes = run_plan(plan, context, engine, sync, on_end)
    if sync is not None:
        Remote(sync, context.store, context.progress).fetch_cells()  # what other machines made
    return outcomes


def fetch_and_plan(requests: Sequence[Request], context: Context, sync: str | None = None) -> Plan:
    """Plan ``requests``, after the finished cells at the URL ``sync`` have been fetched."""
    if sync is not None:
        remote = Remote(sync, context.store, context.progress)
        there = f"{remote.fetch_cells()} cells fetched from" if remote.is_there else "Nothing there yet:"
        context.progress.say(f"{there} {remote.url}.")
    return make_plan(requests, context)


def run_plan(
    plan: Plan,
    context: Context,
    engine: Engine,
    sync: str | None = None,
    on_end: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Run what is missing of ``plan``; return one outcome a cell, in the plan's order.

    Nothing that is recorded is run again (unless ``context.overwrite`` is "always"). Of the cells that share a training
    one goes first, so that no worker waits for another's checkpoint. A cell that fails does not stop the others; a
    worker that died is replaced. What ended is noted at once in the sweep's journal. ``on_end`` hears of every cell as
    it ends. KeyboardInterrupt ends the workers and goes through.
    """
    return _Sweep(plan, context, engine, sync, on_end).run()


def collect_failures(outcomes: Sequence[Outcome]) -> CellsFailed | None:
    """Return the error that ends a sweep in which some cells failed; None where none did."""
    failed = [f"{o.cell.label}: {o.error}" for o in outcomes if not o.ok]
    return CellsFailed(f"{len(failed)} of {len(outcomes)} cells failed: " + "; ".join(failed)) if failed else None


@dataclass
class _Sweep:
    plan: Plan
    context: Context
    engine: Engine
    sync: str | None
    on_end: Callable[[Outcome], None] | None
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    attempts: Counter[int] = field(default_factory=Counter)
    untimed: deque[Job] = field(default_factory=deque)  # cells that may start
    timed: deque[Job] = field(default_factory=deque)
    waiting: dict[str, deque[Job]] = field(default_factory=dict)  # behind the first cell of their training
    running: int = 0

    def run(self) -> list[Outcome]:
        self._share_cores()
        self._queue()
        try:
            while self.untimed or self.timed or self.running:
                self._start()
                for job, ending in self.engine.wait():
                    self.running -= 1
                    self._end(job, ending)
        except BaseException:
            self.engine.stop()
            raise
        return [self.outcomes[number] for number in range(len(self.plan.cells))]

    def _share_cores(self) -> None:
        """Let the engine find out how many trainings go on at once, where there are enough to be worth it."""
        made = {cell.training for cell in self.plan.cells if cell.checkpoint}
        open_cells = [cell for cell in self.plan.cells if cell.status != "recorded" and cell.training not in made]
        beside = {cell.training: cell for cell in open_cells if not cell.timed and cell.spec.device == "cpu"}
        if len(beside) < WORTH_MEASURING:
            return
        load = estimate_load(next(iter(beside.values())))
        if load is not None and (said := self.engine.share_cores(load, len(beside))):
            self.context.progress.say(said)

    def _queue(self) -> None:
        """Recorded cells are done; the others start, or wait for the first of their training."""
        groups: dict[str, list[Job]] = {}
        trained = {cell.training for cell in self.plan.cells if cell.checkpoint}
        for number, cell in enumerate(self.plan.cells):
            if cell.status == "recorded" and cell.identified is not None:
                self._note(number, Outcome(cell, "recorded", cell.identified.folder))
            else:
                groups.setdefault(cell.training, []).append(self._job(number, cell))
        for training, jobs in groups.items():
            jobs.sort(key=lambda job: job.timed)  # an untimed cell trains beside others
            if training in trained:
                self._ready(*jobs)
            else:
                self.waiting[training] = deque(jobs[1:])
                self._ready(jobs[0])

    def _ready(self, *jobs: Job) -> None:
        for job in jobs:
            (self.timed if job.timed else self.untimed).append(job)

    def _start(self) -> None:
        for queue in (self.untimed, self.timed):
            while queue and self.engine.has_room(queue[0]):
                job = queue.popleft()
                self.attempts[job.number] += 1
                self.engine.start(job)
                self.running += 1

    def _end(self, job: Job, ending: Ending) -> None:
        cell, tries = self.plan.cells[job.number], self.attempts[job.number]
        if ending.status == "died" and tries < self.engine.attempts:
            self.context.progress.say(f"{cell.label}: {ending.message}; started again.")
            (self.timed if job.timed else self.untimed).appendleft(job)
            return
        folder = None if ending.folder is None else Path(ending.folder)
        message = ending.message
        if ending.status == "died":
            message = f"{message}, {tries} times" if tries > 1 else message
            folder = record_death(cell, self.context, message)
        self._note(job.number, Outcome(cell, ending.status, folder, message, tries, ending.seconds, ending.traceback))
        behind = self.waiting.pop(job.training, None)
        if behind and ending.status == "success":
            self._ready(*behind)
        elif behind:  # it may have failed for reasons of its own, so the next one tries
            self._ready(behind.popleft())
            self.waiting[job.training] = behind

    def _note(self, number: int, outcome: Outcome) -> None:
        self.outcomes[number] = outcome
        if outcome.status != "recorded":
            note = json.dumps(outcome.note(), ensure_ascii=False)
            journal = self.context.store.make_cache("sweeps") / f"{self.plan.key}.jsonl"
            with journal.open("a", encoding="utf-8") as file:  # one line a cell, however many there are
                file.write(note + "\n")
            if outcome.traceback:  # a mistake of ours: shown even where nothing else is said
                print(show_hidden(outcome.traceback), file=sys.stderr, end="")
            how = f"{outcome.status}: {outcome.error}" if outcome.error else f"done in {outcome.seconds:.0f} s"
            self.context.progress.say(f"[{len(self.outcomes)}/{len(self.plan.cells)}] {outcome.cell.label}: {how}")
        if self.on_end is not None:
            self.on_end(outcome)

    def _job(self, number: int, cell: Planned) -> Job:
        context = self.context
        return Job(
            number=number,
            request=replace(cell.request, device=cell.spec.device),  # "auto" means what it means here
            training=cell.training,
            timed=cell.timed,
            gpu=cell.spec.device.startswith("cuda"),
            memory=estimate_memory(cell),
            threads=None if cell.timed else self.engine.threads,
            results_dir=str(context.store.root.resolve()),
            hub_root=None if context.hub_root is None else str(context.hub_root.resolve()),
            offline=context.offline,
            overwrite=context.overwrite,
            quiet=context.progress.quiet or not self.engine.talks,
            cwd=os.getcwd(),
            path=tuple(sys.path),
            sync=self.sync,
            wait_quiet=context.wait_quiet,
        )


def record_death(planned: Planned, context: Context, message: str) -> Path | None:
    """Write into the cell's record that its worker died; return its folder, or None where it cannot be known."""
    cell = plan_again(planned, context).identified
    if cell is None:
        return None
    try:
        path = cell.folder / RECORD
        previous = read_record(path) if path.exists() else None
        if previous is None or previous.status != "success":
            begun = previous or UnfinishedRecord(status="started", **describe_cell(cell))
            error = RunError(kind="died", message=message, traceback="")
            write_record(path, begun.model_copy(update={"status": "error", "error": error}))
    except (UserError, OSError):
        return None
    return cell.folder

"""Cells per hour against workers, up to a thousand: where does the store or the driver become the limit?

``python docs/scaling/scaling.py`` measures on this machine and its disk what a cell costs the parts that all share,
and then simulates sweeps: a worker waits for the driver (one thread, one cell at a time), is busy with its cell, and
waits for the disk where all write to one. What was found is in README.md beside this file.
"""

from __future__ import annotations

import argparse
import heapq
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from bench.cell.request import Context, Request
from bench.cli.display import make_console, print_json
from bench.files import read_object, write_json
from bench.measure.exits import AllExits
from bench.progress import Progress
from bench.results.exits import write_exits
from bench.results.places import locate_exits
from bench.results.store import Store
from bench.sweep.driver import run_plan
from bench.sweep.engines.base import Ending, Job
from bench.sweep.engines.shares import TrainingLoad
from bench.sweep.plan import make_plan
from bench.text import build_table

WORKERS = (1, 10, 30, 100, 300, 1000)
CELLS = (10.0, 60.0, 600.0)  # seconds of a cell: replay of a shared checkpoint, a small training, fine-tuning
RAY = 0.0017  # seconds of the driver to hand Ray a task and to hear of its end, with 2,000 of them in its queue
RECORD = 60_000  # bytes of a typical record
ROWS, EXITS, CLASSES = 1000, 12, 2  # of the exits that a cell writes


@dataclass(frozen=True)
class Constants:
    """Seconds of one cell, each measured alone on this machine.

    ``disk``: writing and syncing its files; ``lock``: taking and freeing its three locks; ``plan``: resolving it and
    looking it up; ``dispatch``: the driver's loop with an engine that does nothing, and the journal; ``listing``:
    finding it in the store; ``read``: parsing its record.
    """

    disk: float
    lock: float
    plan: float
    dispatch: float
    listing: float
    read: float


@dataclass(frozen=True)
class Rate:
    """Cells per hour of one set-up; ``ideal`` where nobody waits; how busy driver and disk were, in [0, 1]."""

    workers: int
    cells_per_hour: float
    ideal: float
    driver: float
    disk: float

    @property
    def limit(self) -> str:
        """What holds the sweep back by more than a tenth, if anything does."""
        if self.cells_per_hour > 0.9 * self.ideal:
            return "-"
        return "driver" if self.driver > self.disk else "disk"


class Nothing:
    """An engine whose cells take no time."""

    attempts = 1
    threads: int | None = None
    talks = False

    def __init__(self) -> None:
        self.running: list[Job] = []

    def share_cores(self, load: TrainingLoad, trainings: int) -> str:
        """Nothing to choose."""
        return ""

    def has_room(self, job: Job) -> bool:
        """One at a time."""
        return not self.running

    def start(self, job: Job) -> None:
        """Take it."""
        self.running.append(job)

    def wait(self) -> Sequence[tuple[Job, Ending]]:
        """It is done."""
        return [(self.running.pop(), Ending("success", "x" * 80))]

    def stop(self) -> None:
        """Nothing to stop."""


def measure(folder: Path, repeats: int = 50) -> Constants:
    """The constants of this machine, with a store in ``folder``."""
    store, quiet = Store(folder / "results"), Progress(quiet=True)
    exits, record = _exits(), {"quality_key": "0" * 16, "filler": ["x" * 98] * (RECORD // 100)}

    def cell(number: int) -> None:
        made = store.place("task", "backbone", "strategy", number, f"{number:08d}")
        write_json(made / "record.json", {"quality_key": "0" * 16})
        for split in ("select", "validation"):
            write_exits(exits, store.cache("exits", f"{number:08d}") / f"{split}.parquet")
            write_exits(exits, locate_exits(made, split))
        write_json(made / "record.json", record)

    def locks(number: int) -> None:
        for kind in ("", "train-", "exits-"):
            with store.lock(f"{kind}{number}", quiet):
                pass

    disk, lock = each(cell, repeats), each(locks, repeats)
    folders = store.folders()
    listing = each(lambda _: store.folders(), 10) / len(folders)
    read = each(lambda number: read_object(folders[number] / "record.json"), repeats)
    context = Context(Store(folder / "planned"), quiet, offline=True)
    requests = [Request("entropy", "demo", seed=seed, latency=False) for seed in range(repeats)]
    run_plan(make_plan(requests[:1], context), context, Nothing())  # what is imported and generated once
    begun = time.perf_counter()
    plan = make_plan(requests, context)
    planned = time.perf_counter()
    run_plan(plan, context, Nothing())
    ended = time.perf_counter()
    return Constants(disk, lock, (planned - begun) / repeats, (ended - planned) / repeats, listing, read)


def _exits() -> AllExits:
    random = np.random.default_rng(0)
    return AllExits(
        tuple(f"row-{i}" for i in range(ROWS)),
        random.integers(0, CLASSES, ROWS),
        random.normal(size=(ROWS, EXITS, CLASSES)).astype(np.float32),
        random.integers(5, 60, ROWS),
    )


def each(call: Callable[[int], object], repeats: int) -> float:
    """Seconds of one call, the median."""
    taken = []
    for number in range(repeats):
        begun = time.perf_counter()
        call(number)
        taken.append(time.perf_counter() - begun)
    return float(np.median(taken))


def simulate(workers: int, cell: float, driver: float, disk: float, seed: int = 0) -> Rate:
    """A long sweep of cells of ``cell`` seconds (half of it fixed, half exponential) on ``workers``.

    Each holds the driver for ``driver`` seconds before it and the disk for ``disk`` seconds after it; both serve one
    cell at a time, in the order in which they are asked.
    """
    random = np.random.default_rng(seed)
    count = max(4000, 40 * workers)
    events = [(0.0, number, True) for number in range(workers)]  # when, who, whether for the driver
    driver_free = disk_free = 0.0
    handed_out: list[float] = []
    while len(handed_out) < count:
        now, who, starts = heapq.heappop(events)
        if starts:
            driver_free = max(now, driver_free) + driver
            handed_out.append(driver_free)
            heapq.heappush(events, (driver_free + cell / 2 + float(random.exponential(cell / 2)), who, False))
        else:
            disk_free = max(now, disk_free) + disk
            heapq.heappush(events, (disk_free, who, True))
    steady = handed_out[count // 4 :]  # past the beginning, and nobody has run out of cells
    rate = (len(steady) - 1) / (steady[-1] - steady[0])
    ideal = workers / (cell + driver + disk)
    return Rate(workers, 3600 * rate, 3600 * ideal, rate * driver, rate * disk)


def main(words: list[str] | None = None) -> int:
    """Measure, simulate and print."""
    parser = argparse.ArgumentParser(prog="python docs/scaling/scaling.py", description=__doc__)
    parser.add_argument("--folder", type=Path, help="measure the disk of this folder (default: temporary files)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    asked = parser.parse_args(words)
    with tempfile.TemporaryDirectory(prefix="exitbench-", dir=asked.folder) as folder:
        constants = measure(Path(folder))
    shared = {"shared folder": constants.disk + constants.lock, "own disks": 0.0}
    rows = [
        {"cell (s)": cell, "store": store, "workers": rate.workers, "cells / h": round(rate.cells_per_hour),
         "of ideal": f"{rate.cells_per_hour / rate.ideal:.0%}", "driver busy": f"{rate.driver:.0%}",
         "disk busy": f"{rate.disk:.0%}", "limit": rate.limit}
        for cell in CELLS
        for store, disk in shared.items()
        for rate in (simulate(workers, cell, constants.dispatch + RAY, disk) for workers in WORKERS)
    ]  # fmt: skip
    if asked.json:
        print_json({"constants": asdict(constants), "rates": rows})
        return 0
    milliseconds = {name: f"{1000 * value:.3g} ms" for name, value in asdict(constants).items()}
    make_console().print(build_table("Measured, a cell", milliseconds, [milliseconds.values()]))
    make_console().print(build_table("Simulated", rows[0], [row.values() for row in rows]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

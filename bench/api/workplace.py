"""What every question is asked with: results folder, hub mirror, network, and what is said while it works."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UsageError
from bench.progress import Progress
from bench.results.places import RECORD

if TYPE_CHECKING:
    from bench.cell.request import Context, Overwrite
    from bench.measure.judges import AskedMetric
    from bench.results.run import Run
    from bench.results.store import LeftOut, Only, Store


@dataclass(frozen=True)
class Workplace:
    """Where results are kept, where data and weights come from, whether the network may be used, what is said."""

    results_dir: Path = Path("results")
    hub_root: Path | None = None
    offline: bool = False
    quiet: bool = False

    @property
    def store(self) -> Store:
        """The results folder."""
        from bench.results.store import Store

        return Store(self.results_dir)

    def read_runs(self, only: Only | None = None, *, logits: bool = False) -> list[Run]:
        """Read every recorded run, or those of ``only``; what cannot be read is left out and said on stderr.

        With ``logits`` a run is left out too whose recorded logits are damaged, or cannot be judged here.
        """
        runs, left_out = self.store.runs(only)
        self.say_left_out(left_out)
        self.say_unsealed(runs)
        return self.keep_judged(runs) if logits else runs

    def keep_judged(self, runs: Sequence[Run]) -> list[Run]:
        """Return the runs but those whose recorded logits are damaged, or cannot be judged here: said on stderr."""
        from bench.results.store import find_damaged_logits, find_refused_criteria, leave_out

        left_out = find_damaged_logits(runs)
        left_out += find_refused_criteria(leave_out(runs, left_out))
        self.say_left_out(left_out)
        return leave_out(runs, left_out)

    def judge_runs(self, runs: Sequence[Run], asked: AskedMetric | None, *, curves: bool = False) -> list[Run]:
        """Return the runs judged by the metric that is asked for; with ``curves`` their curves, too.

        Those that cannot be are said on stderr. Raises UsageError, with the first reason, where none of them can.
        """
        from bench.results.store import judge_runs

        if asked is None:
            return list(runs)
        judged, left_out = judge_runs(runs, asked, curves=curves)
        self.progress.say(f"Judged by {asked.name}; operating points are those that each task's own metric chose.")
        self.say_left_out(left_out)
        return judged

    def find_run(self, text: str) -> Run:
        """Read the run that ``text`` names, as :meth:`Store.find_run` does; say on stderr where it has no checksum."""
        found = self.store.find_run(text)
        self.say_unsealed([found])
        return found

    def say_unsealed(self, runs: Iterable[Run]) -> None:
        """Say on stderr, in one line for all, of which records no checksum holds the numbers."""
        if said := describe_unsealed(list(runs)):
            self.progress.warn(said)

    def say_left_out(self, left_out: Iterable[LeftOut], what: str = "Left out:") -> None:
        """Name on stderr what cannot be read or used, and why, a line each; ``what`` became of it."""
        for bad in left_out:
            self.progress.warn(f"{what} {bad.name}: {bad.why}")

    @property
    def progress(self) -> Progress:
        """What is said while the work goes on."""
        return Progress(quiet=self.quiet)

    @property
    def hub_named(self) -> Path | None:
        """The mirror that was named, here or in EXITBENCH_HUB, whether it is there or not."""
        named = os.environ.get("EXITBENCH_HUB")
        return self.hub_root or (Path(named) if named else None)

    @property
    def hub(self) -> Path | None:
        """The local mirror, or None. Raises UsageError where it is no folder."""
        mirror = self.hub_named
        if mirror is not None and not mirror.is_dir():
            named = "of --hub-root" if self.hub_root is not None else "of EXITBENCH_HUB"
            raise UsageError(
                f"The hub mirror {mirror} {named} is not a folder. Give one with datasets/ and models/ in it."
            )
        return mirror

    def context(self, overwrite: Overwrite = "missing", *, of: Run | None = None, command: str = "") -> Context:
        """Return what the cells of a run are measured with; ``command`` goes into their records.

        The checkpoint ``of`` a recorded run is in the results folder that the run lies in, which may be another one.
        """
        from bench.cell.request import Context

        store = self.store if of is None else self.store.find_home(of.folder)
        return Context(store, self.progress, self.hub, self.offline, overwrite, command)


def describe_unsealed(runs: Sequence[Run]) -> str:
    """Return which of ``runs`` have no checksum, in one line; the empty string where all have one."""
    bare = [run.folder / RECORD for run in runs if not run.is_sealed]
    if not bare:
        return ""
    what = f"{bare[0]} has" if len(runs) == 1 else f"{len(bare)} of {len(runs)} records have"
    first = "" if len(runs) == 1 else f"; the first is {bare[0]}"
    return f"{what} no checksum (schema_version 1): an altered number may go unnoticed{first}."

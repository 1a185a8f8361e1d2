"""Several recorded runs: chosen, side by side, as data frames. `bench table` and `bench criteria` stand on it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from backbones.names import make_unknown_error
from bench.api.view import RunView, draw_runs
from bench.api.workplace import Workplace
from bench.errors import NothingComparable
from bench.results.run import Run
from bench.text import write_html_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from bench.results.matched import MatchedSeries

TABLE_POINTS = ("default", "no-loss", "1.5x", "2x", "3x")
"""Operating points that a table shows unless others are asked for."""
MOST_SHOWN = 30
"""Runs that a notebook shows of many."""

Wanted = str | Iterable[str] | None


@dataclass(frozen=True, eq=False, repr=False)
class Results(Sequence[RunView]):
    """Recorded runs in order: iterate, index, :meth:`filter`, and have them as tables and data frames."""

    runs: tuple[RunView, ...]
    place: Workplace

    @classmethod
    def of(cls, runs: Iterable[Run], place: Workplace) -> Results:
        """Return ``runs``, read at ``place``."""
        return cls(tuple(RunView.of(run, place) for run in runs), place)

    def __len__(self) -> int:
        return len(self.runs)

    def __iter__(self) -> Iterator[RunView]:
        return iter(self.runs)

    @overload
    def __getitem__(self, which: int) -> RunView: ...

    @overload
    def __getitem__(self, which: slice) -> Results: ...

    def __getitem__(self, which: int | slice) -> RunView | Results:
        return replace(self, runs=self.runs[which]) if isinstance(which, slice) else self.runs[which]

    def find(self, text: str) -> RunView:
        """Return the run that ``text`` names in the results folder: its folder, name, key, or ``last``.

        Raises UsageError where none or several are called so.
        """
        return RunView.of(self.place.find_run(text), self.place)

    def filter(
        self,
        where: Callable[[RunView], bool] | None = None,
        *,
        task: Wanted = None,
        strategy: Wanted = None,
        backbone: Wanted = None,
        recipe: Wanted = None,
        head: Wanted = None,
        seed: int | Iterable[int] | None = None,
    ) -> Results:
        """Return the runs that have all of what is given: one value, or one of several; and ``where`` says yes.

        Raises UsageError for a name that none of these runs has: a typing mistake would leave nothing, silently.
        """
        kept = list(self.runs)
        named = {"task": task, "strategy": strategy, "backbone": backbone, "recipe": recipe, "head": head}
        for kind, wanted in named.items():
            if wanted is not None:
                kept = [run for run in kept if self._choose(kind, wanted).intersection(list_names(run, kind))]
        if seed is not None:
            seeds = {seed} if isinstance(seed, int) else set(seed)
            kept = [run for run in kept if run.seed in seeds]
        return replace(self, runs=tuple(run for run in kept if where is None or where(run)))

    def _choose(self, kind: str, wanted: str | Iterable[str]) -> set[str]:
        names = {wanted} if isinstance(wanted, str) else set(wanted)
        known = dict.fromkeys(name for run in self.runs for name in list_names(run, kind))
        for name in names:
            if name not in known:
                raise make_unknown_error(kind, name, known, " among these runs")
        return names

    def judge(self, metric: str | Callable[..., float]) -> Results:
        """Return the runs judged by another metric than their tasks' own: ``results.judge("auroc").table()``.

        ``metric`` is a name, ``recall:LABEL``, ``module:function`` or a function of labels [N] and logits [N, C]; see
        `bench table --metric`. Points stay where the tasks' own metrics chose them. Runs that cannot be judged are left
        out and said on stderr. Raises UsageError where none can.
        """
        from bench.measure.judges import AskedMetric, read_metric

        asked = read_metric(metric) if isinstance(metric, str) else AskedMetric(name_function(metric), metric)
        return Results.of(self.place.judge_runs(self.runs, asked, curves=True), self.place)

    # ----------------------------------------------------------------------- side by side

    def match_runs(self, at: Sequence[str] = TABLE_POINTS) -> list[MatchedSeries]:
        """Return a series, with its row, for all runs that differ in their seed alone; see `bench table`.

        Rows have the operating points ``at``. What cannot be pooled over seeds is said on stderr. Raises
        NothingComparable where no run is finished.
        """
        from bench.results.groups import group_seeds
        from bench.results.matched import match_runs, name_point
        from bench.results.store import find_damaged_logits, find_unpooled, leave_out, make_all_answers

        several = [run for seeds in group_seeds(self.runs) if len(seeds) > 1 for run in seeds]
        damaged, pooled = find_damaged_logits(self.runs), {run.name for run in several}
        apart = [bad for bad in damaged if bad.name in pooled]  # intervals over seeds alone are made of logits
        self.place.say_left_out([*apart, *find_unpooled(leave_out(several, damaged))], "No interval over seeds with")
        self.place.say_left_out([bad for bad in damaged if bad.name not in pooled], "Left unread:")
        make_all_answers(leave_out(self.runs, damaged))
        series = match_runs(self.runs, [name_point(name.strip()) for name in at])
        if not series:
            raise NothingComparable(self.place.store.explain_none())
        return series

    def compare_criteria(self, against: str = "entropy") -> list[dict[str, Any]]:
        """Return, for each checkpoint, its criteria paired with ``against`` on the same samples; see `bench criteria`.

        Runs whose logits cannot be used are left out, and said on stderr. Raises NothingComparable where no checkpoint
        carries two criteria, ``against`` among them.
        """
        from bench.compare.criteria import LEAST_CRITERIA, compare_criteria

        root = self.place.results_dir
        runs = self.place.keep_judged(self.runs)
        if not runs:
            raise NothingComparable(self.place.store.explain_none())
        found = compare_criteria(runs, against)
        if not found:
            raise NothingComparable(
                f"No checkpoint in {root} carries {LEAST_CRITERIA} criteria, '{against}' among them: run several "
                "strategies with the same --recipe and --head, and they share one."
            )
        return found

    def table(self, at: Sequence[str] = TABLE_POINTS) -> pd.DataFrame:
        """Return series side by side at matched cost: a row each, what names it as index, columns by operating point.

        ``results.table()["2x"]["value"]`` is the quality at the point ``2x``, NaN where it was not reached by all
        seeds; ``low`` and ``high`` its 95 % interval, ``cost_speedup`` the realised one. Raises as :meth:`match_runs`.
        """
        import pandas as pd

        from bench.results.matched import DESCRIBING, name_point
        from bench.results.series_doubts import join_marks

        rules = ["all layers", *(name_point(name.strip()) for name in at)]
        rows = [one.row for one in self.match_runs(at)]
        names, figures = ["value", "low", "high", "cost_speedup"], []
        for row in rows:
            about = {("", name): row[name] for name in ("metric", "samples", "upper_bound")}
            about |= {("", "seeds"): len(row["seeds"]), ("", "doubts"): join_marks(row["doubts"])}
            figures.append(
                {**about, **{(rule, name): (row[rule] or {}).get(name, math.nan) for rule in rules for name in names}}
            )
        index = pd.MultiIndex.from_tuples([[row[name] for name in DESCRIBING] for row in rows], names=DESCRIBING)
        columns = pd.MultiIndex.from_tuples(list(figures[0]), names=["point", ""])
        return pd.DataFrame([list(row.values()) for row in figures], index=index, columns=columns)

    def criteria(self, against: str = "entropy") -> pd.DataFrame:
        """Return every criterion on the same checkpoints, paired with ``against`` on the same samples, a row each.

        ``half`` is the quality at half of the layers, ``half_difference`` and ``curve_difference`` what it is better by
        than ``against``, with 95 % intervals; costs are layers. Raises as :meth:`compare_criteria`.
        """
        from bench.api.frames import make_frame
        from bench.results.series_doubts import join_marks

        rows = []
        for table in self.compare_criteria(against):
            for row in table["rows"]:
                known = {"checkpoint": table["title"], "against": against, "seeds": len(row["seeds"])}
                known |= {name: row[name] for name in ("criterion", "arguments", "upper_bound", "least_layers")}
                for name, key in {
                    "half": "half",
                    "half_difference": "half_difference",
                    "curve_difference": "curve",
                }.items():
                    known |= _spread_interval(name, row[key])
                rows.append({**known, "doubts": join_marks(row["doubts"])})
        return make_frame(rows, ("checkpoint", "criterion", "arguments", "seeds", "against"))

    @property
    def points(self) -> pd.DataFrame:
        """Every operating point of every run, a row each; see :func:`bench.api.frames.frame_points`."""
        from bench.api.frames import frame_points

        return frame_points(self.runs)

    @property
    def curves(self) -> pd.DataFrame:
        """The recorded trade-off curves of all runs; see :func:`bench.api.frames.frame_curves`."""
        from bench.api.frames import frame_curves

        return frame_curves(self.runs)

    def plot(self, kind: str = "trade-off", **options: Any) -> Figure:
        """Return a figure of these runs, as `bench plot` draws it, to be changed, shown or saved with ``savefig``.

        ``kind`` is one of `bench plot`'s: ``trade-off``, ``exits``, ``calibration``, ``criteria``, ...; ``options`` are
        its options, such as ``x="layers"``, ``highlight=("entropy",)``, ``width=7``, ``title="..."``. Every series is
        shown unless ``whole=False``, with which there is one line a published system. Raises UsageError for an unknown
        kind or option, NothingComparable where there is nothing to draw.
        """
        return draw_runs(self.runs, kind, options)

    # ----------------------------------------------------------------------- shown

    def __repr__(self) -> str:
        """Return how many runs these are, and of what."""
        counts = [(len({name for run in self.runs for name in list_names(run, k)}), k) for k in ("task", "strategy")]
        said = ", ".join(f"{n} {kind if n == 1 else PLURAL[kind]}" for n, kind in counts)
        return f"<Results: {len(self)} run{'' if len(self) == 1 else 's'}; {said}>"

    def _repr_html_(self) -> str:
        rows = []
        for run in self.runs[:MOST_SHOWN]:
            row = [run.task, run.backbone, run.strategy, str(run.seed)]
            if run.is_finished():
                whole, point = run.result().full.metrics[run.metric], run.point("no-loss")
                row += [f"{run.metric} {whole.write()}", "" if point is None else point.cost_speedup.write_times()]
            rows.append([*row, run.status] if len(row) == len(RUN_COLUMNS) - 1 else [*row, "", "", run.status])
        more = len(self) - MOST_SHOWN
        notes = [f"And {more} more: results.points has all."] if more > 0 else []
        return write_html_table(repr(self)[1:-1], RUN_COLUMNS, rows, notes)


RUN_COLUMNS = ("task", "backbone", "strategy", "seed", "all layers", "speed-up, no loss", "status")
PLURAL = {"task": "tasks", "strategy": "strategies"}


def name_function(function: Callable[..., float]) -> str:
    """Return what a function of one's own is called in tables: ``module:function``."""
    return f"{function.__module__}:{getattr(function, '__qualname__', type(function).__name__)}"


def list_names(run: Run, kind: str) -> set[str]:
    """Return what a run has of a ``kind``; a backbone that was given as a path by its name too."""
    spec = run.spec
    return {run.backbone, spec.backbone} if kind == "backbone" else {getattr(spec, kind)}


def _spread_interval(name: str, found: Mapping[str, float] | None) -> dict[str, float]:
    keys = {name: "estimate", f"{name}_low": "low", f"{name}_high": "high"}
    return {column: math.nan if found is None else found[key] for column, key in keys.items()}


def load(
    results_dir: str | Path = "results",
    *,
    task: Wanted = None,
    backbone: Wanted = None,
    hub_root: str | Path | None = None,
    offline: bool = False,
    quiet: bool = False,
) -> Results:
    """Read the recorded runs of a results folder, or those of some tasks and backbones.

    What cannot be read is left out and said on stderr. ``hub_root`` and ``offline`` count where a run's model is asked
    for. Raises UsageError where there is no folder.
    """
    from bench.results.store import Only

    place = Workplace(Path(results_dir), None if hub_root is None else Path(hub_root), offline, quiet)
    only = Only(*(frozenset([one] if isinstance(one, str) else one or ()) for one in (task, backbone)))
    return Results.of(place.read_runs(only), place)

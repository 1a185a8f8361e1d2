"""A recorded run: the one thing that tables, reports and comparisons are made of.

Nothing here needs torch before a criterion is asked for.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backbones.names import distrust_names
from bench.errors import Damaged, DataError, UsageError, UserError
from bench.files import is_there
from bench.measure.exits import AllExits
from bench.measure.rules import shorten_rule
from bench.results.checks import find_other_logits, share_recorded
from bench.results.doubts import Doubt, check_skill, doubt_damaged, doubt_outgrown, find_doubts
from bench.results.judged_by.numbers import JudgedResults
from bench.results.kept import answers as kept
from bench.results.measures import OperatingPoint, SkillCheck, SplitResult
from bench.results.places import DEPTH, RECORD, locate_exits
from bench.results.record import RunRecord, UnfinishedRecord
from bench.results.record_file import read_record
from bench.results.spec import RunSpec
from bench.results.times import Latency, TimedRun
from bench.tasks.base import name_primary

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.measure.trade_off import TradeOff
    from strategies.base import Criterion


@dataclass(frozen=True, eq=False)
class Run(TimedRun):
    """One recorded cell: its folder, its record, and what follows from them.

    ``head`` is the record of a run of any status; :attr:`record` that of a finished one. ``name`` is the folder's
    relative to the store. ``reused``: it was recorded before it was asked for; ``changed``: the user's own parts whose
    source is another since. ``judged``: by another metric than the task's own (bench.results.judged_by). Criterion,
    trade-off and doubts are made on first use. The model, which needs what this folder does not know (data, backbone,
    checkpoint), is rebuilt by :func:`bench.cell.reload.load_run_model`.
    """

    folder: Path
    head: RunRecord | UnfinishedRecord
    name: str
    reused: bool = False
    changed: tuple[str, ...] = ()
    judged: JudgedResults | None = None
    _exits: dict[Path, AllExits] = field(default_factory=dict, init=False, repr=False)
    _trade_offs: dict[Path, TradeOff] = field(default_factory=dict, init=False, repr=False)
    _scores: dict[Path, NDArray[Any]] = field(default_factory=dict, init=False, repr=False)
    _answers: dict[str, kept.PointAnswers] = field(default_factory=dict, init=False, repr=False)
    _keys: dict[str, str] = field(default_factory=dict, init=False, repr=False)
    _doubts: dict[str, tuple[Doubt, ...]] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def load(cls, folder: Path, name: str | None = None) -> Run:
        """Read the run in ``folder``.

        Raises Damaged, Newer for one that a newer version wrote, FileNotFoundError where there is no record.
        """
        return cls(folder, read_record(folder / RECORD), folder.name if name is None else name)

    @property
    def root(self) -> Path:
        """The store that the run lies in; the folder around a run that was read by itself."""
        return self.folder.parents[self.name.count("/")]

    @property
    def is_sealed(self) -> bool:
        """Whether a checksum holds the record's numbers; those of schema 1 have none."""
        return self.head.checksum is not None

    @property
    def record(self) -> RunRecord:
        """The record of a finished run. Raises UsageError, in one line, for another one."""
        if isinstance(self.head, RunRecord):
            return self.head
        raise UsageError(f"{self.folder.name} is not finished ({self.status}): run it again.")

    def is_finished(self) -> bool:
        """Return whether there are results."""
        return isinstance(self.head, RunRecord)

    def finished(self) -> Run:
        """Return this run. Raises UsageError, in one line, where it is not finished."""
        _ = self.record
        return self

    @property
    def status(self) -> str:
        """``success``, ``error``, ``cancelled`` or ``started``."""
        return self.head.status

    @property
    def error(self) -> str:
        """Why the run failed, in one line; empty where it did not."""
        failed = self.head.error if isinstance(self.head, UnfinishedRecord) else None
        return "" if failed is None else failed.message

    @property
    def spec(self) -> RunSpec:
        """What was asked."""
        return self.head.spec

    @property
    def strategy(self) -> str:
        """The strategy's name."""
        return self.spec.strategy

    @property
    def task(self) -> str:
        """The task's name."""
        return self.spec.task

    @property
    def backbone(self) -> str:
        """The backbone's name: of a folder the last part of its path, however that was spelled."""
        return self.head.identity.backbone.name

    @property
    def seed(self) -> int:
        """The seed of training and of the select split."""
        return self.spec.seed

    @property
    def label(self) -> str:
        """What the run is called in comparisons."""
        return f"{self.strategy} | {self.backbone} {self.spec.head}+{self.spec.recipe} | {self.task} | seed {self.seed}"

    @property
    def layers(self) -> int:
        """Number of exits L."""
        return self.record.backbone.layers

    @property
    def primary(self) -> str:
        """The evaluation split that is compared, and run live."""
        return name_primary(self.record.task.evaluation)

    @property
    def metric(self) -> str:
        """What it is judged by: the task's first metric, which points are chosen by, unless another is asked for."""
        return self.judged.metric.name if self.judged else self.record.task.metrics[0]

    def result(self, split: str | None = None) -> SplitResult:
        """Return what was measured on ``split``, the primary one by default. Raises UsageError for an unknown one."""
        results = self.judged.results if self.judged else self.record.evaluation
        found = results.get(split or self.primary)
        if found is None:
            known = ", ".join(results)
            raise UsageError(f"{self.folder.name} has no evaluation split '{split}'. Known: {known}.")
        return found

    @property
    def latency(self) -> Latency | None:
        """What the clock said, if it was asked."""
        return self.record.latency

    def describe_used(self, split: str) -> str:
        """Return how many samples of a split were used of how many there are: ``500/872``; bare where nobody knows."""
        rows = self.record.task.rows.get(split)
        if rows is None:
            known = self.record.evaluation.get(split)
            return "unknown" if known is None else str(known.samples)
        return f"{rows.used}/{rows.available}" if rows.available else str(rows.used)

    @property
    def chosen_on(self) -> int:
        """How many held-out samples points were chosen on: half of them where the criterion is fitted on the others."""
        record = self.record
        shared = None if record.criterion is None else record.criterion.held_out
        return record.task.rows[record.task.select].used if shared is None else shared.chosen_on

    def point(self, rule: str, split: str | None = None) -> OperatingPoint | None:
        """Return the operating point of ``rule``, or of its short form; None where it was not reached or asked for."""
        reached = self.result(split).reached
        short = (point for name, point in reached.items() if shorten_rule(name) == rule)
        return reached.get(rule) or next(short, None)

    def cut_of(self, rule: str | None, split: str | None = None) -> float:
        """Return the cut of an operating point; -inf, at which nobody leaves early, for None (all layers).

        Raises UsageError, with the reason, for a point that was not reached or does not exist.
        """
        if rule is None:
            return -math.inf
        point = self.point(rule, split)
        if point is None:
            missing = self.result(split).unreached.get(rule)
            why = f"did not reach it: {missing.reason}" if missing else f"has no operating point '{rule}'"
            raise UsageError(f"{self.folder.name} {why}")
        return point.cut

    # ----------------------------------------------------------------------- what could make its numbers void

    @property
    def doubts(self) -> tuple[Doubt, ...]:
        """What could make the numbers on the primary split void."""
        return self.find_doubts()

    def find_doubts(self, split: str | None = None, rules: Iterable[str] | None = None) -> tuple[Doubt, ...]:
        """Return what could make the numbers on ``split`` void, found once.

        With ``rules``, of the doubts about operating points only those about them.
        """
        where = split or self.primary
        if where not in self._doubts:
            try:
                self._doubts[where] = find_doubts(self.record, where, self.skill(where))
            except Damaged as error:
                damaged = doubt_damaged(error.what.removeprefix(f"{self.root.parent}{os.sep}"))  # pages tell no more
                self._doubts[where] = (damaged, *find_doubts(self.record, where, None))
        shown = None if rules is None else set(rules)
        return tuple(d for d in self._doubts[where] if shown is None or not d.rules or shown.intersection(d.rules))

    def find_replay_doubts(self, split: str | None = None) -> tuple[Doubt, ...]:
        """Return the doubts on ``split``, before them that the criterion is another one by now.

        For whatever asks the criterion again instead of showing what was recorded.
        """
        try:
            moved = self.find_moved(split)
        except UserError:  # who asks it says why it cannot be asked
            moved = {}
        return (*([doubt_outgrown(list(moved))] if moved else []), *self.find_doubts(split))

    def skill(self, split: str | None = None) -> SkillCheck | None:
        """Return how the full model does against one answer for all, as recorded or from the stored logits.

        None where neither is there. Raises Damaged.
        """
        where = split or self.primary
        if self.record.skill is not None:
            return self.record.skill.get(where)
        if (found := self._find_kept(where)) is not None:
            return found.skill
        return check_skill(self.exits(where)) if self.has_exits(where) else None

    # ----------------------------------------------------------------------- from the recorded logits

    def exits_file(self, split: str | None = None) -> Path:
        """Return where every exit's logits over ``split`` are; the file may be left out of a repository."""
        return locate_exits(self.folder, split or self.primary)

    def has_exits(self, split: str | None = None) -> bool:
        """Return whether the logits are beside the record, in a file that can be read or cannot."""
        return is_there(self.exits_file(split))

    def exits(self, split: str | None = None) -> AllExits:
        """Return every exit's logits over ``split``, read once.

        Raises Damaged, also for whole ones that are another run's; DataError where they are not there.
        """
        path = self.exits_file(split)
        if path not in self._exits:
            from bench.results.exits import read_exits

            try:
                found = read_exits(path)
            except FileNotFoundError as error:
                raise DataError(f"{self.folder.name} has no stored exits ({path.name}); run the cell again.") from error
            if fault := find_other_logits(self.record, split or self.primary, found):
                raise Damaged(path, fault)
            self._exits[path] = found
        return self._exits[path]

    def find_damaged_logits(self) -> list[str]:
        """Return a line for each split whose logits beside the record are damaged, or are another run's."""
        found = []
        for split in filter(self.has_exits, (*self.record.task.evaluation, self.record.task.select)):
            try:
                self.exits(split)
            except Damaged as error:
                found.append(error.what)
        return found

    def check_logits(self, *, every: bool = False) -> None:
        """Read the stored logits that readers make numbers of; with ``every``, all that are there.

        Raises Damaged, for whole ones that are another run's too. Kept answers were made of whole ones.
        """
        learned, splits = self.record.criterion, self.record.task.evaluation
        if not every and all(self._find_kept(split) for split in splits):
            return
        fitted_on = [self.record.task.select] if every or (learned and learned.fitted) else []
        for split in (*splits, *fitted_on):
            if self.has_exits(split):
                self.exits(split)

    @cached_property
    def criterion(self) -> Criterion:
        """The criterion with its recorded arguments, fitted as in the run on the select split.

        Raises DataError where it is fitted and the logits of that split are gone, UsageError where the record names a
        strategy that is not installed here.
        """
        from bench.inference.replay import fit_criterion, make_criterion, make_evidence

        with distrust_names():
            criterion, _ = make_criterion(self.spec.strategy, self.spec.criterion_args)
        if criterion.fits:
            fit_criterion(criterion, make_evidence(self.fitting_exits()))
        return criterion

    def fitting_exits(self) -> AllExits:
        """Return the held-out samples that the criterion was fitted on. Raises as :meth:`exits`."""
        return share_recorded(self.record, self.exits(self.record.task.select)).fit

    def find_refusal(self) -> str:
        """Return why the criterion cannot be had here, in one line; the empty string where it can."""
        if self.is_finished() and self._find_kept(self.primary):
            return ""
        try:
            _ = self.criterion
        except UserError as error:
            return str(error)
        return ""

    def trade_off(self, split: str | None = None) -> TradeOff:
        """Return the criterion's exact curve over the recorded logits, its costs counted in layers; made once."""
        from bench.measure.trade_off import Costs, TradeOff

        path = self.exits_file(split)
        if path not in self._trade_offs:
            exits = self.exits(split)
            costs = Costs.layers(*exits.logits.shape[:2])
            metrics = (self.metric,) if self.judged else self.record.task.metrics
            self._trade_offs[path] = TradeOff(self.criterion, exits, costs, metrics)
        return self._trade_offs[path]

    def layers_at(self, rule: str | None, split: str | None = None) -> NDArray[np.int64]:
        """Return the exit layers, 1-based [N], of an operating point; of all layers for None."""
        where, cut = split or self.primary, self.cut_of(rule, split)
        if (known := self._find_kept(where)) is not None:
            return known.layers[rule or kept.EVERY_LAYER]
        return self._leave_at(cut, where)

    def _leave_at(self, cut: float, split: str) -> NDArray[np.int64]:
        from bench.measure.curve import exit_layers
        from bench.measure.scores import score_recorded

        path = self.exits_file(split)
        if path not in self._scores:
            known = self._trade_offs.get(path)
            self._scores[path] = known.scores if known else score_recorded(self.criterion, self.exits(split))
        scores = self._scores[path]
        rounded = float(scores.dtype.type(cut))  # as a live comparison rounds it
        return exit_layers(scores, rounded, strict=self.criterion.strict)

    def find_moved(self, split: str | None = None) -> Mapping[str, str]:
        """Return the points at which the criterion as it is now gives other exits than are recorded, and how."""
        return self.answers(split).moved

    def answers(self, split: str | None = None) -> kept.PointAnswers:
        """Return what the run answers on ``split`` at each point that it reached, made once of its logits, and kept.

        Raises as :meth:`exits` and :attr:`criterion`.
        """
        where = split or self.primary
        if (found := self._find_kept(where)) is not None:
            return found
        self._answers[where] = made = self._make_answers(where)
        if (key := self._identify_answers(where)) and kept.keep_answers(self.root, key, made):
            self._exits.clear()  # whoever needs more of hundreds of runs reads them again
            self._scores.clear()
        return made

    def _find_kept(self, split: str) -> kept.PointAnswers | None:
        """Return the answers on ``split`` if they are known or kept."""
        if split not in self._answers and (key := self._identify_answers(split)):
            if (found := kept.read_answers(self.root, key)) is None:
                return None
            self._answers[split] = found
        return self._answers.get(split)

    def _identify_answers(self, split: str) -> str:
        """Return under what the answers on ``split`` are kept; empty for a run in no store, and without logits."""
        if split not in self._keys:
            files = [self.folder / RECORD, self.exits_file(split)]
            files += filter(Path.exists, [self.exits_file(self.record.task.select)])
            stored = self.name.count("/") == DEPTH - 1 and self.has_exits(split)
            self._keys[split] = kept.identify_answers(self.strategy, self.spec.criterion_args, files) if stored else ""
        return self._keys[split]

    def _make_answers(self, split: str) -> kept.PointAnswers:
        exits, points = self.exits(split), self.result(split).reached
        layers = {rule or kept.EVERY_LAYER: self.layers_at(rule, split) for rule in (None, *points)}
        recorded = {rule: list(point.exit_counts) for rule, point in points.items()}
        return kept.make_answers(exits, layers, recorded, check_skill(exits))

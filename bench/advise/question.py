"""What `bench advise` is asked, checked before any long work: the model's own classifier, the data, the samples."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backbones.errors import BackboneError
from backbones.labels import MULTI_LABEL, match_labels, read_own_labels
from backbones.names import expand_home
from backbones.resolve import BackboneRequest, resolve_backbone
from bench.advise.goal import Goal
from bench.advise.groups import read_groups
from bench.cell.identify import Cell, load_data
from bench.cell.own_exit import list_class_names
from bench.cell.request import Context, Request
from bench.cell.resolve import Parts, resolve_request
from bench.cell.run import prepare_cell
from bench.errors import UsageError
from bench.results.spec import RunSpec
from bench.tasks.base import TaskData
from bench.tasks.file import JOIN, FileTask
from bench.tasks.readers import READ_BY_SUFFIX
from strategies import STRATEGIES

CANDIDATES = ("entropy", "elbert-mono", "patience", "max-probability")
"""Criteria that are compared, the ones that most often win first; for two classes the last is the first."""
FITTED_CANDIDATES = ("budget",)
"""Those that learn on the samples that cuts are chosen on, which a certificate cannot spare."""
LOOSER = tuple(Goal("max_change", *one) for one in ((0.02, 0.95), (0.02, 0.9), (0.05, 0.9), (0.1, 0.9), (0.1, 0.8)))
"""Certified goals to ask for instead where samples are few, the strictest first."""


@dataclass(frozen=True)
class Question:
    """A model, the data, the goal; ``train`` are texts without labels to fit on, ``data`` a file then.

    ``batch_size`` is that of the second timing; ``slice_column`` a column of the file whose groups are told apart.
    """

    model: str
    data: str
    goal: Goal
    train: str | None = None
    criteria: tuple[str, ...] = ()
    batch_size: int = 32
    slice_column: str | None = None
    limit: int | None = None
    seed: int = 0
    device: str = "auto"

    @property
    def task(self) -> str:
        """The name of the task that fits and chooses on its own parts."""
        return self.data if self.train is None else f"{self.data}{JOIN}{self.train}"

    def make_request(self, criterion: str, thresholds: tuple[float, ...] | None = None, select: str = "") -> Request:
        """Return the cell of ``criterion``: exits on the model as it is."""
        return Request(
            strategy=criterion,
            task=self.task,
            backbone=self.model,
            recipe="exits-only",
            head="linear",
            init="finetuned",
            seed=self.seed,
            settings={"recipe.targets": "labels" if self.train is None else "model"},
            thresholds=thresholds,
            select=(select,) if select else (),
            limit=self.limit,
            latency=False,
            device=self.device,
        )


@dataclass(frozen=True)
class Prepared:
    """A question whose parts are there and fit one another: the cell of its first criterion, and all to compare."""

    question: Question
    cell: Cell
    criteria: tuple[str, ...]


def prepare_question(question: Question, context: Context) -> Prepared:
    """Check the model, the data and their sizes; read no weights.

    Raises UsageError, BackboneError or DataError, one line with the remedy, for what cannot be advised on.
    """
    check_files(question)
    first = question.criteria[0] if question.criteria else CANDIDATES[0]
    spec, parts = resolve_request(question.make_request(first))
    check_slices(question, parts)
    check_classifier(spec, context)
    data = load_data(spec, parts, context)
    check_classes(spec, data, context)
    criteria = choose_candidates(question, data)
    cell = prepare_cell(question.make_request(criteria[0]), context)
    return Prepared(question, cell, criteria)


def check_classifier(spec: RunSpec, context: Context) -> None:
    """Raise UsageError for a model without a classifier of its own."""
    found = resolve_backbone(make_backbone_request(spec, context))
    if found.folder is None or read_own_labels(found, asked=True) is None:
        raise UsageError(
            f"{spec.backbone} has no classifier of its own: give a model that is fine-tuned for this task "
            "(a stock ...ForSequenceClassification saved by transformers)."
        )


def make_backbone_request(spec: RunSpec, context: Context) -> BackboneRequest:
    """Return what is asked of :mod:`backbones`."""
    return BackboneRequest(spec.backbone, spec.init, {}, context.hub_root, context.offline)


def check_classes(spec: RunSpec, data: TaskData, context: Context) -> None:
    """Raise UsageError for a classifier of other classes than the data's, with both lists."""
    labels = read_own_labels(resolve_backbone(make_backbone_request(spec, context)), asked=True)
    assert labels is not None
    try:
        match_labels(labels, list_class_names(data))
    except BackboneError as error:
        why = str(error).removesuffix(".")
        remedy = "Give data with the model's labels"
        if labels.problem_type == MULTI_LABEL:
            remedy = "Give a model that is fine-tuned for one label a text"
        if data.kind == "classification" and len(labels.names) > len(data.label_names):
            remedy += ", or list all of its classes in a labels.txt beside the data"
        raise UsageError(f"The model does not fit the data: {why}. {remedy}.") from error


def check_files(question: Question) -> None:
    """Raise UsageError for files that are not there, and for texts to fit on that go with no file of data."""
    if Path(question.data).suffix in READ_BY_SUFFIX and not os.path.exists(expand_home(question.data)):
        raise UsageError(f"There is no file {question.data}. Give one with texts and labels, a folder, or a task.")
    if question.train is None:
        return
    if not os.path.isfile(expand_home(question.data)):
        raise UsageError("--train goes with a file as --data: a task has texts to fit on of its own.")
    if not os.path.isfile(expand_home(question.train)):
        raise UsageError(f"--train {question.train} is no file. Give one with a text a line.")


def check_slices(question: Question, parts: Parts) -> None:
    """Raise UsageError for groups and texts that go with a file where the data is none, or lacks the column."""
    if question.slice_column is not None and not isinstance(parts.task, FileTask):
        raise UsageError(f"--slice {question.slice_column} needs a file with that column as --data, not a task.")
    if question.slice_column is not None and isinstance(parts.task, FileTask):
        read_groups(parts.task, question.slice_column)  # raises before anything is measured


def choose_candidates(question: Question, data: TaskData) -> tuple[str, ...]:
    """Return the criteria to compare: those asked for, else as many usual ones as the samples bear.

    Raises UsageError where a certificate needs more samples than there are to choose on.
    """
    goal, there = question.goal, len(data.select)
    wanted = list(question.criteria) or list_usual_criteria(goal, data.num_outputs)
    while not question.criteria and len(wanted) > 1 and goal.count_needed(len(wanted)) > there:
        wanted.pop()
    for name in question.criteria:
        check_criterion(name, goal, data.num_outputs)
    needed = goal.count_needed(len(wanted))
    if needed > there:
        every = len(data.train) + there + sum(map(len, data.evaluation.values()))
        rows = (
            f" (about {needed * every // max(1, there) + 1:,} rows in all)" if data.source.startswith("file ") else ""
        )
        raise UsageError(
            f"A certificate that {goal.describe()} needs {needed:,} samples to choose on at least, and there are "
            f"{there:,}: give more{rows}, or a looser goal ({', '.join(list_looser_goals(goal, len(wanted), there))})."
        )
    return tuple(wanted)


def list_looser_goals(goal: Goal, criteria: int, there: int) -> list[str]:
    """Return the options of goals that ask for less than ``goal`` and can be certified on ``there`` samples."""
    looser = (one for one in LOOSER if one.count_needed(criteria) < goal.count_needed(criteria))
    certified = next((one for one in looser if one.count_needed(criteria) <= there), None)
    named = [f"--max-change {certified.value:g}@{certified.confidence:g}"] if certified else []
    return [*named, "--max-loss 0.005"]


def explain_few_criteria(question: Question, data: TaskData, compared: Sequence[str]) -> str | None:
    """Return why usual criteria were not compared, None where all were: a certificate of each more needs more texts."""
    usual = [] if question.criteria else list_usual_criteria(question.goal, data.num_outputs)
    missed = [name for name in usual if name not in compared]
    if not missed:
        return None
    needed = question.goal.count_needed(len(usual))
    return (
        f"{' and '.join(missed)} {'was' if len(missed) == 1 else 'were'} not compared: to certify the best of "
        f"{len(usual)} criteria takes {needed:,} texts to choose on, and there are {len(data.select):,}"
    )


def list_usual_criteria(goal: Goal, outputs: int) -> list[str]:
    """Return the criteria that are compared where none is named, on logits of so many ``outputs``."""
    usual = [*CANDIDATES, *(() if goal.is_certified else FITTED_CANDIDATES)]
    if outputs == 2:
        usual.remove("max-probability")  # of two classes it orders all samples as entropy does
    return [name for name in usual if STRATEGIES.load(name).criterion().refuse(outputs) is None]


def check_criterion(name: str, goal: Goal, outputs: int) -> None:
    """Raise UsageError for a criterion that cannot be compared with others on logits alone, of so many ``outputs``."""
    kind = STRATEGIES.load(name).criterion
    if reason := kind().refuse(outputs):
        raise UsageError(f"'{name}' cannot be used here: {reason}.")
    if not kind.causal or not kind.uses_early_exits:
        raise UsageError(f"'{name}' never leaves early by itself: take another criterion, such as entropy.")
    if kind().probe is not None:
        raise UsageError(f"'{name}' reads hidden states, and only logits are kept here: take another criterion.")
    if goal.is_certified and kind.fits:
        raise UsageError(f"'{name}' learns on the samples that certify: take another goal or criterion with it.")

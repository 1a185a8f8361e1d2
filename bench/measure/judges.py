"""A metric as something to ask for: what it reads of an exit, which way is better, its value, its interval.

Records hold metrics of predictions (:mod:`bench.measure.metrics`), and the first of them chooses points. Everything
here is computed of stored logits at points that are chosen already: those metrics and what cannot be had of
predictions, recall of one class, and functions of the user's own.
"""

from __future__ import annotations

import importlib
import numbers
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from backbones.names import describe_failure, find_name, make_unknown_error
from bench.errors import UsageError
from bench.measure import metrics as m
from bench.measure.curve import Array, Float, Int
from bench.measure.exits import AllExits
from bench.measure.logit_metrics import rate_brier, rate_log_loss, weigh_auroc

if TYPE_CHECKING:
    from bench.measure.stats import Interval

RECALL = "recall"
OWN_REPLICATES = 500
"""Resamples in which a function of the user's own is asked, one at a time."""


@dataclass(frozen=True)
class Metric:
    """A metric of answers and labels [N].

    ``reads`` says whether answers are predictions [N] or logits [N, C]. ``sums`` are, where it is a function of sums
    over samples, what each sample adds [N, S] and the metric [K] of sums [K, S]; ``weigh`` is else a function from how
    often each sample counts [B, N] to the metric [B], where there is a fast one.
    """

    name: str
    compute: Callable[[Array, Array], float]
    reads: Literal["predictions", "logits"] = "predictions"
    higher_is_better: bool = True
    sums: tuple[Callable[[Array, Array], Float], Callable[[Float], Float]] | None = None
    weigh: Callable[[Array, Array], Callable[[Float], Float]] | None = None

    def read_answers(self, exits: AllExits, layers: Int) -> Array:
        """Return what it reads of samples that leave at exits ``layers`` [N], 1-based."""
        told = exits.logits if self.reads == "logits" else exits.predictions
        answers: Array = told[np.arange(len(layers)), layers - 1]
        return answers

    def estimate(self, answers: Array, labels: Array) -> Interval:
        """Return the metric with its 95 % interval over samples: of a metric that records hold the same as there."""
        if self.name in m.METRICS:
            from bench.measure.trade_off import estimate_metric

            return estimate_metric(self.name, answers, labels)
        from bench.measure.stats import Interval, bootstrap, draw_counts, make_interval  # scipy, for intervals alone

        value = self.compute(answers, labels)
        if self.sums is not None:
            found = bootstrap(self.sums[0](answers, labels), self.sums[1])
            return Interval(value, found.low, found.high)
        if self.weigh is not None:
            weigh, replicates = self.weigh(answers, labels), 1000
        else:
            weigh, replicates = partial(self._draw_again, answers, labels), OWN_REPLICATES
        drawn = np.concatenate([weigh(counts) for counts in draw_counts(len(labels), replicates, 0)])
        if np.isnan(drawn).all():
            raise UsageError(f"Metric '{self.name}' has no interval: it fails on every resample of the samples.")
        return make_interval(value, drawn, 0.95)

    def _draw_again(self, answers: Array, labels: Array, counts: Float) -> Float:
        """Return the metric of resamples [B], NaN where it has none, as where a class was not drawn."""
        found = []
        for drawn in counts:
            rows = np.repeat(np.arange(len(labels)), drawn.astype(np.int64))
            try:
                found.append(self.compute(answers[rows], labels[rows]))
            except UsageError:
                found.append(np.nan)
        return np.array(found)


# --------------------------------------------------------------------------- those that have names


def _make_recorded(name: str) -> Metric:
    """Return a metric of predictions that records hold."""

    def compute(answers: Array, labels: Array) -> float:
        return m.compute_metrics([name], answers, labels)[name]

    return Metric(name, compute)


def with_classes(metric: Metric, classes: int) -> Metric:
    """Return ``metric`` with sums that have the same columns for all answers, whichever of the classes are there."""
    if metric.name not in m.METRICS or not m.is_additive(metric.name):
        return metric

    def add(answers: Array, labels: Array) -> Float:
        return m.statistics(metric.name, answers[:, None], labels, classes)[:, 0]

    return replace(metric, sums=(add, partial(m.from_statistics, metric.name)))


def _make_mean(name: str, rate: Callable[[Array, Array], Float]) -> Metric:
    """Return a loss that is the mean over samples of what ``rate`` gives for each, [N]."""

    def add(answers: Array, labels: Array) -> Float:
        rated = rate(answers, labels)
        return np.column_stack([rated, np.ones_like(rated)])

    def compute(answers: Array, labels: Array) -> float:
        return float(rate(answers, labels).mean())

    return Metric(name, compute, "logits", higher_is_better=False, sums=(add, lambda sums: sums[:, 0] / sums[:, 1]))


def compute_auroc(logits: Array, labels: Array) -> float:
    """Return the area under the ROC curve, one class against the others, mean over classes; see weigh_auroc."""
    return float(weigh_auroc(logits, labels)(np.ones((1, len(labels))))[0])


def make_recall(label: str, number: int) -> Metric:
    """Return the share of a class's samples that are told its name; 0 where there are none of it."""

    def add(answers: Array, labels: Array) -> Float:
        true = labels == number
        return np.column_stack([true & (answers == number), true]).astype(np.float64)

    def divide(sums: Float) -> Float:
        shares: Float = np.where(sums[:, 1] > 0, sums[:, 0] / np.maximum(sums[:, 1], 1), 0.0)
        return shares

    def compute(answers: Array, labels: Array) -> float:
        return float(divide(add(answers, labels).sum(axis=0, keepdims=True))[0])

    return Metric(f"{RECALL}:{label}", compute, sums=(add, divide))


JUDGES: dict[str, Metric] = {
    **{name: _make_recorded(name) for name in m.METRICS},
    "auroc": Metric("auroc", compute_auroc, "logits", weigh=weigh_auroc),
    "log_loss": _make_mean("log_loss", rate_log_loss),
    "brier": _make_mean("brier", rate_brier),
}
"""Metrics by name; beside them are ``recall:LABEL`` and ``module:function``."""
OF_VALUES = ("pearson", "spearman")
ALIASES = {
    "auc": "auroc",
    "roc_auc": "auroc",
    "nll": "log_loss",
    "cross_entropy": "log_loss",
    "brier_score": "brier",
    "f1_macro": "macro_f1",
    "mcc": "matthews",
    "acc": "accuracy",
}


@dataclass(frozen=True)
class AskedMetric:
    """A metric as somebody typed it: ``name`` as it is listed, and ``function`` where it is one's own."""

    name: str
    function: Callable[[Array, Array], float] | None = None

    @property
    def is_loss(self) -> bool:
        """Whether it is better where it is lower; a function of one's own says so by ``higher_is_better = False``."""
        if self.function is not None:
            return getattr(self.function, "higher_is_better", True) is False
        return self.name in JUDGES and not JUDGES[self.name].higher_is_better

    def list_metrics(self, kind: str, labels: Sequence[str]) -> list[Metric]:
        """Return the metric for a task of ``kind`` with these classes; of ``recall`` alone that of every class.

        Raises UsageError where it is of another kind of task, or there is no such class.
        """
        if self.function is not None:
            compute = partial(ask_function, self.name, self.function)
            return [Metric(self.name, compute, "logits", higher_is_better=not self.is_loss)]
        classes = kind == "classification"
        if classes == (self.name in OF_VALUES):
            raise UsageError(f"{self.name} is a metric of {'values' if classes else 'classes'}, and this is a {kind}.")
        if self.name in JUDGES:
            return [with_classes(JUDGES[self.name], len(labels))]
        _, _, label = self.name.partition(":")
        every = {name: make_recall(name, number) for number, name in enumerate(labels)}
        if not label:
            return list(every.values())
        if (known := find_name(label, labels)) not in every:
            raise make_unknown_error("class", label, labels, " of --metric recall")
        return [every[known]]

    def find_metric(self, kind: str, labels: Sequence[str]) -> Metric:
        """Return the one metric that is meant. Raises as :meth:`list_metrics`, and for ``recall`` of every class."""
        found = self.list_metrics(kind, labels)
        if len(found) > 1:
            raise UsageError(f"One metric is wanted here: name the class, {found[0].name}.")
        return found[0]


def read_metric(text: str) -> AskedMetric:
    """Return the metric that the user typed: a name, ``recall:LABEL``, or ``module:function``, which is imported.

    Never of what a file says: importing runs what is there. Raises UsageError.
    """
    if "," in text and not text.startswith(f"{RECALL}:"):
        raise UsageError(f"--metric takes one metric, not '{text}'.")
    name = find_name(text.removesuffix(":"), [*JUDGES, RECALL], ALIASES)
    if name in JUDGES or name == RECALL:
        return AskedMetric(name)
    module, colon, rest = text.partition(":")
    if not colon:
        raise make_unknown_error("metric", text, [*JUDGES, f"{RECALL}:LABEL", "module:function"])
    if module == RECALL and rest:
        return AskedMetric(text)
    return AskedMetric(text, import_function(text))


def import_function(text: str) -> Callable[[Array, Array], float]:
    """Return the function that ``module:function`` names. Raises UsageError in one line."""
    module, _, attribute = text.partition(":")
    if not (module and attribute) or module.startswith("."):
        raise UsageError(f"--metric '{text}' is not module:function.")
    try:
        with redirect_stdout(sys.stderr):
            found = getattr(importlib.import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        raise UsageError(f"Cannot import metric '{text}': {error}. Is its folder on PYTHONPATH?") from error
    except (Exception, SystemExit) as error:
        raise UsageError(f"Cannot import metric '{text}': {describe_failure(error)}.") from error
    if not callable(found) or isinstance(found, type):
        raise UsageError(f"Metric '{text}' cannot be used: {module} has no function '{attribute}'.")
    return found


def ask_function(name: str, function: Callable[[Array, Array], float], logits: Array, labels: Array) -> float:
    """Return what a function of the user's own gives for ``labels`` [N] and ``logits`` [N, C], of its own copies.

    Raises UsageError where it fails, or gives anything but a finite number.
    """
    try:
        with redirect_stdout(sys.stderr):  # what it prints is no part of a table, nor of JSON
            found = function(labels.copy(), logits.copy())
    except (Exception, SystemExit) as error:
        raise UsageError(f"Metric '{name}' failed: {describe_failure(error)}.") from error
    if isinstance(found, np.ndarray) and found.ndim == 0:
        found = found[()]
    if isinstance(found, bool | np.bool_) or not isinstance(found, numbers.Real) or not np.isfinite(found):
        given = f"{found!r}" if isinstance(found, numbers.Real) else type(found).__name__
        raise UsageError(f"Metric '{name}' cannot be used: it gives {given}, not a finite number.")
    return float(found)

"""The published metrics, and what to sum over samples so that a whole curve of them is exact.

Every metric is higher-is-better. Degenerate input has a defined value, because NaN cannot be stored and an
early exit of a small model does predict a single class: F1 without true or predicted positives is 0, Matthews,
Pearson and Spearman of anything constant are 0, and so are correlations with non-finite predictions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backbones.names import make_unknown_error
from bench.errors import UsageError

Values = NDArray[Any]
Sums = NDArray[np.float64]

METRIC_TITLES = {
    "auroc": "AUROC",
    "balanced_accuracy": "balanced accuracy",
    "brier": "Brier score (less is better)",
    "f1": "F1",
    "log_loss": "log-loss (less is better)",
    "macro_f1": "macro-F1",
    "matthews": "Matthews",
    "pearson": "Pearson",
    "spearman": "Spearman",
}
"""What readers are shown where it is not the name itself."""

# A variance below this share of the mean square is rounding, not spread.
CONSTANT = 1e-13


def title_metric(name: str) -> str:
    """Return a metric's name for readers."""
    return METRIC_TITLES.get(name, name)


def accuracy(predictions: Values, labels: Values) -> float:
    """Return the share of samples whose predicted class is the label's; both int [N]."""
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(labels, predictions))


def f1(predictions: Values, labels: Values) -> float:
    """Return F1 of class 1 against all others; both int [N]."""
    from sklearn.metrics import f1_score

    return float(f1_score(labels == 1, predictions == 1, zero_division=0.0))


def macro_f1(predictions: Values, labels: Values) -> float:
    """Return the mean of each class's F1, over the classes that are true or predicted anywhere; both int [N]."""
    from sklearn.metrics import f1_score

    return float(f1_score(labels, predictions, average="macro", zero_division=0.0))


def balanced_accuracy(predictions: Values, labels: Values) -> float:
    """Return the mean of each class's recall, over the classes that are true anywhere; both int [N]."""
    from sklearn.metrics import recall_score

    return float(recall_score(labels, predictions, labels=np.unique(labels), average="macro", zero_division=0.0))


def matthews(predictions: Values, labels: Values) -> float:
    """Return the Matthews correlation, multi-class as R_K of Gorodkin (2004); both int [N]."""
    from sklearn.metrics import matthews_corrcoef

    constant = bool(np.ptp(predictions) == 0 or np.ptp(labels) == 0)
    return 0.0 if constant else float(matthews_corrcoef(labels, predictions))


def pearson(predictions: Values, labels: Values) -> float:
    """Return the Pearson correlation of float [N] with float [N]."""
    from scipy.stats import pearsonr

    return _correlate(pearsonr, predictions, labels)


def spearman(predictions: Values, labels: Values) -> float:
    """Return the Spearman rank correlation (ties get mean ranks) of float [N] with float [N]."""
    from scipy.stats import spearmanr

    return _correlate(spearmanr, predictions, labels)


def _correlate(test: Callable[[Sums, Sums], Any], predictions: Values, labels: Values) -> float:
    x, y = np.asarray(predictions, np.float64), np.asarray(labels, np.float64)
    constant = not np.isfinite(x).all() or np.ptp(x) == 0 or np.ptp(y) == 0
    return 0.0 if constant else float(test(x, y).statistic)


METRICS: dict[str, Callable[[Values, Values], float]] = {
    "accuracy": accuracy,
    "f1": f1,
    "macro_f1": macro_f1,
    "balanced_accuracy": balanced_accuracy,
    "matthews": matthews,
    "pearson": pearson,
    "spearman": spearman,
}


def compute_metrics(metrics: Sequence[str], predictions: Values, labels: Values) -> dict[str, float]:
    """Return the named metrics of predictions [N] against labels [N].

    Raises UsageError for an unknown name or no samples.
    """
    if len(labels) == 0 or len(predictions) != len(labels):
        raise UsageError(f"Metrics need as many predictions as labels: {len(predictions)} and {len(labels)}.")
    return {name: _find_metric(name)(np.asarray(predictions), np.asarray(labels)) for name in metrics}


def _find_metric(name: str) -> Callable[[Values, Values], float]:
    if name not in METRICS:
        raise make_unknown_error("metric", name, METRICS)
    return METRICS[name]


# --- sums over samples -----------------------------------------------------------------------------


def is_additive(metric: str) -> bool:
    """Return whether :func:`statistics` exists: the metric is a function of sums over samples (ranks are not)."""
    _find_metric(metric)
    return metric in _SUMS


def statistics(metric: str, predictions: Values, labels: Values, classes: int = 0) -> Sums:
    """Return what each sample adds at each exit: float64 [N, L, S] for predictions [N, L] and labels [N].

    Sum over samples the row of each sample's exit and give the sums to :func:`from_statistics`.
    S and its meaning are the metric's own; it is the same for all predictions where the number of ``classes`` is given,
    else only those count that are there. Raises UsageError for a metric that is not additive.
    """
    predictions, labels = np.asarray(predictions), np.asarray(labels)
    spread = np.broadcast_to(labels[:, None], predictions.shape)
    add = _find_sums(metric)[0]
    columns = add(predictions, spread, classes) if metric in _BY_CLASS else add(predictions, spread)
    return np.stack(columns, axis=-1).astype(np.float64)


def from_statistics(metric: str, sums: Sums) -> Sums:
    """Return the metric [K] of K sums [K, S] of :func:`statistics` rows."""
    return _find_sums(metric)[1](np.asarray(sums, np.float64))


def _find_sums(metric: str) -> tuple[Callable[..., list[Values]], Callable[[Sums], Sums]]:
    if not is_additive(metric):
        raise UsageError(f"Metric '{metric}' is not a function of sums over samples; compute it point by point.")
    return _SUMS[metric]


def _divide(numerator: Sums, denominator: Sums) -> Sums:
    """numerator / denominator, 0 where the denominator is not positive."""
    positive = denominator > 0
    result: Sums = np.where(positive, numerator / np.where(positive, denominator, 1.0), 0.0)
    return result


def _list_classes(p: Values, y: Values, classes: int) -> range:
    return range(max(classes, int(max(p.max(initial=0), y.max(initial=0))) + 1))


def _matthews_statistics(p: Values, y: Values, known: int = 0) -> list[Values]:
    """Hits, then how often each class was predicted, then how often it was true."""
    classes = _list_classes(p, y, known)
    return [p == y, *(p == c for c in classes), *(y == c for c in classes)]


def _class_statistics(p: Values, y: Values, known: int = 0) -> list[Values]:
    """How often each class was hit, then how often it was predicted, then how often it was true."""
    classes = _list_classes(p, y, known)
    return [*((p == c) & (y == c) for c in classes), *(p == c for c in classes), *(y == c for c in classes)]


def _from_macro_f1(sums: Sums) -> Sums:
    hits, predicted, true = np.split(sums, 3, axis=1)
    return _divide(_divide(2 * hits, predicted + true).sum(axis=1), (predicted + true > 0).sum(axis=1))


def _from_recalls(sums: Sums) -> Sums:
    hits, _, true = np.split(sums, 3, axis=1)
    return _divide(_divide(hits, true).sum(axis=1), (true > 0).sum(axis=1))


def _pearson_statistics(p: Values, y: Values) -> list[Values]:
    """1, x, y, x², y², xy about the labels' mean, which changes no correlation and spares digits."""
    y = y.astype(np.float64)
    centre = y.mean() if y.size else 0.0
    x, y = p.astype(np.float64) - centre, y - centre
    return [np.ones_like(x), x, y, x * x, y * y, x * y]


def _from_matthews(sums: Sums) -> Sums:
    classes = (sums.shape[1] - 1) // 2
    hits, predicted, true = sums[:, 0], sums[:, 1 : 1 + classes], sums[:, 1 + classes :]
    n = true.sum(axis=1)
    covariance = hits * n - (predicted * true).sum(axis=1)
    spread = (n * n - (predicted**2).sum(axis=1)) * (n * n - (true**2).sum(axis=1))
    return _divide(covariance, np.sqrt(spread))


def _from_pearson(sums: Sums) -> Sums:
    n, x, y, xx, yy, xy = sums.T
    x_spread, y_spread = n * xx - x * x, n * yy - y * y
    x_spread = np.where(x_spread > CONSTANT * n * xx, x_spread, 0.0)
    y_spread = np.where(y_spread > CONSTANT * n * yy, y_spread, 0.0)
    # sqrt of each factor: their product would overflow before the quotient does
    return np.clip(_divide(n * xy - x * y, np.sqrt(x_spread) * np.sqrt(y_spread)), -1.0, 1.0)


_SUMS: dict[str, tuple[Callable[..., list[Values]], Callable[[Sums], Sums]]] = {
    "accuracy": (lambda p, y: [p == y, np.ones_like(p)], lambda sums: _divide(sums[:, 0], sums[:, 1])),
    "f1": (
        # true positives, false positives, false negatives of class 1
        lambda p, y: [(p == 1) & (y == 1), (p == 1) & (y != 1), (p != 1) & (y == 1)],
        lambda sums: _divide(2 * sums[:, 0], 2 * sums[:, 0] + sums[:, 1] + sums[:, 2]),
    ),
    "macro_f1": (_class_statistics, _from_macro_f1),
    "balanced_accuracy": (_class_statistics, _from_recalls),
    "matthews": (_matthews_statistics, _from_matthews),
    "pearson": (_pearson_statistics, _from_pearson),
}
"""What each sample adds to the sums of a metric, and the metric of the sums."""
_BY_CLASS = ("macro_f1", "balanced_accuracy", "matthews")
"""Those whose sums have columns for every class."""

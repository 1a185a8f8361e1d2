"""Metrics by the names that users type, and functions of their own."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from bench.errors import UsageError
from bench.measure.judges import ALIASES, JUDGES, read_metric
from bench.measure.metrics import METRIC_TITLES, METRICS, compute_metrics
from bench.measure.trade_off import estimate_metric

LABELS = ("no", "yes")
OWN = """
import numpy as np

def answer_right(labels, logits):
    return (logits.argmax(axis=1) == labels).mean()

def pay(labels, logits):
    labels += 5
    logits[:] = 0
    return 3
pay.higher_is_better = False

def text(labels, logits):
    return "good"

def nothing(labels, logits):
    return np.nan

def both(labels, logits):
    return np.ones(2)

def fail(labels, logits):
    raise KeyError("cost")

def leave(labels, logits):
    raise SystemExit(3)

def talk(labels, logits):
    print("how many:", len(labels))
    return 1.0

print("imported")
number = 3
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "own_metrics.py").write_text(OWN)
    (tmp_path / "broken_metrics.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("own_metrics", "broken_metrics"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return "own_metrics"


@pytest.mark.parametrize("name", JUDGES)
def test_every_metric_is_found_by_its_name_in_any_spelling(name: str) -> None:
    kind = "regression" if name in ("pearson", "spearman") else "classification"
    for spelled in (name, name.upper(), name.replace("_", "-")):
        assert read_metric(spelled).find_metric(kind, LABELS).name == name


@pytest.mark.parametrize(("other", "name"), ALIASES.items())
def test_names_of_other_tools_are_taken(other: str, name: str) -> None:
    assert read_metric(other).name == name


def test_every_metric_has_a_title_or_is_called_so() -> None:
    assert {"auroc", "log_loss", "brier"} <= METRIC_TITLES.keys() <= JUDGES.keys()


@pytest.mark.parametrize("name", [name for name in METRICS if name not in ("pearson", "spearman")])
def test_what_records_hold_is_the_same_here(name: str) -> None:
    random = np.random.default_rng(0)
    told, labels = random.integers(0, 2, 90), random.integers(0, 2, 90)
    metric = read_metric(name).find_metric("classification", LABELS)
    assert metric.compute(told, labels) == compute_metrics([name], told, labels)[name]
    assert metric.estimate(told, labels) == estimate_metric(name, told, labels)


def test_recall_alone_is_that_of_every_class_and_one_has_to_be_named_where_one_is_wanted() -> None:
    asked = read_metric("recall")
    assert [metric.name for metric in asked.list_metrics("classification", LABELS)] == ["recall:no", "recall:yes"]
    with pytest.raises(UsageError, match="name the class, recall:no"):
        asked.find_metric("classification", LABELS)
    assert read_metric("recall:YES").find_metric("classification", LABELS).name == "recall:yes"


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("recall:maybe", "classification", "Unknown class 'maybe'"),
        ("auroc", "regression", "auroc is a metric of classes"),
        ("recall", "regression", "recall is a metric of classes"),
        ("pearson", "classification", "pearson is a metric of values"),
    ],
)
def test_what_does_not_fit_a_task_is_said(name: str, kind: str, said: str) -> None:
    labels = LABELS if kind == "classification" else ()
    with pytest.raises(UsageError, match=said):
        read_metric(name).list_metrics(kind, labels)


def test_a_function_of_ones_own_is_asked_with_labels_and_logits(own: str) -> None:
    asked = read_metric(f"{own}:answer_right")
    metric = asked.find_metric("classification", LABELS)
    logits, labels = np.random.default_rng(0).normal(size=(80, 2)), np.arange(80) % 2
    expected = float((logits.argmax(axis=1) == labels).mean())
    assert (metric.compute(logits, labels), metric.reads, asked.is_loss) == (expected, "logits", False)
    found = metric.estimate(logits, labels)
    assert found.low < expected < found.high


def test_a_function_of_ones_own_cannot_change_what_it_is_given_and_may_say_that_it_is_a_loss(own: str) -> None:
    asked = read_metric(f"{own}:pay")
    logits, labels = np.ones((4, 2)), np.zeros(4, int)
    assert asked.find_metric("classification", LABELS).compute(logits, labels) == 3.0
    assert (logits.min(), labels.max(), asked.is_loss) == (1.0, 0, True)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("text", "it gives str, not a finite number"),
        ("nothing", "it gives .*nan.*, not a finite number"),
        ("both", "it gives ndarray, not a finite number"),
        ("fail", "failed: KeyError: 'cost' .own_metrics.py, line"),
        ("leave", "failed: SystemExit: 3 .own_metrics.py, line"),
    ],
)
def test_a_function_that_breaks_the_contract_is_named(name: str, said: str, own: str) -> None:
    metric = read_metric(f"{own}:{name}").find_metric("classification", LABELS)
    with pytest.raises(UsageError, match=said):
        metric.compute(np.ones((4, 2)), np.zeros(4, int))


def test_what_a_function_prints_stands_on_stderr(own: str, capsys: pytest.CaptureFixture[str]) -> None:
    metric = read_metric(f"{own}:talk").find_metric("classification", LABELS)
    assert metric.compute(np.ones((4, 2)), np.zeros(4, int)) == 1.0
    assert capsys.readouterr() == ("", "imported\nhow many: 4\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("own_metrics:missing", "has no function 'missing'"),
        ("own_metrics:number", "has no function 'number'"),
        ("no_such_module_here:cost", "Is its folder on PYTHONPATH"),
        ("broken_metrics:cost", "ZeroDivisionError"),
        (":cost", "is not module:function"),
        ("auroc,brier", "takes one metric, not 'auroc,brier'"),
        (".own:cost", "is not module:function"),
        ("auroch", "Did you mean 'auroc'"),
    ],
)
def test_what_is_no_metric_is_refused(text: str, said: str, own: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_metric(text)


def test_a_function_that_takes_no_resample_has_no_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "picky_metrics.py").write_text("def once(labels, logits):\n    return 1 / (len(set(labels)) == 60)\n")
    monkeypatch.syspath_prepend(tmp_path)
    metric = read_metric("picky_metrics:once").find_metric("classification", LABELS)
    logits, labels = np.zeros((60, 2)), np.arange(60)
    assert metric.compute(logits, labels) == 1.0
    with pytest.raises(UsageError, match="fails on every resample"):
        metric.estimate(logits, labels)

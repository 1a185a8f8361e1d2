"""Published settings, written down a second time from the papers' tables and released scripts."""

from __future__ import annotations

from typing import Any

import pytest

from strategies import STRATEGIES

ALBERT_TABLE_14 = {
    # task: learning rate, batch size, dropout of the model, steps, warm-up steps (Lan et al. 2020, appendix)
    "cola": (1e-5, 16, 0.0, 5336, 320),
    "stsb": (2e-5, 16, 0.0, 3598, 214),
    "sst2": (1e-5, 32, 0.0, 20935, 1256),
    "mnli": (3e-5, 128, 0.0, 10000, 1000),
    "qnli": (1e-5, 32, 0.0, 33112, 1986),
    "qqp": (5e-5, 128, 0.1, 14000, 1000),
    "rte": (3e-5, 32, 0.1, 800, 200),
    "mrpc": (2e-5, 32, 0.0, 800, 200),
    "wnli": (2e-5, 16, 0.1, 2000, 250),
}
SCRIPT: dict[str, Any] = {"lr": 2e-5, "batch_size": 8, "epochs": 3, "warmup": 0.0, "weight_decay": 0.0}
"""run_highway_glue of DeeBERT, from which the later scripts come."""
RELEASED: dict[str, dict[str, Any]] = {
    "deebert": SCRIPT,
    "romebert": SCRIPT,
    "learned-exit": SCRIPT,
    "patience": {**SCRIPT, "batch_size": 32, "epochs": 5},
    "fastbert": {**SCRIPT, "batch_size": 32, "warmup": 0.1, "clip": 1e9},
}
THRESHOLDS = {
    "deebert": 0.1,
    "divergence-patience": 0.01,
    "elbert-label": 0.1,
    "elbert-mono": 0.1,
    "elbert-range": 0.1,
    "energy": -2.0,
    "fastbert": 0.5,
    "learned-exit": 0.005,
    "margin": 0.2,
    "patience": 6,
    "prototypes": 0.4,
    "romebert": 0.15,
    "saturation": 0.05,
    "voting": 2.0,
}


def preset(strategy: str, task: str) -> dict[str, Any]:
    return dict(STRATEGIES.load(strategy).presets[task])


@pytest.mark.parametrize("strategy", ["elbert-mono", "elbert-range", "elbert-label"])
@pytest.mark.parametrize("task", ALBERT_TABLE_14)
def test_elberts_settings_are_alberts(task: str, strategy: str) -> None:
    lr, batch, dropout, steps, warmup = ALBERT_TABLE_14[task]
    assert preset(strategy, task) == {
        "window": 8, "train.lr": lr, "train.batch_size": batch, "train.steps": steps, "train.warmup_steps": warmup,
        "train.weight_decay": 0.0, "max_length": 512,
        "backbone.hidden_dropout_prob": dropout, "backbone.attention_probs_dropout_prob": dropout,
    }  # fmt: skip


@pytest.mark.parametrize("task", ["ag_news", "imdb"])
def test_elberts_own_tasks(task: str) -> None:
    assert preset("elbert-mono", task) == {"window": 8, "train.lr": 3e-5, "train.batch_size": 32}


@pytest.mark.parametrize("strategy", RELEASED)
def test_settings_of_released_scripts(strategy: str) -> None:
    found = preset(strategy, "*")
    assert {k.removeprefix("train."): v for k, v in found.items() if k.startswith("train.")} == RELEASED[strategy]
    assert found["max_length"] == 128


@pytest.mark.parametrize("strategy", THRESHOLDS)
def test_default_thresholds(strategy: str) -> None:
    assert STRATEGIES.load(strategy).criterion.default_threshold == THRESHOLDS[strategy]

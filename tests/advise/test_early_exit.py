"""The file that goes with an exported model: its criteria are those of ExitBench, and it needs nothing of ours."""

from __future__ import annotations

import ast
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bench.advise.export import early_exit
from bench.advise.export.packing import PACKED, STRATEGIES_PACKED, pack_criterion
from bench.errors import UsageError
from strategies import STRATEGIES
from strategies.base import Criterion, step_through
from strategies.head import MemoryHead

FILE = Path(early_exit.__file__)
ARGUMENTS: dict[str, dict[str, object]] = {
    "elbert-mono": {"window": 3},
    "elbert-range": {"window": 2, "range": 0.2, "margin": 0.05},
    "elbert-label": {"window": 3, "margin": 0.1},
}


def make_criterion(name: str) -> Criterion:
    return STRATEGIES.load(name).criterion(**ARGUMENTS.get(name, {}))


def make_logits(outputs: int) -> Tensor:
    """Logits of 300 samples at 6 exits that agree often enough for windows: some repeat, tie or saturate."""
    generator = torch.Generator().manual_seed(outputs)
    drift = torch.randn(300, 6, outputs, generator=generator).cumsum(1)
    scale = torch.tensor([0.1, 1.0, 10.0, 200.0]).repeat(75)[:, None, None]
    logits = (drift + 3 * torch.randn(300, 1, outputs, generator=generator)) * scale
    logits[::11] = logits[::11, :1]
    logits[::13, 2] = 0
    return logits


@pytest.mark.parametrize("outputs", [2, 3, 5])
@pytest.mark.parametrize("name", STRATEGIES_PACKED)
def test_scores_are_those_of_the_criterion(name: str, outputs: int) -> None:
    criterion, logits = make_criterion(name), make_logits(outputs)
    rule = pack_criterion(criterion, outputs, name)
    for row in range(len(logits)):
        expected = torch.stack([score for _, score in step_through(criterion, logits[row : row + 1])])[:-1, 0].tolist()
        past = [logits[row : row + 1, layer] for layer in range(5)]
        found = [early_exit.score_exit(rule, past[: layer + 1], 6) for layer in range(5)]
        assert found == expected


def test_patience_of_a_regression() -> None:
    criterion, logits = make_criterion("patience"), make_logits(1) / 20
    rule = pack_criterion(criterion, 1, "patience")
    expected = torch.stack([score for _, score in step_through(criterion, logits)], dim=1)
    past = [[one[None] for one in row] for row in logits]
    found = [[early_exit.score_exit(rule, row[: layer + 1], 6) for layer in range(6)] for row in past]
    assert torch.equal(torch.tensor(found), expected)
    assert len(expected.unique()) > 2


def test_a_window_longer_than_the_model_never_fires() -> None:
    rule = pack_criterion(STRATEGIES.load("elbert-label").criterion(window=7), 2, "elbert-label")
    same = [torch.tensor([[1.0, 2.0]])] * 6
    assert early_exit.score_exit(rule, same, 6) > -math.inf


PACKABLE = [name for name in STRATEGIES.builtin if STRATEGIES.load(name).criterion in PACKED]


def test_the_names_are_those_of_strategies_whose_criterion_and_head_are_packed() -> None:
    assert {STRATEGIES.load(name).criterion for name in STRATEGIES_PACKED} == set(PACKED)
    # a head with a memory of its own is refused for itself, whoever decides
    assert [n for n in PACKABLE if not issubclass(STRATEGIES.load(n).head, MemoryHead)] == list(STRATEGIES_PACKED)


@pytest.mark.parametrize("name", sorted(set(STRATEGIES.builtin) - set(PACKABLE)))
def test_other_criteria_are_refused_with_the_list(name: str) -> None:
    arguments = {"of": "entropy"} if name in ("budget", "temperature") else {}
    with pytest.raises(UsageError, match=f"'{name}' cannot be exported. These can: deebert, .*, romebert"):
        pack_criterion(STRATEGIES.load(name).criterion(**arguments), 2, name)


def test_other_first_stages_are_refused() -> None:
    with pytest.raises(UsageError, match="only first=entropy"):
        pack_criterion(STRATEGIES.load("elbert-mono").criterion(first="none"), 2, "elbert-mono")


def test_it_is_short_and_needs_torch_and_transformers_only() -> None:
    text = FILE.read_text(encoding="utf-8")
    assert text.count("\n") <= 150
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {node.module if isinstance(node, ast.ImportFrom) else node.names[0].name for node in imports}
    known = {"torch", "transformers", "safetensors", "json", "math", "sys", "time", "pathlib", "threading", "typing"}
    assert {str(name).partition(".")[0] for name in names} <= {*known, "collections"}

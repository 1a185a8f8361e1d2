"""The gate and other people's strategies: what is installed turns nothing red, and its author can gate it himself."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.cli.process import main
from bench.errors import OK, REGRESSION, USAGE
from strategies import STRATEGIES

CODE = '''
from strategies.base import Criterion, Strategy
from strategies.entropy import JointRecipe, LinearHead


class SmallMargin(Criterion):
    """1 - (p1 - p2) < threshold."""

    def step(self, state, seen):
        best = seen.logits.softmax(dim=-1).topk(2, dim=-1).values
        return state, 1 - (best[:, 0] - best[:, 1])


class Margin(Strategy):
    """Leave when the two most probable classes are far apart."""

    name = "plugged"
    head, recipe, criterion = LinearHead, JointRecipe, SmallMargin


class Other(Margin):
    """Another of the same package."""
'''
GATE = ["gate", "--json", "--quiet"]


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the import path with a module and, as an installed package has them, its entry points."""
    folder = tmp_path / "installed"
    info = folder / "plugged-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "plugged.py").write_text(CODE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[exitbench.strategies]\nplugged = plugged:Margin\nbroken = nowhere:None\n")
    monkeypatch.syspath_prepend(str(folder))
    importlib.invalidate_caches()
    yield folder
    sys.modules.pop("plugged", None)


def rows_of(capsys: pytest.CaptureFixture[str]) -> dict[tuple[str, str], str]:
    return {(row["cell"], row["metric"]): row["verdict"] for row in json.loads(capsys.readouterr().out)["rows"]}


@pytest.mark.slow
def test_an_installed_plug_in_does_not_turn_the_gate_red(plugin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "plugged" in STRATEGIES
    assert main([*GATE, "--rules-only"]) == OK
    rows = rows_of(capsys)
    assert set(rows.values()) == {"same"}
    assert not [cell for cell, _ in rows if "plugged" in cell or "broken" in cell]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plugged", "plugged:Margin"])
def test_its_author_gates_it_against_a_baseline_of_his_own(
    name: str, plugin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = ["--strategy", name, "--baseline", str(tmp_path / "mine")]
    assert main([*GATE, *own, "--accept"]) == OK
    capsys.readouterr()
    assert main([*GATE, *own]) == OK
    rows = rows_of(capsys)
    assert set(rows.values()) == {"same"}
    cells = {cell for cell, metric in rows if metric == "logits"}
    assert cells == {f"{name} | {family}-demo" for family in ("albert", "bert", "roberta")}
    # his rule is off by a factor, and the gate says so without training
    monkey = sys.modules["plugged"]
    step = monkey.SmallMargin.step
    monkey.SmallMargin.step = lambda self, state, seen: (state, 1.1 * step(self, state, seen)[1])
    assert main([*GATE, *own, "--rules-only"]) == REGRESSION
    rows = rows_of(capsys)
    assert rows[name, "rule on the probe"] == "worse"
    assert rows[f"{name} | bert-demo", "exits on stored logits"] == "worse"
    # what the baseline does not know is not comparable, and it is not lost for another's sake
    assert main([*GATE, "--rules-only", "--strategy", f"{name},plugged:Other", *own[2:]]) == REGRESSION
    assert rows_of(capsys)["plugged:Other | bert-demo", "cell"] == "not comparable"
    assert main([*GATE, "--accept", "--strategy", "plugged:Other", *own[2:]]) == USAGE
    assert f"would lose {name}" in capsys.readouterr().err


def test_a_strategy_that_cannot_be_loaded_is_one_line(plugin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("broken", "entropi", "os:abort", "plugged:SmallMargin", ","):
        assert main([*GATE, "--rules-only", "--strategy", name]) == USAGE
        assert len(capsys.readouterr().err.strip().splitlines()) == 1


@pytest.mark.slow
def test_one_of_ours_is_gated_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*GATE, "--rules-only", "--strategy", "entropy"]) == OK
    assert {cell.partition(" |")[0] for cell, _ in rows_of(capsys)} == {"entropy"}

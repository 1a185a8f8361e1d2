"""`bench criteria`: criteria on the same checkpoint are paired, others are kept apart, orders and zeros are right."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.cli.process import main
from bench.inference.replay import make_evidence
from bench.measure.curve import exact_curve, exit_layers
from bench.results.store import Store
from strategies.entropy import normalised_entropy
from tests.helpers.latex import find_latex_faults
from tests.helpers.small_runs import TINY, write_task

SEEDS = "0,1"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four criteria on one training with two seeds, and one run of another recipe."""
    home = tmp_path_factory.mktemp("criteria")
    task = write_task(home / "reviews", validation=60)
    common = ["--task", str(task), "--backbone", "bert-demo", *TINY, "--results-dir", str(home / "results")]
    one = ["--recipe", "joint", "--head", "linear", "--seed", SEEDS]
    assert main(["run", "--strategy", "entropy,deebert,random,saturation", *one, *common]) == 0
    assert main(["run", "--strategy", "patience", *common]) == 0
    return home / "results"


def tables(results: Path, capsys: pytest.CaptureFixture[str], *more: str) -> Any:
    capsys.readouterr()
    assert main(["criteria", "--results-dir", str(results), "--json", *more]) == 0
    return json.loads(capsys.readouterr().out)


def test_one_table_a_checkpoint(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [table] = tables(results, capsys)
    rows = {row["criterion"]: row for row in table["rows"]}
    assert set(rows) == {"entropy", "deebert", "random", "saturation"}  # patience was trained in another way
    assert all(row["seeds"] == [0, 1] for row in rows.values())
    for same in ("entropy", "deebert"):  # entropy in nats orders the samples as normalised entropy does
        for column in ("half_difference", "curve"):
            assert rows[same][column]["estimate"] == pytest.approx(0, abs=1e-12)
            assert rows[same][column]["low"] == rows[same][column]["high"]
    assert rows["saturation"]["least_layers"] == 2.0  # exit 1 has no exit before it
    assert rows["saturation"]["half"] is None  # half of three layers is less than that
    assert rows["random"]["curve"]["low"] <= rows["random"]["curve"]["estimate"] <= rows["random"]["curve"]["high"]


def test_the_figure_at_half_the_layers_is_the_curves(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [table] = tables(results, capsys)
    [entropy] = [row for row in table["rows"] if row["criterion"] == "entropy"]
    found = []
    for run in Store(results).runs()[0]:
        if run.strategy != "entropy":
            continue
        exits = run.exits("validation")
        scores = np.stack([normalised_entropy(z) for z in make_evidence(exits).logits.unbind(1)], axis=1)
        cuts = exact_curve(scores, []).midpoints
        layers = [exit_layers(scores, cut) for cut in cuts]
        spent = next(chosen for chosen in layers if chosen.mean() <= 1.5)  # cuts go from tight to loose
        found.append((exits.predictions[np.arange(len(spent)), spent - 1] == exits.labels).mean())
    assert entropy["half"]["estimate"] == pytest.approx(np.mean(found))


def test_rows_go_from_the_best_curve_down_and_markdown_says_it(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [table] = tables(results, capsys, "--against", "random", "--markdown", str(tmp_path / "criteria.md"))
    differences = [row["curve"]["estimate"] for row in table["rows"]]
    assert differences == sorted(differences, reverse=True)
    text = (tmp_path / "criteria.md").read_text(encoding="utf-8")
    assert "against random" in text
    assert text.count("\n| ") == 2 + len(differences)  # the header and its rule come first


def test_nothing_to_compare_is_exit_code_4(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["criteria", "--results-dir", str(results), "--against", "voting"]) == 4
    assert "'voting' among them: run several strategies with the same --recipe and --head" in capsys.readouterr().err
    assert main(["criteria", "--results-dir", str(tmp_path)]) == 4


# ---------------------------------------------------------------- ranked, with a rule of one's own


def test_a_rule_of_ones_own_is_ranked_without_training(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_rules.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    found = tables(results, capsys, "--add", "my_rules:Sure", "--oracle", "--latex", str(tmp_path / "ranks.tex"))
    assert [one["task"] for one in found["checkpoints"]] == [found["checkpoints"][0]["task"]] * 2
    rows = {row["criterion"]: row for row in found["criteria"]}
    assert rows["my_rules:Sure"]["added"]
    assert not any(row["added"] for name, row in rows.items() if name != "my_rules:Sure")
    for title, value in rows["entropy"]["quality"].items():  # of two classes the same order but where 1 - p ties
        assert rows["my_rules:Sure"]["quality"][title] == pytest.approx(value, abs=0.05)
    assert len(rows["saturation"]["quality"]) == 1  # of the training that kept its observations
    assert rows["saturation"]["rank"] is None
    for name, row in rows.items():
        assert row["headroom"] >= 0
        assert {pair["verdict"] for pair in row["pairs"]} <= {"better", "level", "worse"}
        assert (row["pairs"] == []) == (name == "my_rules:Sure")
    assert len(found["lessons"]) == 5
    assert all("entropy" in one and re.search(r"\d", one) for one in found["lessons"])
    text = (tmp_path / "ranks.tex").read_text()
    assert text.count(r"\begin{tabular}") == 1
    assert find_latex_faults(text) == []
    assert "my\\_rules:Sure" in text


OWN = '''
from strategies.base import Criterion, Strategy
from strategies.entropy import JointRecipe, LinearHead


class Unsure(Criterion):
    """1 - p of the most probable class."""

    def step(self, state, seen):
        return state, 1 - seen.logits.softmax(dim=-1).amax(dim=-1)


class Sure(Strategy):
    """Leave when sure."""

    name = "sure"
    head, recipe, criterion = LinearHead, JointRecipe, Unsure
    equations = ("p > 1 - t",)
'''


@pytest.mark.parametrize(("name", "said"), [("oracle-correct", "nothing to rank"), ("full", "nothing to rank")])
def test_what_has_no_rank_is_refused(name: str, said: str, results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["criteria", "--results-dir", str(results), "--add", name]) == 2
    assert said in capsys.readouterr().err

"""Runs of a criterion that is fitted: what it was fitted on, what its points were chosen on, and that both are found
again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.cli.process import main
from bench.measure.held_out import share_held_out
from bench.measure.rules import Rule
from bench.measure.trade_off import Costs, TradeOff
from bench.results.run import Run
from tests.helpers.small_runs import TINY, ask_cell, run_json, write_task

ASKED = ["--select", "risk=0.4@0.6", "--select", "risk=0.01"]


@pytest.mark.parametrize("strategy", ["temperature", "budget"])
def test_a_fitted_criterion_is_fitted_on_other_samples_than_its_points_are_chosen_on(
    strategy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = write_task(tmp_path / "task", train=400)
    command = [*ask_cell(strategy, task, tmp_path / "results"), "--seed", "1"]
    [made] = run_json(capsys, *command, *ASKED, *TINY)
    run = Run.load(Path(made["folder"]))
    held_out = run.exits(run.record.task.select)
    shares = share_held_out(held_out, seed=1)
    fit, choose = len(shares.fit.ids), len(shares.choose.ids)
    assert made["record"]["criterion"]["held_out"] == {"fitted_on": fit, "chosen_on": choose, "apart": True}
    assert run.chosen_on == choose
    assert run.fitting_exits().ids == shares.fit.ids
    # what the record says of its points is what the other half of the samples chooses
    select = TradeOff(run.criterion, shares.choose, Costs.layers(choose, run.layers), run.record.task.metrics)
    again = select.choose(Rule.parse("risk=0.4@0.6"))
    assert again.cut == run.cut_of("risk=0.4@0.6")  # type: ignore[union-attr]
    for rule, point in run.result().reached.items():
        layers = run.layers_at(rule)
        assert np.bincount(layers, minlength=run.layers + 1)[1:].tolist() == list(point.exit_counts)
    assert main(["show", made["folder"]]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"Thresholds chosen on {choose} samples held out of train" in said
    assert f"The criterion itself was fitted on {fit} other held-out samples." in said
    assert f"risk=0.01 cannot be certified with {choose} held-out samples: 99 are needed at least." in said


def test_too_few_held_out_samples_serve_both_and_certify_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = write_task(tmp_path / "task")
    command = ask_cell("temperature", task, tmp_path / "results")
    [made] = run_json(capsys, *command, *ASKED, *TINY)
    count = made["record"]["task"]["rows"]["select"]["used"]
    assert count < 32
    assert made["record"]["criterion"]["held_out"] == {"fitted_on": count, "chosen_on": count, "apart": False}
    run = Run.load(Path(made["folder"]))
    assert len(run.fitting_exits().ids) == count
    reason = (
        f"risk=0.4@0.6 cannot be certified: the criterion is fitted on the same {count} held-out samples, with fewer "
        "than 32 to share out."
    )
    assert run.result().unreached["risk=0.4@0.6"].reason == reason


def test_what_is_asked_of_a_criterion_with_one_way_to_leave_is_answered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is to be chosen, so that the standard points are left out; one that was asked for is not."""
    task = write_task(tmp_path / "task")
    command = ask_cell("full", task, tmp_path / "results")
    [made] = run_json(capsys, *command, *ASKED, *TINY)
    points = {point["rule"]: point for point in made["record"]["evaluation"]["validation"]["points"]}
    assert list(points) == ["risk=0.4@0.6", "risk=0.01"]
    assert points["risk=0.4@0.6"]["cut"] is None or points["risk=0.4@0.6"]["exit_counts"][-1] == 24
    assert "99 are needed" in points["risk=0.01"]["reason"]

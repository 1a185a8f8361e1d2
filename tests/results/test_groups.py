"""Seeds are averaged with their intervals, rows are told apart by what they differ in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.errors import UsageError
from bench.measure.seeds import summarise_seeds
from bench.results.groups import average_quality, group_seeds
from bench.results.matched import group_series, label_rows, match_runs, name_point
from bench.results.run import Run
from bench.results.store import Store
from tests.helpers.compare_records import Made, changed, logits

SEEDS = {seed: changed(logits(), share, seed) for seed, share in ((0, 0.0), (1, 0.1), (2, 0.05))}


def runs_of(root: Path, *cells: Made) -> list[Run]:
    for made in cells:
        made.write(root)
    runs, left_out = Store(root).runs()
    assert left_out == []
    return runs


def test_seeds_with_stored_logits_have_the_intervals_of_both_bootstraps(tmp_path: Path) -> None:
    runs = runs_of(tmp_path, *(Made(seed=seed, exits=exits) for seed, exits in SEEDS.items()))
    [group] = group_seeds(runs)
    assert [run.seed for run in group] == [0, 1, 2]
    right = np.stack([e.predictions[:, -1] == e.labels for e in SEEDS.values()]).astype(float)
    expected = summarise_seeds(right[:, :, None], lambda sums: sums[:, 0] / right.shape[1])
    found = average_quality(group, "evaluation")
    assert found.value == pytest.approx(right.mean())
    assert (found.low, found.high) == pytest.approx((expected.samples.low, expected.samples.high))
    assert expected.both is not None
    assert found.both == pytest.approx((expected.both.low, expected.both.high))
    rates = right.mean(axis=1)
    assert (found.seeds, found.std) == (3, pytest.approx(rates.std(ddof=1)))
    assert (found.lowest, found.highest) == pytest.approx((rates.min(), rates.max()))


def test_at_a_point_seeds_are_pooled_where_their_samples_leave(tmp_path: Path) -> None:
    runs = runs_of(tmp_path, *(Made(seed=seed, exits=exits) for seed, exits in SEEDS.items()))
    found = average_quality(runs, "evaluation", "2x")
    right = []
    for run, exits in zip(runs, SEEDS.values(), strict=True):
        layers = run.trade_off().layers_at(run.cut_of("2x"))
        right.append(exits.predictions[np.arange(len(layers)), layers - 1] == exits.labels)
    assert found.value == pytest.approx(np.mean(right))
    assert found.both is not None
    assert found.both[0] < found.low < found.value < found.high < found.both[1]


@pytest.mark.parametrize("why", ["logits", "samples"])
def test_otherwise_intervals_are_averaged_and_none_is_over_both(why: str, tmp_path: Path) -> None:
    """One seed without its logits, or with other samples."""
    cells = [Made(seed=seed, exits=exits) for seed, exits in SEEDS.items()]
    if why == "logits":
        cells[1] = replace(cells[1], with_samples=False)
    else:
        cells[1] = replace(cells[1], exits=replace(SEEDS[1], ids=tuple(f"t{i}" for i in SEEDS[1].ids)))
    runs = runs_of(tmp_path, *cells)
    found = average_quality(runs, "evaluation")
    each = [run.result().full.metrics["accuracy"] for run in runs]
    assert found.both is None
    assert found.low == pytest.approx(np.mean([e.low for e in each]))
    assert found.high == pytest.approx(np.mean([e.high for e in each]))
    assert found.to_plain().keys() == {"value", "low", "high", "seeds", "std", "lowest", "highest"}


def test_one_seed_shows_no_spread(tmp_path: Path) -> None:
    runs = runs_of(tmp_path, Made())
    assert average_quality(runs, "evaluation").to_plain().keys() == {"value", "low", "high"}


def test_matched_rows_are_averages_over_seeds(tmp_path: Path) -> None:
    runs = runs_of(tmp_path, *(Made(seed=seed, exits=exits) for seed, exits in SEEDS.items()), Made("patience"))
    series = match_runs(runs, ["2x", "9x"])
    rows = [one.row for one in series]
    assert [(row["strategy"], row["seeds"]) for row in rows] == [("entropy", [0, 1, 2]), ("patience", [0])]
    entropy = rows[0]
    three = [run for run in runs if run.strategy == "entropy"]
    for rule, figure in (("2x", entropy["2x"]), (None, entropy["all layers"])):
        points = [run.result().full if rule is None else run.result().reached[rule] for run in three]
        assert figure["value"] == pytest.approx(np.mean([p.metrics["accuracy"].value for p in points]))
        assert figure["cost_speedup"] == pytest.approx(np.mean([p.cost_speedup.value for p in points]))
        assert figure["both"][0] < figure["value"] < figure["both"][1]
    assert entropy["9x"] is None
    said = (entropy["metric"], entropy["samples"], entropy["layers"], entropy["arguments"], entropy["upper_bound"])
    assert said == ("accuracy", 400, 6, "", False)
    [(name, group)] = group_series(series).items()
    assert name == "demo | albert-demo, scratch, 6 layers | accuracy, n = 400/400, trained on 400/400"
    assert group == series
    assert [[run.seed for run in one.runs] for one in series] == [[0, 1, 2], [0]]


def test_rows_of_one_name_are_told_apart_by_what_differs(tmp_path: Path) -> None:
    for folder, rate in (("a", 5e-4), ("b", 1e-3)):
        Made(extra_spec={"train": {"lr": rate}}).write(tmp_path / "demo" / folder)
    runs = [run for folder in ("a", "b") for run in Store(tmp_path / "demo" / folder).runs()[0]]
    assert [one.row["arguments"] for one in match_runs(runs, [])] == ["train.lr=0.0005", "train.lr=0.001"]


def test_names_of_points() -> None:
    assert [name_point(n) for n in ("speedup=2", "2x", "max_loss=0", "default", "0.25")] == [
        "2x", "2x", "no-loss", "default", "0.25",
    ]  # fmt: skip
    assert [name_point(n) for n in ("-1", "threshold=-1.0", "threshold=0.3")] == ["-1", "threshold=-1", "0.3"]
    with pytest.raises(UsageError, match="Unknown operating point 'threshold=low'"):
        name_point("threshold=low")


@pytest.mark.parametrize(
    ("rows", "labels"),
    [
        ([("a", "joint", "x=1"), ("b", "joint", "")], ["a", "b"]),
        ([("a", "joint", "x=1"), ("a", "elbert", "x=1")], ["a (joint / linear)", "a (elbert / linear)"]),
        ([("a", "joint", "x=1, y=[3, 6]"), ("a", "joint", "x=2, y=[3, 6]")], ["a (x=1)", "a (x=2)"]),
        (
            [("a", "joint", "x=1"), ("a", "joint", "x=2"), ("a", "elbert", "x=1, #3f2a91")],
            ["a (joint / linear, x=1)", "a (joint / linear, x=2)", "a (elbert / linear)"],
        ),
        ([("a", "joint", "#11"), ("a", "joint", "#22")], ["a (#11)", "a (#22)"]),
    ],
)
def test_rows_are_called_by_their_strategy_and_what_tells_them_apart(
    rows: list[tuple[str, str, str]], labels: list[str]
) -> None:
    made = [{"strategy": s, "recipe": recipe, "head": "linear", "arguments": more} for s, recipe, more in rows]
    assert label_rows(made) == labels

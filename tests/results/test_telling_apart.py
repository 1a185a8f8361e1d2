"""What tells runs apart is said by one rule: in tables, criteria, comparisons and histories."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.cli.process import main
from bench.compare.output import make_tracker
from bench.compare.pairing import pair_runs
from bench.report.series import make_panels
from bench.results.groups import label_runs, pick_telling, shorten_digests, tell_apart
from bench.results.run import Run
from bench.results.store import Only, Store
from tests.helpers.report_store import edit_cell, make_cell

A, B = "520dfd52a0dfcd8a", "88382993fed1e27b"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([f"sha256-{A}", f"sha256-{B}"], ["520dfd52", "88382993"]),
        ([A, A], ["520dfd52", "520dfd52"]),
        ([f"sha256-{A}", f"sha256-{A[:-1]}b"], [A, f"{A[:-1]}b"]),  # as many digits as it takes
        ([A, f"{A[:9]}f000000"], [A[:10], f"{A[:9]}f"]),
        (["v1", None, 32, "sha256-1"], ["v1", "none", "32", "sha256-1"]),
    ],
)
def test_digests_are_as_short_as_tells_them_apart(values: list[object], expected: list[str]) -> None:
    assert shorten_digests(values) == expected


@given(st.lists(st.text("0123456789abcdef", min_size=12, max_size=20), min_size=1, max_size=6))
def test_different_digests_stay_different(digests: list[str]) -> None:
    texts = shorten_digests(digests)
    assert all(digest.startswith(text) and len(text) >= 8 for digest, text in zip(digests, texts, strict=True))
    longest = max(map(len, texts))
    assert len({*texts}) == len({digest[:longest] for digest in digests}) == len({*digests})


def test_settings_are_said_where_they_are() -> None:
    settings = [{"data": f"sha256-{A}", "window": 4}, {"data": f"sha256-{B}"}]
    assert tell_apart(["same", "same"], settings) == [["data=520dfd52", "window=4"], ["data=88382993"]]
    assert tell_apart(["same", "same"], settings, ["data"]) == [["window=4"], []]
    assert tell_apart(["one", "other"], settings) == [[], []]


@pytest.mark.parametrize(
    ("one", "other", "telling"),
    [
        ({"recipe": "joint", "head": "linear"}, {"recipe": "joint", "head": "pooler"}, ["head"]),
        ({"recipe": "joint", "head": "linear"}, {"recipe": "fastbert", "head": "student"}, ["recipe"]),
        ({"recipe": "a", "head": "linear"}, {"recipe": "a", "head": "mlp", "head.width": 8}, ["head"]),
        (
            {"recipe": "a", "head": "mlp", "head.width": 4},
            {"recipe": "a", "head": "mlp", "head.width": 8},
            ["head.width"],
        ),
        ({"recipe": "a", "recipe.rate": 1}, {"recipe": "b", "recipe.rate": 2}, ["recipe"]),
        ({"recipe": "a", "recipe.rate": 1}, {"recipe": "a", "recipe.rate": 2}, ["recipe.rate"]),
    ],
)
def test_what_follows_from_recipe_or_head_tells_nothing_more(
    one: dict[str, Any], other: dict[str, Any], telling: list[str]
) -> None:
    assert pick_telling([one, other]) == telling


def table(root: Path, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    assert main(["table", "--results-dir", str(root), "--json"]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def test_other_data_lengths_and_trainings_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_cell(tmp_path, "entropy", revision=f"sha256-{A}")
    make_cell(tmp_path, "entropy", revision=f"sha256-{B}")
    make_cell(tmp_path, "entropy", revision=f"sha256-{A}", spec={"train": {"lr": 1e-3}, "max_length": 32})
    rows = table(tmp_path, capsys)
    assert [(row["panel"], row["arguments"]) for row in rows] == [
        ("data=520dfd52, max_length=32", "train.epochs=3.0, train.lr=0.001"),
        ("data=520dfd52, max_length=48", "train.epochs=5.0, train.lr=2e-05"),
        ("data=88382993, max_length=48", "train.epochs=5.0, train.lr=2e-05"),
    ]
    names = ("data", "max_length", "train.lr")
    assert [[row["settings"][name] for name in names] for row in rows] == [
        [f"sha256-{A}", 32, 1e-3],
        [f"sha256-{A}", 48, 2e-5],
        [f"sha256-{B}", 48, 2e-5],
    ]
    assert main(["table", "--results-dir", str(tmp_path)]) == 0
    assert "demo | albert-demo, scratch, 6 layers | data=520dfd52, max_length=32 |" in capsys.readouterr().out


def spelled(root: Path, path: str, weights: str, strategy: str = "entropy", seed: int = 0) -> Path:
    """A cell on a folder of a backbone that was typed as ``path``."""
    place = f"demo/bert/{strategy}-{seed}"
    folder = make_cell(root, strategy, backbone=path, seed=seed, spec={"init": "pretrained"}, place=place)

    def edit(record: dict[str, Any]) -> None:
        record["identity"]["backbone"] |= {"name": "tiny-bert", "digest": weights}
        record["backbone"] |= {"digest": weights, "revision": weights[:16], "source": "folder:tiny-bert"}

    edit_cell(folder, edit)
    return folder


def test_a_folder_is_one_however_it_is_spelled_and_two_of_one_name_are_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, path in enumerate(("../tiny-bert", "/home/me/tiny-bert/", "./x/../tiny-bert")):
        spelled(tmp_path, path, A * 4, seed=seed)
    [row] = table(tmp_path, capsys)
    assert (row["model"], row["seeds"]) == ("tiny-bert, pretrained, 6 layers", [0, 1, 2])
    runs = Store(tmp_path).runs()[0]
    assert [panel.title for panel in make_panels(runs)] == ["demo · tiny-bert"]
    assert {run.label.rpartition(" seed ")[0] for run in runs} == {"entropy | tiny-bert shared+elbert | demo |"}

    other = spelled(tmp_path, "../other/tiny-bert", B * 4, seed=3)
    assert [row["panel"] for row in table(tmp_path, capsys)] == ["weights=520dfd52", "weights=88382993"]
    assert [panel.title for panel in make_panels(Store(tmp_path).runs()[0])] == [
        "demo · tiny-bert · weights=520dfd52",
        "demo · tiny-bert · weights=88382993",
    ]
    for name in ("tiny-bert", "../other/tiny-bert"):
        assert Only.named(None, name).has(Run.load(other))
    assert not Only.named(None, "other").has(Run.load(other))


def test_cells_of_comparisons_that_differ_are_called_differently(tmp_path: Path) -> None:
    for window in (4, 8):
        make_cell(tmp_path, criterion={"window": window})
    make_cell(tmp_path, "entropy")
    runs = Store(tmp_path).runs()[0]
    labels = label_runs(runs)
    assert list(labels) == runs
    plain = "albert-demo shared+elbert | demo | seed 0"
    expected = {f"elbert-mono | {plain} | criterion_args.window={w}" for w in (4, 8)} | {f"entropy | {plain}"}
    assert {*labels.values()} == expected
    assert {pair.label for pair in pair_runs(runs, runs).pairs} == expected
    names = [entry["name"] for entry in make_tracker(runs, bigger=True)]
    assert len(names) == len({*names})


def test_a_comparison_pairs_a_folder_with_itself_however_it_is_spelled(tmp_path: Path) -> None:
    spelled(tmp_path / "a", "../tiny-bert", A * 4)
    spelled(tmp_path / "b", "/home/me/tiny-bert", A * 4)
    found = pair_runs(*(Store(tmp_path / name).runs()[0] for name in "ab"))
    assert [(pair.forbidden, found.missing, found.new) for pair in found.pairs] == [([], [], [])]


def test_tables_of_criteria_on_other_trainings_have_other_titles(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for lr in (1e-3, 2e-3):
        for name in ("entropy", "margin", "energy"):
            make_cell(tmp_path, name, spec={"train": {"lr": lr}}, checkpoint=f"c{lr}")
    assert main(["criteria", "--results-dir", str(tmp_path), "--json"]) == 0
    tables = json.loads(capsys.readouterr().out)
    assert {one["title"].rpartition(" | ")[2] for one in tables} == {"train.lr=0.001", "train.lr=0.002"}
    assert {one["settings"]["train.lr"] for one in tables} == {0.001, 0.002}

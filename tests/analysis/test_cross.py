"""Two runs on the same samples: counted against plain loops; other samples, labels and tasks; every view, escaped."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from bench.analysis.cross import KINDS, Crossing, cross_runs
from bench.cli.process import main
from bench.errors import NothingComparable, UserError
from bench.report.overview.cross_view import print_crossing, render_crossing
from bench.results.run import Run
from tests.helpers.pages import HOSTILE, Reader
from tests.helpers.report_store import make_cell, record_exits


def make_pair(root: Path, **second: object) -> tuple[Run, Run]:
    """Two runs of other strategies; the second one's labels are the first one's unless its samples are others."""
    folders = [make_cell(root, samples=60), make_cell(root, "entropy", samples=60, **second)]  # type: ignore[arg-type]
    return Run.load(folders[0]), Run.load(folders[1])


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Run, Run]:
    """Two runs that answered the same 60 samples."""
    monkeypatch.setattr("tests.helpers.report_store.np.random.default_rng", lambda seed: Fixed(seed))
    return make_pair(tmp_path)


class Fixed:
    """Random numbers whose labels are the same for every seed."""

    def __init__(self, seed: int) -> None:
        self.labels, self.others = np.random.Generator(np.random.PCG64(1)), np.random.Generator(np.random.PCG64(seed))

    def integers(self, *given: int) -> np.ndarray:
        return self.labels.integers(*given)

    def normal(self, size: tuple[int, ...]) -> np.ndarray:
        return self.others.normal(size=size)


def test_counts_are_those_of_a_plain_loop(pair: tuple[Run, Run]) -> None:
    found = cross_runs(*pair, "2x")
    counts = dict.fromkeys(KINDS, 0)
    for i in range(60):
        right = []
        for run in pair:
            exits, layer = run.exits(), int(run.layers_at("2x")[i])
            right.append(int(exits.logits[i, layer - 1].argmax()) == int(exits.labels[i]))
        counts[KINDS[{(1, 0): 0, (0, 1): 1, (1, 1): 2, (0, 0): 3}[int(right[0]), int(right[1])]]] += 1
    assert dict(zip(KINDS, found.counts, strict=True)) == counts
    assert found.counts[0] > 0 < found.counts[1]
    rows = list(found.list_rows(0))
    assert len(rows) == found.counts[0]
    assert [row["second"]["sure"] for row in rows] == sorted((row["second"]["sure"] for row in rows), reverse=True)
    assert all(row["first"]["answer"] == row["label"] != row["second"]["answer"] for row in rows)
    swapped = cross_runs(*pair[::-1], "2x")
    assert swapped.counts == [found.counts[k] for k in (1, 0, 2, 3)]
    assert swapped.p == found.p
    assert "same 60 samples" in found.describe_samples()


def test_a_run_without_points_answers_with_all_layers(pair: tuple[Run, Run], tmp_path: Path) -> None:
    full = Run.load(make_cell(tmp_path, "full", early=False, samples=60))
    found = cross_runs(full, pair[0], "2x")
    assert found.first.rule is None
    assert found.first.layers.tolist() == [full.layers] * 60


def test_what_only_one_has_is_left_out_and_said(pair: tuple[Run, Run], tmp_path: Path) -> None:
    fewer = Run.load(make_cell(tmp_path / "more", samples=60, ids=[f"s{i + 5}" for i in range(60)]))
    with pytest.raises(NothingComparable, match="another label"):
        cross_runs(pair[0], fewer, "2x")  # the same ids, moved: other labels
    other = Run.load(make_cell(tmp_path / "other", samples=60, ids=[f"s{i}" if i < 50 else f"x{i}" for i in range(60)]))
    found = cross_runs(pair[0], other, "2x")
    assert found.left_out == (10, 10)
    assert len(found.first.ids) == 50
    assert "Not the same samples: paired on the 50" in found.describe_samples()


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"task": "rte"}, "is of demo, .* of rte"),
        ({"labels": ("a", "b")}, "other classes"),
        ({"ids": [f"y{i}" for i in range(60)]}, "no sample in common"),
        ({"exits": False}, "has no stored exits"),
    ],
)
def test_what_cannot_be_paired(tmp_path: Path, second: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        cross_runs(*make_pair(tmp_path, **second), "2x")


def test_hostile_texts_stay_texts(pair: tuple[Run, Run]) -> None:
    found: Crossing = cross_runs(*pair, None)
    texts = {name: list(HOSTILE.values())[i % len(HOSTILE)] for i, name in enumerate(found.first.ids)}
    reader = Reader()
    reader.feed(render_crossing(found, texts))
    assert not {"script", "img"} & set(reader.tags)
    assert not [name for name, _ in reader.attributes if name.startswith("on")]
    assert "alert(1)" in "".join(reader.text)
    said = io.StringIO()
    print_crossing(found, {}, Console(width=80, file=said), most=3)
    assert "samples only by the first" in said.getvalue()
    assert len(said.getvalue().splitlines()) < 40


def test_the_command_prints_writes_and_refuses(
    pair: tuple[Run, Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for run in pair:
        record_exits(run.folder)
    names = [str(run.folder) for run in pair]
    asked = ["explain", names[0], "--against", names[1], "--point", "2x"]
    assert main([*asked, "--json", "--out", str(tmp_path / "page.html")]) == 0
    said, err = capsys.readouterr()
    plain = json.loads(said)
    assert plain["counts"] == dict(zip(KINDS, cross_runs(*map(Run.load, map(Path, names)), "2x").counts, strict=True))
    assert len(plain["differ"]) == sum(list(plain["counts"].values())[:2])
    assert plain["same_samples"] is True
    assert "Texts are left out" in err
    assert "the same 60 samples" in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert main([*asked, "--cases"]) == 2
    assert main([*asked, "--png", str(tmp_path / "a.png")]) == 2
    assert main(["explain", names[0], "--against", names[1], "--point", "9x"]) == 2
    assert "no operating point '9x'" in capsys.readouterr().err

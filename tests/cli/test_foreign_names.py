"""Records by somebody else: what they name is looked up, never imported or called, unless the reader trusts them."""

from __future__ import annotations

import json
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.cli.process import main
from bench.errors import USAGE
from bench.results.run import Run
from bench.tasks import get_task
from bench.tasks.base import LoadOptions
from tests.helpers.compare_records import Made, logits
from tests.helpers.report_store import make_cell, record_exits

STRANGER = """
from pathlib import Path

from strategies.entropy import Entropy

(Path(__file__).parent / "ran").touch()

class Own(Entropy):
    name = "own"
"""
TARGETS = ("stranger:Own", "os:abort", "http.server:test")
PLACES = ("strategy", "task", "head", "recipe", "of")
READERS = {
    "show": ("show", "last"),
    "list": ("list", "runs"),
    "table": ("table",),
    "criteria": ("criteria", "--against", "patience"),
    "report": ("report", "--format", "md", "--out"),
    "history": ("history", "--record"),
    "compare": ("compare",),
    "cases": ("explain", "last", "--cases"),
    "explain": ("explain", "last", "--text", "a b"),
    "diagnose": ("diagnose", "last"),
    "stored": ("diagnose", "last", "--stored"),
    "serve": ("serve", "last"),
    "export": ("export", "last", "OUT"),
    "simulate": ("simulate", "last", "--scale", "0.05"),
    "sync": ("run", "--strategy", "full", "--task", "demo", "--dry-run", "--offline", "--sync"),
}
NEEDED = {"cases": ("strategy", "of"), "stored": ("strategy", "of"), "explain": PLACES, "diagnose": PLACES,
          "serve": PLACES, "export": PLACES}  # fmt: skip
"""Of the readers that end where a name cannot be had: the names that they need."""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the import path with a module that leaves a mark when it is imported."""
    (tmp_path / "stranger.py").write_text(STRANGER)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("stranger", None)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """The stores that are there already, by what their runs name: a reader gets a copy of its own."""
    return defaultdict(lambda: tmp_path_factory.mktemp("made") / "results")


def copy_store(made: dict[tuple[str, str], Path], root: Path, place: str, target: str) -> Path:
    """A copy at ``root`` of the store whose runs name ``target`` in one place of their spec."""
    store = made[place, target]
    return Path(shutil.copytree(store if store.exists() else make_store(store, place, target), root))


def make_store(root: Path, place: str, target: str) -> Path:
    """Two seeds and a checkpoint of a run that names ``target`` in one place of its spec, and others beside it."""
    named = {place: target} if place in ("head", "recipe") else {}
    names = {"strategy": "entropy", "task": "demo", **({place: target} if place in ("strategy", "task") else {})}
    criterion = {}
    revision = get_task("demo").load(LoadOptions()).revision
    if place == "of":
        names["strategy"], criterion = "temperature", {"of": target}
    for seed in (0, 1):
        for strategy in dict.fromkeys((names["strategy"], "patience", "margin", "energy")):
            own = strategy == names["strategy"]
            folder = make_cell(
                root, strategy, names["task"], "bert-demo", seed, labels=("a", "b"), spec=named, samples=30,
                criterion=criterion if own else None, checkpoint="c", place=f"t/b/{strategy[:4]}-{seed}",
                revision=revision,
            )  # fmt: skip
            shutil.copy(folder / "exits-evaluation.parquet", folder / "exits-select.parquet")
            if strategy in ("entropy", "patience", "margin", "energy"):
                record_exits(folder)
    last = root / "t" / "b" / f"{names['strategy'][:4]}-1" / "record.json"
    last.touch()
    weights = root / ".cache" / "checkpoints" / Run.load(last.parent).record.training.key / "model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.touch()
    return root


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("reader", READERS)
def test_no_reader_runs_what_a_record_names(
    reader: str, place: str, target: str, site: Path, made: dict[tuple[str, str], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    store = copy_store(made, site / "results", place, target)
    words = list(READERS[reader])
    results = ["--results-dir", str(store)]
    if reader == "compare":
        words, results = [*words, str(store), str(store)], []
    elif reader == "export":
        words[-1] = str(site / "out")
    elif reader in ("report", "sync"):
        words.append(str(site / "out") if reader == "report" else f"file://{store}")
    if reader == "sync":
        results = ["--results-dir", str(site / "mine")]
    code = main([*words, *results])
    said = capsys.readouterr().err
    assert not (site / "ran").exists()
    if place in NEEDED.get(reader, ()):
        assert code == USAGE
        assert said.splitlines()[-1].startswith("Error: ")
        assert target in said
        assert ("--allow-imports" if target.startswith("stranger") else "cannot be used") in said
    else:
        assert code == 0, said


@pytest.mark.parametrize("place", ["strategy", "of"])
def test_who_trusts_a_record_s_maker_has_its_modules_imported(
    place: str, site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = make_store(site / "results", place, "stranger:Own")
    words = ["diagnose", "last", "--stored", "--results-dir", str(store)]
    assert main(words) == USAGE
    assert "is run only with --allow-imports" in capsys.readouterr().err
    assert main([*words, "--allow-imports"]) == 0
    assert (site / "ran").exists()
    capsys.readouterr()
    assert main(words) == 0  # the module is here already: nothing has to be run


def test_what_cannot_be_judged_is_said_beside_what_can(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = make_store(site / "results", "strategy", "stranger:Own")
    assert main(["table", "--results-dir", str(store)]) == 0
    printed = capsys.readouterr()
    assert "stranger:Own" in printed.out
    told = [line.split(":")[0] for line in printed.err.splitlines()]
    assert told == [f"No interval over seeds with t/b/stra-{seed}" for seed in (0, 1)]
    assert main(["criteria", "--results-dir", str(store), "--against", "patience"]) == 0
    assert "Left out: t/b/stra-0" in capsys.readouterr().err


def test_cells_are_compared_by_their_records_where_their_rule_is_not_trusted(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """FLOPs and equal numbers are still judged; quality that differs has no paired test."""
    (site / "rule.py").write_text(STRANGER)
    base, other = site / "a", site / "b"
    Made(strategy="rule:Own").write(base)
    Made(strategy="rule:Own", exits=logits(skill=0.5), head_flops=40_000).write(other)
    (site / "ran").unlink()
    sys.modules.pop("rule")
    words = ["compare", str(base), str(other), "--json"]
    assert main(words) == 3
    found = json.loads(capsys.readouterr().out)
    assert not (site / "ran").exists()
    quality = [row for row in found["rows"] if row["metric"] == "accuracy" and row["verdict"] != "same"]
    assert {row["verdict"] for row in quality} == {"inconclusive"}
    assert all("--allow-imports" in row["reason"] for row in quality)
    assert {row["verdict"] for row in found["rows"] if row["metric"] == "FLOPs"} >= {"worse"}
    main([*words, "--allow-imports"])
    assert (site / "ran").exists()
    sys.modules.pop("rule")


@pytest.mark.parametrize("target", ["os:abort", "http.server:test"])
@pytest.mark.parametrize("place", ["strategy", "task", "head", "recipe"])
def test_a_sweep_file_calls_nothing_that_is_no_part_of_ours(
    place: str, target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = {"strategy": "entropy", "task": "demo", place: target}
    (tmp_path / "sweep.yaml").write_text(json.dumps({"matrix": cell}))
    assert main(["run", "--config", str(tmp_path / "sweep.yaml"), "--results-dir", str(tmp_path)]) == USAGE
    assert f"{place.capitalize()} '{target}' cannot be used: it is no subclass of" in capsys.readouterr().err

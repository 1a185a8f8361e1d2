"""The command line when all is well: what it prints where, what it keeps, what it imports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bench
from backbones.catalog import BACKBONES
from bench.cli.app import COMMANDS
from bench.cli.process import main
from bench.results.exits import read_exits
from tests.helpers.small_runs import STEPS, TINY, run_json, settings, write_task

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder to be in, and no settings of the user's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EXITBENCH_HUB", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")  # so that what --offline sets is taken back


def tiny(task: Path, strategy: str = "entropy", backbone: str = "bert-demo") -> list[str]:
    return ["--strategy", strategy, "--task", str(task), "--backbone", backbone, *TINY]


def process(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, capture_output=True, text=True, check=False, cwd=cwd)


# --------------------------------------------------------------------------- nothing heavy for little questions

LIGHT = {
    "help": ["--help"],
    "version": ["--version"],
    "no arguments": [],
    **{f"help of {verb}": [verb, "--help"] for verb in [*COMMANDS, "bench-engine"]},
    **{f"list {kind}": ["list", kind] for kind in "strategies heads recipes backbones tasks papers runs".split()},
    "unknown strategy": ["run", "--strategy", "elbrt", "--task", "demo"],
}
HEAVY = ("torch", "transformers", "datasets", "sklearn", "matplotlib", "scipy")


@pytest.mark.parametrize("case", LIGHT)
def test_little_questions_import_nothing_heavy(case: str) -> None:
    script = (
        "import sys; from bench.cli.process import main; main(sys.argv[1:]);"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = process(sys.executable, "-c", script, *LIGHT[case])
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_the_installed_command_answers() -> None:
    done = process(str(Path(sys.executable).parent / "bench"), "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{bench.__version__}\n", "")


@pytest.mark.parametrize("kind", "strategies heads recipes backbones tasks runs".split())
def test_lists_as_json(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", kind, "--json"]) == 0
    printed = capsys.readouterr()
    rows = json.loads(printed.out)
    assert bool(rows) == (kind != "runs")
    assert all(row["what"] for row in rows)
    assert printed.err == ""
    assert main(["list", kind]) == 0
    table = capsys.readouterr().out
    assert all(row["name"] in table for row in rows)


def test_a_strategys_presets_read_as_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "strategy", "fastbert"]) == 0
    assert "presets: all tasks: train.lr=2e-05, train.batch_size=32, " in capsys.readouterr().out


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n  {verb} " in shown for verb in COMMANDS)
    assert "bench-engine" not in shown  # a former name


# --------------------------------------------------------------------------- from question to record


def test_a_run_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run's table, its files, ``show``, ``list runs`` and ``replay`` tell the same story."""
    task = write_task(tmp_path / "reviews")
    given = tiny(task, "elbert-mono", "albert-demo")
    assert main(["run", *given]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""  # --quiet
    assert "elbert-mono | albert-demo (3 layers) | reviews validation, n = 24, seed 0" in printed.out
    assert "Live check (fp32, batch 1): 0 of 24 exits and 0 predictions differ" in printed.out
    cell = next(Path("results/reviews/albert-demo").iterdir())
    assert str(cell) in printed.out
    record = json.loads((cell / "record.json").read_text())
    assert (record["status"], record["training"]["reused"]) == ("success", False)
    assert record["task"]["rows"]["train"]["used"] + record["task"]["rows"]["select"]["used"] == 96
    assert record["spec"]["train"]["steps"] == 3
    assert record["spec"]["criterion_args"]["window"] == 2  # the number that the default became on three layers

    for name in ("last", cell.name, record["quality_key"][:6], str(cell)):
        assert main(["show", name]) == 0
        assert capsys.readouterr().out == printed.out.partition("\nWhat to try next:")[0]
    assert main(["show", "last", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    doubts = shown.pop("doubts")
    assert shown == {"folder": str(cell), "record": record}
    assert {doubt["kind"] for doubt in doubts} <= {"no-skill", "one-answer", "few-held-out"}
    assert set(record["skill"]) == {"validation"}
    assert main(["list", "runs", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["run"], row["strategy"], row["seed"], row["status"]) == (cell.name, "elbert-mono", 0, "success")

    exits = cell / "exits-validation.parquet"
    threshold = record["evaluation"]["validation"]["points"][0]["threshold"]
    replay = ["replay", str(exits), "--strategy", "elbert-mono", "--threshold", str(threshold), "--json"]
    assert main(replay) == 0
    replayed = json.loads(capsys.readouterr().out)
    assert replayed["mean_layer"] == record["evaluation"]["validation"]["points"][0]["mean_layer"]
    assert replayed["full"]["metrics"] == record["evaluation"]["validation"]["full"]["metrics"]
    assert [d["id"] for d in replayed["decisions"]] == list(read_exits(exits).ids)


def test_progress_goes_to_stderr_and_data_to_stdout(tmp_path: Path) -> None:
    task = write_task(tmp_path / "reviews")
    command = [sys.executable, "-m", "bench", "run", *tiny(task)[:-1], "--json", "--results-dir", str(tmp_path / "r")]
    done = process(*command)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    assert found["record"]["status"] == "success"
    assert "Training joint on bert-demo for reviews: 87 samples, seed 0." in done.stderr
    assert found["record"]["command"].startswith("bench run --strategy entropy --task")


@pytest.mark.parametrize("backbone", [name for name, named in BACKBONES.items() if named.hub_id is None])
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_every_demo_backbone_with_both_poolings(
    backbone: str, pooling: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = tiny(write_task(tmp_path / "reviews"), backbone=backbone)
    (found,) = run_json(capsys, *given, *settings(f"head.pooling={pooling}"))
    assert found["record"]["backbone"]["pooling"] == pooling
    assert found["record"]["live_check"]["ok"]


def test_the_demo_task_with_a_limit(capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = run_json(capsys, "--strategy", "entropy", "--task", "demo", "--limit", "200", *TINY)
    rows = found["record"]["task"]["rows"]
    assert (rows["train"]["used"], rows["select"]["used"]) == (180, 20)
    assert rows["evaluation"] == {"used": 200, "available": 1000, "truncated": 0}
    assert found["record"]["backbone"]["name"] == "albert-12-demo"


def test_latency_is_measured_where_it_is_wanted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [word for word in tiny(write_task(tmp_path / "reviews")) if word != "--no-latency"]
    (found,) = run_json(capsys, *given, *settings("latency.samples=4", "latency.seconds=2"))
    latency = found["record"]["latency"]
    assert latency["protocol"] == "single-stream-v2"
    assert (Path(found["folder"]) / latency["file"]).exists()
    timed = [p for p in found["record"]["evaluation"]["validation"]["points"] if "latency" in p]
    assert all(p["latency"]["realisation"] > 0 for p in timed)
    assert timed


def test_cells_are_strategies_by_tasks_by_seeds_and_share_checkpoints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = tiny(write_task(tmp_path / "reviews"), "entropy,elbert-label")
    found = run_json(capsys, *given, "--seed", "0,1", "--recipe", "joint", "--head", "linear")
    cells = [(f["record"]["spec"]["strategy"], f["record"]["spec"]["seed"]) for f in found]
    assert cells == [("entropy", 0), ("entropy", 1), ("elbert-label", 0), ("elbert-label", 1)]
    assert [f["record"]["training"]["reused"] for f in found] == [False, False, True, True]
    assert len(list(Path("results/.cache/checkpoints").iterdir())) == 2
    full = [f["record"]["evaluation"]["validation"]["per_exit"] for f in found]
    assert full[0] == full[2]


def test_thresholds_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = tiny(write_task(tmp_path / "reviews"))
    (found,) = run_json(capsys, *given, "--thresholds", "0.5,2")
    points = found["record"]["evaluation"]["validation"]["points"]
    assert [p["threshold"] for p in points if p["chosen_on"] == "given"] == [0.5, 2.0]
    assert points[-1]["mean_layer"] == 1.0  # no normalised entropy is above 1
    (again,) = run_json(capsys, *given)
    assert [p for p in again["record"]["evaluation"]["validation"]["points"] if p["chosen_on"] == "given"] == []
    assert again["folder"] == found["folder"]


def test_overwrite(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = tiny(write_task(tmp_path / "reviews"))
    (first,) = run_json(capsys, *given)
    record = Path(first["folder"]) / "record.json"
    written = record.stat().st_mtime_ns
    for options in (
        ["--overwrite", "missing"],
        ["--overwrite", "never"],
        ["--overwrite", "never", "--thresholds", "1"],
    ):
        (found,) = run_json(capsys, *given, *options)
        assert found.pop("reused")["recorded"] == first["record"]["created"]
        assert found == first
        assert record.stat().st_mtime_ns == written
    (again,) = run_json(capsys, *given, "--overwrite", "always")
    assert record.stat().st_mtime_ns > written
    assert again["record"]["evaluation"] == first["record"]["evaluation"]


def test_never_overwriting_does_not_keep_a_result_that_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = tiny(write_task(tmp_path / "reviews"))
    (first,) = run_json(capsys, *given)
    record = Path(first["folder"]) / "record.json"
    record.write_text(json.dumps({**first["record"], "status": "started"}))
    (again,) = run_json(capsys, *given, "--overwrite", "never")
    assert again["record"]["status"] == "success"


@pytest.mark.parametrize("strategy", ["full", "patience"])
def test_regression(strategy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = tiny(write_task(tmp_path / "grades", regression=True), strategy)
    (found,) = run_json(capsys, *given)
    assert found["record"]["task"]["kind"] == "regression"
    assert set(found["record"]["evaluation"]["validation"]["full"]["metrics"]) == {"pearson", "spearman"}
    assert found["record"]["live_check"]["ok"]


@pytest.mark.parametrize("dtype", ["bf16", "fp64"])
def test_other_precisions(dtype: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = write_task(tmp_path / "reviews")
    (found,) = run_json(capsys, *tiny(task), "--dtype", dtype)
    assert (found["record"]["live_check"]["dtype"], found["record"]["live_check"]["ok"]) == (dtype, True)
    (usual,) = run_json(capsys, *tiny(task))
    assert usual["record"]["training"]["reused"]  # the precision of inference makes no other checkpoint
    assert usual["folder"] != found["folder"]


MATCHED_AND_NOT = '''
from dataclasses import replace

from bench.tasks.folder import FolderTask
from pathlib import Path


class TwoSplits(FolderTask):
    """Two evaluation splits, as MNLI has."""

    default_backbone = "bert-demo"

    def __init__(self):
        super().__init__(Path(FOLDER))

    def load(self, options):
        data = super().load(options)
        split = data.evaluation["validation"]
        other = replace(split, name="mismatched", labels=1 - split.labels)
        return replace(data, evaluation={"matched": replace(split, name="matched"), "mismatched": other})
'''


def test_two_evaluation_splits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_task(tmp_path / "pairs")
    (tmp_path / "two_splits.py").write_text(MATCHED_AND_NOT.replace("FOLDER", repr(str(folder))))
    monkeypatch.syspath_prepend(str(tmp_path))
    given = ["--strategy", "entropy", "--task", "two_splits:TwoSplits", *TINY]
    (found,) = run_json(capsys, *given)
    evaluation = found["record"]["evaluation"]
    assert list(evaluation) == ["matched", "mismatched"]
    one, other = (evaluation[name]["full"]["metrics"]["accuracy"]["value"] for name in evaluation)
    assert one + other == pytest.approx(1)
    assert (Path(found["folder"]) / "exits-mismatched.parquet").exists()
    assert main(["show", "last"]) == 0
    shown = capsys.readouterr().out
    assert "pairs matched, n = 24" in shown
    assert "pairs mismatched, n = 24" in shown


def test_truncation_is_counted_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [*tiny(write_task(tmp_path / "reviews")), *settings("max_length=6")]
    assert main(["run", *given]) == 0
    assert "Truncated to 6 tokens: 9 of select, 24 of validation, 87 of train." in capsys.readouterr().out


def test_scratch_from_a_mirror_without_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.helpers.models.model_folders import save_model

    folder = tmp_path / "hub/models/google-bert/bert-base-uncased"
    save_model(folder)
    (folder / "model.safetensors").unlink()
    given = ["--strategy", "entropy", "--task", str(write_task(tmp_path / "reviews")), "--backbone", "bert-base"]
    given += ["--init", "scratch", "--hub-root", str(tmp_path / "hub"), *TINY[-3:], *settings(*STEPS)]
    (found,) = run_json(capsys, *given)
    facts = found["record"]["backbone"]
    assert (facts["init"], facts["source"], facts["layers"]) == ("scratch", "mirror:google-bert/bert-base-uncased", 3)


def test_records_say_no_paths_of_this_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = write_task(tmp_path / "reviews")
    (found,) = run_json(capsys, *tiny(task))
    found["record"].pop("command")
    found["record"].pop("warnings")
    assert str(tmp_path) not in json.dumps(found["record"])


# --------------------------------------------------------------------------- doctor


def doctor(capsys: pytest.CaptureFixture[str], *options: str) -> list[dict[str, str]]:
    assert main(["doctor", "--json", *options]) == 0
    found: list[dict[str, str]] = json.loads(capsys.readouterr().out)
    return found


def test_doctor(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.helpers.models.model_folders import save_model

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("google-bert/bert-base-uncased", "FacebookAI/roberta-base", "albert/albert-base-v2"):
        save_model(tmp_path / "hub/models" / name)
    (tmp_path / "hub/models/FacebookAI/roberta-base/model.safetensors").unlink()
    (tmp_path / "hub/models/albert/albert-base-v2/tokenizer.json").unlink()
    rte = tmp_path / "hub/datasets/nyu-mll/glue/rte"
    rte.mkdir(parents=True)
    (rte / "train-00000-of-00001.parquet").write_bytes(b"")
    found = doctor(capsys, "--hub-root", str(tmp_path / "hub"))
    assert {f["level"] for f in found} <= {"ok", "warn", "fail"}
    assert all(f["remedy"] for f in found if f["level"] == "fail")
    areas = {area: [f for f in found if f["area"] == area] for area in {f["area"] for f in found}}
    assert set(areas) == set("python package cpu threads memory gpu disk hub mirror backbone timing".split())
    assert any(f["text"].startswith("torch ") for f in areas["package"])
    assert areas["hub"][0]["text"].startswith("HF_HUB_OFFLINE is set")
    mirrored = {f["text"]: f["level"] for f in areas["mirror"]}
    assert mirrored[f"tasks in {tmp_path / 'hub'}: rte"] == "ok"
    assert mirrored["model google-bert/bert-base-uncased"] == "ok"
    assert mirrored["model FacebookAI/roberta-base has no weights"] == "warn"
    assert mirrored["model albert/albert-base-v2 has no tokenizer"] == "fail"
    named = {f["text"].partition(":")[0]: f["text"] for f in areas["backbone"]}
    assert named["bert-base"] == "bert-base: ready (mirror:google-bert/bert-base-uncased)"
    assert named["roberta-base"] == "roberta-base: no weights"
    assert named["albert-demo"] == "albert-demo: from scratch, needs no download"


def test_doctor_speaks_of_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("bench.selfcheck.doctor.TESTED", {"torch": ("99", "99"), "no-such-package": ("1", "2")})
    (tmp_path / "file").write_text("")
    found = doctor(capsys, "--hub-root", str(tmp_path / "nowhere"), "--results-dir", str(tmp_path / "file/results"))
    failed = {f["text"] for f in found if f["level"] == "fail"}
    assert "no-such-package is not installed" in failed
    assert any(text.endswith("is older than 99") for text in failed)
    assert any("cannot be made" in text for text in failed)
    assert f"{tmp_path / 'nowhere'} is not a folder" in failed
    assert any(f["text"].startswith("offline: http://127.0.0.1:9 cannot be reached") for f in found)


def test_doctor_survives_a_check_that_breaks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Any:
        raise OSError("no such thing")

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("bench.selfcheck.doctor.read_cpu_name", broken)
    assert main(["doctor", "--all"]) == 0
    shown = capsys.readouterr().out
    assert "fail doctor    a check broke: OSError: no such thing -> see `pip check`" in shown
    assert "timing" in shown


# --------------------------------------------------------------------------- the Python call


def test_the_package_replays_anybodys_logits() -> None:
    logits = np.log([[[0.6, 0.4], [0.99, 0.01]], [[0.001, 0.999], [0.5, 0.5]]])
    found = bench.replay("entropy", logits, threshold=0.2)
    assert (found.layer.tolist(), found.prediction.tolist()) == ([2, 1], [0, 1])
    with pytest.raises(AttributeError, match="module 'bench' has no attribute 'rerun'"):
        bench.rerun  # noqa: B018

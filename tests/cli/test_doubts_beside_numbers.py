"""Whatever shows a run's numbers says what could make them void, in text and in JSON, by the same sentences."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.cli.process import main
from bench.results.run import Run
from tests.helpers.small_runs import SHAPE, STEPS, settings, write_task

LIVE = ["--results-dir", "results", "--offline", "--quiet"]
EXITS = "exits-validation.parquet"
VERBS: dict[str, list[str]] = {
    "show": ["show", "RUN"],
    "table": ["table"],
    "criteria": ["criteria"],
    "explain": ["explain", "RUN", "--text", "good", *LIVE],
    "explain --cases": ["explain", "RUN", "--cases", *LIVE],
    "serve": ["serve", "RUN", "--points", "2x", "--seconds", "0.1", "--queries", "64", "--percentile", "50", *LIVE],
    "diagnose": ["diagnose", "RUN", "--limit", "4", "--edits", "1", "--candidates", "1", *LIVE],
    "diagnose --stored": ["diagnose", "RUN", "--stored", *LIVE],
    "compare": ["compare", "results", "results"],
    "history": ["history", "--record"],
    "replay": ["replay", f"RUN/{EXITS}", "--strategy", "entropy"],
    "simulate": ["simulate", "RUN", "--scale", "0.01", "--criteria", "entropy"],
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run that has learned nothing, chosen on a few samples, and another one on its checkpoint."""
    home = tmp_path_factory.mktemp("doubted")
    task = write_task(home / "reviews")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        common = ["--task", str(task), "--backbone", "bert-demo", *settings(*SHAPE, *STEPS), "--no-latency", *LIVE]
        assert (
            main(["run", "--strategy", "entropy,margin,energy", "--recipe", "joint", "--head", "linear", *common]) == 0
        )
    run = Run.load(next((home / "results/reviews/bert-demo").glob("entropy-*")))
    assert {doubt.kind for doubt in run.doubts} >= {"no-skill", "few-held-out"}
    return home


@pytest.fixture
def folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The run's folder, seen from where the command is typed."""
    monkeypatch.chdir(home)
    return str(next(Path("results/reviews/bert-demo").glob("entropy-*")))


def ask(verb: str, folder: str, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    capsys.readouterr()
    assert main([*(word.replace("RUN", folder) for word in VERBS[verb]), *more]) == 0
    return capsys.readouterr().out


def find_all(found: Any) -> list[dict[str, Any]]:
    """Every entry of every list ``doubts`` in JSON."""
    if isinstance(found, list):
        return [one for part in found for one in find_all(part)]
    if not isinstance(found, dict):
        return []
    return [*(found.get("doubts") or []), *(one for part in found.values() for one in find_all(part))]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_that_shows_a_run_says_what_is_doubted(
    verb: str, folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    no_skill = next(doubt for doubt in Run.load(Path(folder)).doubts if doubt.kind == "no-skill")
    said = " ".join(ask(verb, folder, capsys).split())
    assert "No skill: " in said
    assert "so the speed-ups mean nothing" in said
    if verb != "replay":  # anybody's logits have no names of classes
        assert no_skill.found.partition(" (")[0] in said
    others = {"replay": "Few samples: ", "criteria": "", "simulate": ""}  # the latter take other cuts than are recorded
    few = others.get(verb, "Few held out: ")
    assert few in said


@pytest.mark.parametrize("verb", VERBS)
def test_json_has_it_too(verb: str, folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = find_all(json.loads(ask(verb, folder, capsys, "--json")))
    no_skill = next(one for one in found if one["kind"] == "no-skill")
    assert no_skill["void"] is True
    if verb == "history":
        assert no_skill["why"].endswith("so the speed-ups mean nothing")
    else:
        assert no_skill["said"].endswith("so the speed-ups mean nothing")


FILES: dict[str, tuple[str, list[str]]] = {
    "a page of an explanation": ("explain", ["--html", "OUT/e.html"]),
    "a comparison": ("compare", ["--markdown", "OUT/c.md", "--junit", "OUT/c.xml"]),
    "a tracker's numbers": ("compare", ["--tracker", "OUT/quality.json", "--tracker-costs", "OUT/costs.json"]),
    "a diagnosis": ("diagnose --stored", ["--markdown", "OUT/d.md", "--out", "OUT/d"]),
    "a table": ("table", ["--markdown", "OUT/t.md"]),
    "criteria": ("criteria", ["--markdown", "OUT/c.md"]),
    "a report": ("report", ["--out", "OUT/r"]),
    "an exported folder": ("export", ["OUT/e"]),
}
"""Verbs that write files to be passed on. Of an exported folder the card speaks."""
VERBS_OF_FILES = {**VERBS, "report": ["report", "--quiet"], "export": ["export", "RUN"]}


@pytest.mark.parametrize("kind", FILES)
def test_files_that_are_passed_on_say_it(
    kind: str, folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verb, options = FILES[kind]
    words = [word.replace("RUN", folder) for word in VERBS_OF_FILES[verb]]
    where = LIVE if verb == "export" else []
    assert main([*words, *(word.replace("OUT", str(tmp_path)) for word in options), *where]) == 0
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    if verb == "export":
        files = [tmp_path / "e/README.md"]
    else:
        assert {str(tmp_path / word.removeprefix("OUT/")) for word in options if "." in word} <= set(map(str, files))
    for path in files:
        said = path.read_bytes()
        if path.suffix == ".png":  # uncompressed where all is Latin, else a chunk that this test can open
            from PIL import Image

            said = str(Image.open(path).info.get("Description")).encode()
        if path.name == "counts.csv":  # what the engine does, whatever the model has learned
            continue
        if path.suffix != ".pdf":  # compressed; the same words as the others
            assert b"so the speed-ups mean nothing" in said, path.name


def test_a_drawing_of_a_history_marks_it(folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ask("history", folder, capsys, "--svg", str(tmp_path / "h.svg"))
    assert "(no skill" in (tmp_path / "h.svg").read_text()
    ask("explain", folder, capsys, "--png", str(tmp_path / "e.png"))
    assert (tmp_path / "e.png").stat().st_size


def test_a_trackers_number_has_what_is_doubted_of_it_alone(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask("compare", folder, capsys, "--tracker", str(tmp_path / "t.json"))
    found = {entry["name"]: entry["extra"] for entry in json.loads((tmp_path / "t.json").read_text())}
    for name, extra in found.items():
        rule = name.split(" | ")[5]
        assert "No skill: " in extra
        assert ("Few held out: " in extra) == (rule not in ("all layers", "default")), name


def test_what_is_exported_says_it_in_json_too(folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["export", folder, str(tmp_path / "e"), "--json", *LIVE]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["doubts"] == [doubt.to_plain() for doubt in Run.load(Path(folder)).doubts]


def test_a_point_is_marked_beside_itself_alone(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a comparison's rows those of a point chosen on few samples are marked so, the others are not."""
    ask("compare", folder, capsys, "--markdown", "rows.md")
    rows = [line for line in Path("rows.md").read_text().splitlines() if line.startswith("|") and "entropy" in line]
    for row in rows:
        if "reached by neither" in row:
            continue
        chosen = any(f"at {rule} |" in row for rule in ("no-loss", "-0.5", "-1", "1.5x", "2x", "3x"))
        assert ("held out" in row) == chosen, row
        assert "no skill" in row


def test_an_older_history_has_lines_without_doubts(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    ask("history", folder, capsys)
    path = Path("results/history.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    old = [json.dumps({k: v for k, v in line.items() if k != "doubts"}) for line in lines]
    path.write_text("".join(line + "\n" for line in old))
    assert "No skill" not in ask("history", folder, capsys)
    path.unlink()


def test_logits_without_labels_tell_exits_of_one_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logits = np.random.default_rng(0).normal(size=(50, 3, 2)).astype(np.float32)
    logits[:, 0] = [4.0, 0.0]
    np.savez(tmp_path / "some.npz", logits=logits)
    asked = ["replay", str(tmp_path / "some.npz"), "--strategy", "entropy", "--threshold", "0.5"]
    assert main(asked) == 0
    assert "One answer: exit 1 of 3 answers the same for every sample" in capsys.readouterr().out
    logits[:, 1:] = logits[:, :1]
    np.savez(tmp_path / "all.npz", logits=logits)
    asked[1] = str(tmp_path / "all.npz")
    assert main(asked) == 0
    assert "One answer: every exit answers the same for every sample" in capsys.readouterr().out

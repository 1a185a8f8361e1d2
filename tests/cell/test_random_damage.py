"""Whatever happens to a file of a results folder: no traceback, and no number that changes without a word.

``EXITBENCH_DAMAGES=300 pytest tests/cell/test_random_damage.py`` damages more often than a usual run.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from bench.cli.process import main
from tests.helpers.faults.damages import KINDS, damage
from tests.helpers.small_runs import TINY, settings, write_task

DAMAGES = int(os.environ.get("EXITBENCH_DAMAGES", "10"))
TIMED = settings("latency.samples=2", "latency.seconds=0.2")
VERBS = {
    "show": ["show", "RUN", "--json"],
    "table": ["table", "--json"],
    "criteria": ["criteria", "--json"],
    "compare": ["compare", "KEPT", "RESULTS", "--json"],
    "report": ["report", "--format", "md", "--out", "OUT"],
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two timed cells on one checkpoint, and what every verb says of them."""
    home = tmp_path_factory.mktemp("home")
    write_task(home / "reviews")
    assert main(["run", *asked(home, home / "kept"), "--quiet"]) == 0
    return home


def asked(home: Path, results: Path) -> list[str]:
    common = [word for word in TINY if word not in ("--quiet", "--no-latency")]
    cells = ["--strategy", "entropy,patience", "--recipe", "joint", "--head", "linear", "--backbone", "bert-demo"]
    return [*cells, "--task", str(home / "reviews"), *common, *TIMED, "--results-dir", str(results)]


def numbers(value: Any) -> list[float]:
    """Every number in ``value``, in order."""
    if isinstance(value, dict):
        return [n for item in value.values() for n in numbers(item)]
    if isinstance(value, list):
        return [n for item in value for n in numbers(item)]
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else []


def say(verb: str, results: Path, home: Path, run: str, capfd: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit code, stdout (or the report's tables) and stderr of a reader."""
    paths = {"RUN": run, "KEPT": str(home / "kept"), "RESULTS": str(results), "OUT": str(results / "out")}
    words = [paths.get(word, word) for word in VERBS[verb]]
    where = [] if verb == "compare" else ["--results-dir", str(results)]
    capfd.readouterr()
    code = main([*words, *where])
    printed = capfd.readouterr()
    report = results / "out" / "report.md"
    return code, report.read_text() if verb == "report" and report.exists() else printed.out, printed.err


Said = dict[str, dict[str, tuple[int, str, str]]]


@pytest.fixture(scope="module")
def undamaged() -> Said:
    """What every verb says of a run where nothing is damaged, by the run's name; found when it is first asked for."""
    return {}


@pytest.mark.slow
@pytest.mark.xdist_group("damaged home")
@pytest.mark.parametrize("seed", range(DAMAGES))
def test_readers_and_the_next_run(seed: int, home: Path, undamaged: Said, capfd: pytest.CaptureFixture[str]) -> None:
    chance = random.Random(seed)
    kind = list(KINDS)[seed % len(KINDS)]
    shutil.rmtree(home / "results", ignore_errors=True)
    results = shutil.copytree(home / "kept", home / "results")  # always there: some verbs name the place
    victim = chance.choice(sorted(results.glob(KINDS[kind])))
    other = next(p.parent for p in sorted(results.glob(KINDS["record"])) if p.parent != victim.parent)
    names = [victim.parent.name if kind in ("record", "logits", "times") else other.name]
    if names[0] not in undamaged:
        undamaged[names[0]] = {verb: say(verb, results, home, names[0], capfd) for verb in VERBS}
        shutil.rmtree(results / "out")
    expected = undamaged[names[0]]
    how = damage(victim, chance)
    for verb in VERBS:
        code, out, err = say(verb, results, home, names[0], capfd)
        where = (seed, kind, how, verb, victim.name)
        assert code in (0, 2, 3, 4), (where, code, err)  # 3: a candidate's record that cannot be read is worse
        assert "Traceback" not in out + err, (where, err)
        if code == 0 and out != expected[verb][1]:  # then it says what it left out, and keeps its numbers
            assert victim.parent.name in out + err or "damaged" in out + err, (where, out, err)
            if verb == "show":
                assert numbers(json.loads(out)) == numbers(json.loads(expected[verb][1])), where
    capfd.readouterr()
    if how == "newer_version" and kind == "record":
        assert main(["run", *asked(home, results), "--quiet", "--json"]) in (2, 5)  # not ours to overwrite
        assert "newer ExitBench" in capfd.readouterr().err
        return
    assert main(["run", *asked(home, results), "--quiet", "--json"]) == 0, (seed, kind, how, capfd.readouterr().err)
    again = [cell["record"]["evaluation"] for cell in json.loads(capfd.readouterr().out)]
    first = [json.loads(p.read_text())["evaluation"] for p in sorted((home / "kept").glob(KINDS["record"]))]
    assert sorted(map(without_times, again)) == sorted(map(without_times, first)), (seed, kind, how)


def without_times(evaluation: Any) -> str:
    """What was decided and what it costs, without what the clock said."""
    for split in evaluation.values():
        for point in split["points"]:
            point.pop("latency", None)
    return json.dumps(evaluation, sort_keys=True)

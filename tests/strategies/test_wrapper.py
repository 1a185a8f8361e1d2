"""Criteria around criteria: what of the inner strategy is a part of a result's identity, and the threshold's name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bench.cell.request import Context, Request
from bench.cell.resolve import resolve_request
from bench.cell.run import prepare_cell
from bench.cli.process import main
from bench.progress import Progress
from bench.results.run import Run
from bench.results.spec import Facts, hash_identity, identify_quality
from bench.results.store import Store
from strategies.base import Strategy
from strategies.energy import Energy
from strategies.entropy import Entropy
from strategies.temperature import Temperature

RECORDS = sorted(
    path
    for path in (Path(__file__).parents[2] / "results").glob("*/*/*/record.json")
    if path.parent.name.startswith(("temperature-", "budget-"))
)


def test_there_are_records_of_wrappers() -> None:
    assert len(RECORDS) >= 10


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.parent.name)
def test_recorded_wrappers_keep_their_keys(path: Path) -> None:
    """They were filed before what is wrapped had a place in the identity, and everything that is wrapped was at 1."""
    record = json.loads(path.read_text())
    known = record["identity"]
    versions = {part: known[part]["version"] for part in ("strategy", "head", "recipe")}
    facts = Facts(known["backbone"]["digest"], known["task"]["revision"], versions, wrapped=(1,))
    identity = identify_quality(Run.load(path.parent).spec, facts)
    assert json.loads(json.dumps(identity)) == known
    assert hash_identity(identity) == record["quality_key"]


def keys(strategy: str, of: str) -> tuple[str, str]:
    """What the cell and what its logits are filed under."""
    cell = prepare_cell(
        Request(strategy, "demo", settings={"of": of}), Context(Store(Path("nowhere")), Progress(quiet=True))
    )
    return cell.keys.quality, cell.keys.exits


@pytest.mark.parametrize(
    ("strategy", "of", "raised"),
    [
        ("temperature", "entropy", Entropy),
        ("temperature", "strategies.entropy:Entropy", Entropy),
        ("budget", "energy", Energy),
        ("budget", "temperature", Temperature),
        ("budget", "temperature", Entropy),  # which temperature is around by default
    ],
)
def test_a_raised_inner_version_is_another_result_of_the_same_logits(
    strategy: str, of: str, raised: type[Strategy], monkeypatch: pytest.MonkeyPatch
) -> None:
    before, other = keys(strategy, of), keys(strategy, "max-probability")
    found = {before[0]}
    for version in (raised.version + 1, raised.version + 2):
        monkeypatch.setattr(raised, "version", version)
        after = keys(strategy, of)
        assert after[1] == before[1]
        found.add(after[0])
    assert len(found) == 3
    assert keys(strategy, "max-probability") == other  # which is around something else


def test_which_of_two_versions_was_raised_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    found = set()
    for raised in (Temperature, Entropy):
        with monkeypatch.context() as patch:
            patch.setattr(raised, "version", 2)
            found.add(keys("budget", "temperature")[0])
    assert len(found) == 2


def test_what_wraps_nothing_has_no_such_versions() -> None:
    spec, parts = resolve_request(Request("entropy", "demo"))
    assert parts.list_wrapped_versions(spec, 2) == ()


def test_a_change_for_many_classes_leaves_results_with_two_be() -> None:
    spec, parts = resolve_request(Request("temperature", "demo", settings={"of": "elbert-mono"}))
    assert [parts.list_wrapped_versions(spec, outputs) for outputs in (2, 3)] == [(1,), (2,)]
    _, parts = resolve_request(Request("elbert-mono", "demo"))
    assert [parts.versions(outputs)["strategy"] for outputs in (2, 3)] == [1, 2]


# ---------------------------------------------------------------- the threshold by the field's own name


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    logits = random.normal(size=(40, 5, 3)).cumsum(axis=1)
    np.savez(tmp_path / "logits.npz", logits=logits, labels=random.integers(0, 3, 40))
    return tmp_path / "logits.npz"


def replayed(capsys: pytest.CaptureFixture[str], recorded: Path, *words: str) -> tuple[int, str, str]:
    code = main(["replay", str(recorded), "--fit-on", str(recorded), "--json", *words])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


@pytest.mark.parametrize(
    ("strategy", "of", "named"),
    [
        ("temperature", "patience", "patience=2"),
        ("temperature", "fastbert", "speed=0.9"),
        ("temperature", "entropy", "threshold=0.9"),
        ("temperature", "budget", "budget=0.6"),
        ("budget", "fastbert", "budget=0.6"),
    ],
)
def test_a_wrapper_knows_the_threshold_by_the_wrapped_name(
    strategy: str, of: str, named: str, recorded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--strategy", strategy, "--set", f"of={of}")
    settings = (["--set", named], ["--threshold", named.partition("=")[2]], [])
    by_name, plain, default = (replayed(capsys, recorded, *words, *given) for given in settings)
    assert (by_name[0], by_name[2]) == (0, "")
    assert json.loads(by_name[1]) == json.loads(plain[1]) != json.loads(default[1])


@pytest.mark.parametrize(
    ("strategy", "of", "given", "words"),
    [
        ("temperature", "patience", "patience=much", "patience must be a number, not 'much'"),
        ("temperature", "patience", "threshold=2", "Unknown argument 'threshold' of what strategy 'temperature' wraps"),
        ("temperature", "entropy", "patience=2", "Unknown argument 'patience' of what strategy 'temperature' wraps"),
        ("budget", "fastbert", "speed=0.5", "Unknown argument 'speed' of what strategy 'budget' wraps"),
    ],
)
def test_other_names_of_a_threshold_are_refused(
    strategy: str, of: str, given: str, words: str, recorded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, said = replayed(capsys, recorded, "--strategy", strategy, "--set", f"of={of}", "--set", given)
    assert (code, out, len(said.splitlines())) == (2, "", 1)
    assert words in said

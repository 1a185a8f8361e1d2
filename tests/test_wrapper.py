"""Criteria around criteria: what of the inner strategy is a part of a result's identity."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.progress import Progress
from bench.report.reload import spec_of
from bench.resolve import Request, resolve
from bench.runner import Context, prepared
from bench.spec import Facts, exits_identity, key, quality_identity
from bench.store import Store
from strategies.base import Strategy
from strategies.energy import Energy
from strategies.entropy import Entropy
from strategies.temperature import Temperature

RECORDS = sorted(
    path
    for path in (Path(__file__).parents[1] / "results").glob("*/*/*/record.json")
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
    identity = quality_identity(spec_of(record), facts)
    assert json.loads(json.dumps(identity)) == known
    assert key(identity) == record["quality_key"]


def keys(strategy: str, of: str) -> tuple[str, str]:
    """What the cell and what its logits are filed under."""
    work = prepared(
        Request(strategy, "demo", settings={"of": of}), Context(Store(Path("nowhere")), Progress(quiet=True))
    )
    return key(quality_identity(work.spec, work.facts)), key(exits_identity(work.spec, work.facts))


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
    for version in (2, 3):
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
    spec, parts = resolve(Request("entropy", "demo"))
    assert parts.wrapped_versions(spec) == ()

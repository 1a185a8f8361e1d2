"""Published numbers as data: every row is sound, the facts are those that were handed over, filters find them."""

from __future__ import annotations

import csv
import json
from dataclasses import fields
from typing import get_args

import pytest

from backbones.catalog import BACKBONES
from bench.cli.process import main
from bench.errors import UsageError
from bench.reproduce.published import EVIDENCE, Known, PublishedNumber, find_published, read_published
from bench.tasks import TASKS
from tests.conftest import SHARED

FIELDS = {f.name for f in fields(PublishedNumber)}
OURS = {"cost", "speedup_of", "note"}
"""Columns that say what a number is fit for; all others are as they were handed over."""


def test_every_row_says_what_it_is() -> None:
    for number in read_published():
        assert all((number.paper, number.method, number.task))
        assert number.evidence in EVIDENCE
        assert number.cost in ("layers", "flops", "runtime", "")
        assert number.speedup_of in ("the task", "several tasks", "one exit", "")
        assert bool(number.speedup) == bool(number.speedup_of)
        assert number.speedup_definition or not number.cost, "what a speed-up counts is read from its definition"
        assert number.value or number.evidence == "A", "only an abstract says no number of quality"


def test_evidence_has_a_sentence_each() -> None:
    assert set(EVIDENCE) == set(get_args(Known))


def test_names_are_those_of_tasks_and_backbones_here() -> None:
    """A name that differs from one here by its spelling alone would never meet its results."""
    for known, used in (
        (set(TASKS.builtin), {number.task for number in read_published()}),
        (set(BACKBONES), {number.backbone for number in read_published()}),
    ):
        spelled = {name.replace("-", "").replace("_", ""): name for name in known}
        assert not [name for name in used - known if name.replace("-", "").replace("_", "").lower() in spelled]


@pytest.mark.shared
def test_the_facts_carry_over() -> None:
    given = list(csv.DictReader((SHARED / "claims.csv").read_text(encoding="utf-8").splitlines()))
    same = FIELDS - OURS - {"task", "backbone", "metric", "source"}
    assert [{k: row[k] for k in same} for row in given] == [{k: vars(n)[k] for k in same} for n in read_published()]


def test_a_speed_up_of_several_tasks_is_none_of_this_one() -> None:
    [number] = [n for n in find_published(["PABEE"], ["rte"]) if n.backbone == "albert-base"]
    assert (number.value, number.speedup, number.times) == ("80.1", "1.57", None)
    assert number.quality == pytest.approx(0.801)
    [other] = find_published(["PABEE (via GPFEE)"], ["rte"])
    assert (other.system, other.times) == ("PABEE", 1.81)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, 565),
        ({"evidence": ["a"]}, 8),
        ({"evidence": ["V", "A"]}, 168),
        ({"methods": ["pabee (via gpfee)"], "tasks": ["MRPC"]}, 2),
        ({"methods": ["deebert"], "tasks": ["sst2"], "evidence": ["V"]}, 1),
        ({"methods": ["BEEM"], "tasks": ["rte"]}, 0),
    ],
)
def test_numbers_are_found_by_method_task_and_evidence(filters: dict[str, list[str]], expected: int) -> None:
    assert len(find_published(**filters)) == expected


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"methods": ["PABE"]}, "Unknown method 'PABE' among the published numbers. Did you mean 'PABEE'"),
        ({"tasks": ["sst3"]}, "Unknown task 'sst3'"),
        ({"evidence": ["Z"]}, "Unknown evidence 'Z'"),
    ],
)
def test_a_name_that_no_number_has_is_refused(filters: dict[str, list[str]], message: str) -> None:
    with pytest.raises(UsageError) as error:
        find_published(**filters)
    assert message in str(error.value)


@pytest.mark.parametrize("columns", ["80", "60"])
def test_the_list_says_what_must_be_known(
    columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert main(["list", "claims", "--method", "gaml-bert", "--task", "qnli"]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= int(columns)
    flat = " ".join(shown.split())
    for said in ("84.2!", "1.96x*", "sum M*N_m / sum m*N_m", "One speed-up for several tasks", "Likely misprint"):
        assert said in flat


def test_the_list_as_json_has_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "claims", "--evidence", "A", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [set(row) for row in rows] == [FIELDS] * 8


def test_filters_are_for_claims_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "tasks", "--evidence", "V"]) == 2
    assert "--evidence is for bench list claims" in capsys.readouterr().err

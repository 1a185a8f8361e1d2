"""Papers' claims as data: every file is sound, mistakes in one are told."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from bench.cell.resolve import resolve_request
from bench.errors import UsageError
from bench.reproduce.checks import CHECKS, make_check
from bench.reproduce.papers import Claim, list_papers, load_paper, parse_paper
from bench.reproduce.published import read_published
from bench.reproduce.run import expand_plan
from strategies import STRATEGIES
from tests.helpers.paper_files import GOOD

# --------------------------------------------------------------------------- the files


@pytest.mark.parametrize("name", list_papers())
def test_a_paper_is_sound(name: str) -> None:
    """Claims have checks that exist and take their arguments; plans resolve to cells; strategies named are planned."""
    paper = load_paper(name)
    assert paper.name == name
    for plan in (paper.full, paper.small):
        assert plan is not None
        for _, request in expand_plan(plan):
            resolve_request(request)
    planned = {request.strategy for _, request in expand_plan(paper.full)}
    for claim in paper.claims:
        make_check(claim.check, claim.arguments)
        strategy = claim.arguments.get("strategy")
        assert strategy in planned or strategy not in STRATEGIES, "of a method that is not here, nothing can be run"


@pytest.mark.parametrize("name", list_papers())
def test_every_number_names_its_own_block(name: str) -> None:
    """A claim about a number is about one model: the block that it names is one of the full plan."""
    paper = load_paper(name)
    blocks = {block.name for block in paper.full.blocks}
    assert all(c.arguments.get("block") in blocks | {None} for c in paper.claims)
    assert all(c.scales == ("full",) for c in paper.claims if c.check == "values-at")


def test_every_check_is_used_by_a_paper() -> None:
    assert {claim.check for name in list_papers() for claim in load_paper(name).claims} == set(CHECKS)


def test_common_ground_has_every_number_of_its_tables() -> None:
    """Twelve methods on BERT-base and five on ALBERT-base: what is judged is what is published, misprints marked."""
    numbers = [n for n in read_published() if n.paper.startswith("COSEE")]
    claims = [c for c in load_paper("common-ground").claims if c.check == "values-at"]
    assert len({n.system for n in numbers if n.backbone == "bert-base"}) == 12
    assert {n.task for n in numbers} == {"rte", "mrpc", "qqp", "sst2", "qnli", "mnli"}

    def describe(claim: Claim) -> tuple[object, ...]:
        told, [(at, value)] = claim.arguments, dict(claim.arguments["published"]).items()  # type: ignore[call-overload]
        metric = str(told.get("metric", "accuracy"))
        return str(told["block"]).lower(), told["task"], metric, value, at if told["by"] == "speedup" else 12 / at

    metrics = {"mean of f1 and accuracy": "f1+accuracy"}
    assert sorted(map(describe, claims)) == sorted(
        (n.backbone, n.task, metrics.get(n.metric, n.metric), round(n.quality or 0, 4), float(n.speedup))
        for n in numbers
    )
    assert sum("misprint" in claim.note for claim in claims) == sum("misprint" in n.note for n in numbers) > 0


def with_value(at: str, value: object) -> str:
    """GOOD as text with the value at the dotted path ``at`` replaced, or taken out for None."""
    paper: Any = json.loads(json.dumps(GOOD))
    *path, last = at.split(".")
    inside = paper
    for key in path:
        inside = inside[int(key) if key.isdigit() else key]
    if value is None:
        del inside[last]
    else:
        inside[last] = value
    return yaml.safe_dump(paper)


def test_a_good_file_is_read() -> None:
    paper = parse_paper(yaml.safe_dump(GOOD), "mine.yaml")
    assert paper.small is None
    assert paper.claims[0].arguments == {"strategy": "entropy", "speedup": 2}


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        ("claims.0.source", None, "'source' is missing"),
        ("claims.0.sauce", "x", "unknown key 'sauce'. Did you mean 'source'"),
        ("claims.0.evidence", "hearsay", "must be one of paper, code, readme, issue, 2nd, digitised"),
        ("claims.0.split", "train", "must be one of dev, test"),
        ("claims.0.cost", "euros", "must be one of layers, flops, runtime"),
        ("claims.0.scales", ["huge"], "must be one of full, small"),
        ("claims.0.check", {"strategy": "entropy"}, "its check has no name"),
        ("claims.0.says", "", "must be text"),
        ("claims", [], "a list with something in it"),
        ("claims", GOOD["claims"] * 2, "'a' is there twice"),
        ("full", None, "'full' is missing"),
        ("full.blocks", GOOD["full"]["blocks"] * 2, "'A' is there twice"),
        ("full.seeds", ["one"], "must be a whole number"),
        ("full.blocks.0.name", None, "name"),
    ],
)
def test_a_bad_file_is_refused(at: str, value: object, message: str) -> None:
    with pytest.raises(UsageError, match=r"mine\.yaml") as error:
        parse_paper(with_value(at, value), "mine.yaml")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ({"strategy": "entropy", "task": "demo", "colour": "red"}, "block 'A'.*colour"),
        ({"strategy": "entropy", "task": "demo", "limit": [50, 60]}, "block 'A' has two cells for entropy on demo"),
    ],
)
def test_a_block_that_makes_no_cells_is_refused(matrix: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        expand_plan(parse_paper(with_value("full.blocks.0.matrix", matrix), "mine.yaml").full)


def test_no_yaml_and_no_such_paper_are_told() -> None:
    for text in ("a: [", "a: !!int x", "a: 2024-13-45"):
        with pytest.raises(UsageError, match=r"mine\.yaml is no YAML"):
            parse_paper(text, "mine.yaml")
    with pytest.raises(UsageError, match="Did you mean 'elbert'"):
        load_paper("elbrt")


def test_a_plans_defaults_and_seeds_reach_its_cells() -> None:
    paper = parse_paper(with_value("full.defaults", {"limit": 64, "settings": {"train.epochs": 2}}), "mine.yaml")
    [one, other] = expand_plan(paper.full, [3, 4])
    assert (one[0], one[1].limit, one[1].settings) == ("A", 64, {"train.epochs": 2})
    assert [one[1].seed, other[1].seed] == [3, 4]

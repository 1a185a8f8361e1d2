"""What tests/README.md says of the tests is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
README = (TESTS / "README.md").read_text(encoding="utf-8")
CASES = re.findall(r"^\| ([\w-]+) \| `(.+)::(\w+)` \|$", README, re.MULTILINE)


@pytest.mark.parametrize(("case", "file", "test"), CASES, ids=[case for case, *_ in CASES])
def test_the_test_of_a_case_is_there(case: str, file: str, test: str) -> None:
    assert f"def {test}(" in (TESTS / file).read_text(encoding="utf-8")


@pytest.mark.parametrize(("file", "variable"), re.findall(r"`([\w/]+\.py)` \|.*`(EXITBENCH_\w+)=", README))
def test_a_test_drawn_from_seeds_reads_its_variable(file: str, variable: str) -> None:
    assert f'"{variable}"' in (TESTS / file).read_text(encoding="utf-8")


@pytest.mark.shared
def test_every_case_has_its_test(shared: Path) -> None:
    folders = {path.parent.name for path in (shared / "cases").glob("*/expected.txt")}
    assert {case for case, *_ in CASES} == folders

"""A new entry needs its file and its line: with CONTRIBUTING's own examples in place, the suite takes and passes them.

Each runs in a process of its own, whose packages also have the guide's modules, as if they lay in their folders.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
ADDED = """
import sys
import {package}
{package}.__path__.append({folder!r})
{package}.{table}.table[{name!r}] = {target!r}
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""


def find_tests(*words: str) -> list[str]:
    """The test files that have one of these words: those that walk a table."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return [str(path) for path in files if path != Path(__file__) and any(w in path.read_text() for w in words)]


def run_suite(
    folder: Path, package: str, table: str, module: str, file: str, entry: tuple[str, str], *words: str
) -> str:
    """Run tests with ``entry``, a name and its class, in a package's table; return what pytest says."""
    [code] = re.findall(rf"```python\n# {module}\.py\n(.*?)```", GUIDE, re.DOTALL)
    (folder / f"{file}.py").write_text(code, encoding="utf-8")
    name, target = entry
    script = ADDED.format(package=package, table=table, folder=str(folder), name=name, target=target)
    there = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", script, "-n", "0", "-p", "no:cacheprovider", "--tb=short", *words]
    done = subprocess.run(command, cwd=ROOT, env=there, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


def count_passed(said: str) -> int:
    found = re.search(r"(\d+) passed", said)
    return int(found[1]) if found else 0


@pytest.mark.slow
def test_the_guides_backbone_passes_every_test_of_the_table(tmp_path: Path) -> None:
    words = [*find_tests("sorted(ENCODERS)", "sorted(set(ENCODERS)"), "-k", "ernie"]
    said = run_suite(
        tmp_path, "backbones", "ENCODERS", "my_ernie", "ernie", ("ernie", "backbones.ernie:ErnieEncoder"), *words
    )
    assert count_passed(said) > 80


@pytest.mark.slow
def test_the_guides_strategy_passes_every_test_of_the_table(tmp_path: Path) -> None:
    words = [*find_tests("STRATEGIES", "helpers.criteria"), "-k", "my-margin or digest or family or name_of_no"]
    said = run_suite(
        tmp_path, "strategies", "STRATEGIES", "my_margin", "my_margin",
        ("my-margin", "strategies.my_margin:Margin"), *words,
    )  # fmt: skip
    assert count_passed(said) > 40

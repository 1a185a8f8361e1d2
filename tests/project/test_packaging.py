"""What is built and declared: the wheel's content, and versions that agree wherever they are written."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

import bench
from bench.selfcheck.doctor import PYTHON, TESTED, split_version

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = ("bench", "strategies", "backbones")


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> dict[str, str]:
    """Name -> version of constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonical(name): version for name, version in found}


def tracked(folder: str) -> set[str]:
    """Files of a folder that belong to the project: what git knows, or where there is no git, what is there."""
    done = subprocess.run(["git", "ls-files", folder], cwd=ROOT, capture_output=True, text=True, check=False)
    listed = done.stdout.split() if done.returncode == 0 and done.stdout else None
    there = [
        str(p.relative_to(ROOT)) for p in (ROOT / folder).rglob("*") if p.is_file() and "__pycache__" not in p.parts
    ]
    return {name for name in (listed or there) if (ROOT / name).exists()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """A wheel of a copy of the tree: building in place would leave build/ behind, whose old files are packed again."""
    copy = tmp_path_factory.mktemp("tree")
    beside = ("pyproject.toml", "README.md", "LICENSE", "exitbench.py")
    for name in (*beside, *(f for p in PACKAGES for f in sorted(tracked(p)))):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes((ROOT / name).read_bytes())
    build = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
    out = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-c", build, str(out)], cwd=copy, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(out / done.stdout.split()[-1])


@pytest.mark.slow
def test_the_wheel_has_all_of_the_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == {"exitbench.py"}.union(*(tracked(package) for package in PACKAGES))
    assert {f"{package}/py.typed" for package in PACKAGES} <= names


@pytest.mark.slow
def test_the_wheel_declares_command_licence_and_python(wheel: zipfile.ZipFile) -> None:
    info = f"exitbench-{bench.__version__}.dist-info"
    metadata = wheel.read(f"{info}/METADATA").decode()
    assert f"Version: {bench.__version__}\n" in metadata
    assert "Requires-Python: >=3.11\n" in metadata
    assert "License-Expression: Apache-2.0\n" in metadata
    assert "bench = exitbench:main" in wheel.read(f"{info}/entry_points.txt").decode()
    assert f"{info}/licenses/LICENSE" in wheel.namelist()


def test_every_folder_with_code_is_a_package() -> None:
    code = {p.parent for package in PACKAGES for p in (ROOT / package).rglob("*.py")}
    assert [str(folder.relative_to(ROOT)) for folder in code if not (folder / "__init__.py").exists()] == []


def test_versions_agree() -> None:
    assert PROJECT["project"]["version"] == bench.__version__


def test_every_dependency_is_pinned_within_what_is_asked() -> None:
    project = PROJECT["project"]
    asked = [*project["dependencies"], *(r for name in ("dev", "docs") for r in project["optional-dependencies"][name])]
    pinned = pins()
    for requirement in asked:
        name = re.match(r"[\w.-]+", requirement)
        assert name is not None
        version = pinned[canonical(name[0])]
        lowest = re.search(r">=([\d.]+)", requirement)
        below = re.search(r"<([\d.]+)", requirement)
        assert lowest is None or split_version(version) >= split_version(lowest[1]), requirement
        assert below is None or split_version(version) < split_version(below[1]), requirement
    assert all("+" not in version for version in pinned.values())  # local builds are not on the index


def test_doctor_knows_the_tested_range_of_every_dependency() -> None:
    asked = {}
    for requirement in PROJECT["project"]["dependencies"]:
        found = re.fullmatch(r"([\w.-]+)>=([\d.]+)(?:,<[\d.]+)?", requirement)
        assert found is not None
        asked[found[1]] = found[2]
    assert {name: low for name, (low, _) in TESTED.items()} == asked
    assert {canonical(name): new for name, (_, new) in TESTED.items()} == {
        n: pins()[canonical(n)] for n in map(canonical, asked)
    }
    assert PROJECT["project"]["requires-python"] == f">={PYTHON[0][0]}.{PYTHON[0][1]}"


@pytest.mark.parametrize(
    ("low", "high"), [("2.9", "2.13.0"), ("2.13.0", "2.13.1"), ("5", "5.1"), ("1.0rc1", "1.0.1"), ("2.6", "2.13.0+cpu")]
)
def test_versions_compare_as_numbers(low: str, high: str) -> None:
    assert split_version(low) < split_version(high)
    assert split_version("2.13") == split_version("2.13.0+cpu")

"""The house: which folder may import from which, how many files it has, how long they are."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("exitbench", "bench", "strategies", "backbones")
"""A package, or the file that is installed as the command, imports from itself and from those to its right only."""

FLOOR = ("errors", "files", "progress", "environment", "settings", "text", "yaml_files")
LAYERS = (
    ("__main__",),
    ("cli",),
    ("api",),
    ("report",),
    ("advise", "analysis", "reproduce", "selfcheck"),
    ("compare",),
    ("sweep",),
    ("cell",),
    ("results",),
    ("latency",),
    ("training",),
    ("inference",),
    ("tasks",),
    ("measure",),
    FLOOR,
)
"""The folders and files of bench/, uppermost first: each imports from itself and from below only."""

LOOSE, FILES, LINES = 10, 20, 400
"""At most so many files in bench/ itself, files in any folder, lines in any file; code, data and tests alike."""

CROWDED = {"strategies"}
"""Folders that hold more files: one file a paper is the rule in strategies/."""


@cache
def sources() -> dict[str, Path]:
    """Every module of the product by its dotted name."""
    found = {}
    for package in PACKAGES:
        for path in [*ROOT.glob(f"{package}.py"), *sorted((ROOT / package).rglob("*.py"))]:
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(name: str) -> Iterator[str]:
    """The modules of the product that ``name`` imports anywhere in its file, also for type checking only."""
    known = sources()
    for node in ast.walk(ast.parse(known[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            wanted = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            assert node.level == 0, f"{name} imports relatively"
            wanted = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for module in wanted:
            # `from a import b` is the module a.b where there is one, else a
            found = module if module in known else module.rpartition(".")[0]
            if found in known and found != name:
                yield found


@cache
def arrows() -> frozenset[tuple[str, str]]:
    return frozenset((name, other) for name in sources() for other in imported(name))


def level(module: str) -> int | None:
    """The layer of a module of bench/; None for bench/__init__.py, which is what the outside sees."""
    below = module.split(".")[1:2]
    return next((at for at, layer in enumerate(LAYERS) if set(below) & set(layer)), None)


def test_every_file_of_bench_has_its_layer() -> None:
    assert [name for name in sources() if name.startswith("bench.") and level(name) is None] == []
    named = Counter(entry for layer in LAYERS for entry in layer)
    assert [entry for entry, times in named.items() if times > 1] == []
    assert [entry for entry in named if f"bench.{entry}" not in sources()] == []


def test_packages_import_one_way() -> None:
    order = {package: at for at, package in enumerate(PACKAGES)}
    back = [(a, b) for a, b in arrows() if order[a.split(".")[0]] > order[b.split(".")[0]]]
    assert back == [("bench.__main__", "exitbench")]  # `python -m bench` is the command, which is above all


def test_no_arrow_runs_up() -> None:
    up = set()
    for importing, other in arrows():
        above, below = level(importing), level(other)
        if above is None or below is None:
            continue
        beside = importing.split(".")[1] != other.split(".")[1] and LAYERS[above] != FLOOR and above == below
        if above > below or beside:
            up.add((importing, other))
    assert sorted(up) == []


def test_no_file_imports_itself_through_others() -> None:
    graph: dict[str, set[str]] = {name: set() for name in sources()}
    for importing, other in arrows():
        if importing != "bench":  # what the outside sees, imported by name on first use
            graph[importing].add(other)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(reversed(error.args[1])))


def test_rooms_are_small_enough_to_walk_through() -> None:
    rooms = [*PACKAGES, "tests"]
    kept = [path for room in rooms for path in (ROOT / room).rglob("*") if path.is_file() and path.suffix != ".pyc"]
    files = Counter(path.parent.relative_to(ROOT).as_posix() for path in kept)
    assert files["bench"] <= LOOSE
    assert {folder for folder, count in files.items() if count > FILES} == CROWDED
    lines = {path.relative_to(ROOT).as_posix(): path.read_text().count("\n") for path in kept if path.suffix == ".py"}
    assert {name: count for name, count in lines.items() if count > LINES} == {}


def test_tests_import_no_test() -> None:
    found = set()
    for path in (ROOT / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            if module.startswith("tests.") and module.rpartition(".")[2].startswith("test_"):
                found.add((path.name, module))
    assert sorted(found) == []


def test_tests_mirror_the_house() -> None:
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and (path / "__init__.py").is_file()}
    rooms = {path.name for path in (ROOT / "bench").iterdir() if (path / "__init__.py").is_file()}
    assert folders == {*rooms, "strategies", "backbones", "floor", "helpers", "mutation", "project"}

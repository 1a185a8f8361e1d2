"""Records are read through one door: nobody else opens a run's files, subscripts what is in them or casts it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

OPENERS = {"read_object", "parse_json", "read_exits", "read_parquet", "ParquetFile", "ParquetDataset"}
"""Names of what makes values of the content of a JSON or Parquet file, besides json.load and pyarrow's read_table."""

OTHERS = {
    "backbones/folders.py": "a model's own config.json",
    "bench/advise/export/early_exit.py": "the configuration beside an exported model",
    "bench/advise/export/monitor.py": "what an exported model was measured with, beside it",
    "bench/cell/stages.py": "cached logits, before there is a run",
    "bench/compare/gate/baseline.py": "the baseline's own logits",
    "bench/compare/gate/kept.py": "the baseline's own cells",
    "bench/files.py": "the one reader of JSON objects",
    "bench/selfcheck/gpu.py": "what the self-check itself kept",
    "bench/settings.py": "a value of --set",
    "bench/sweep/remote.py": "whether a file that arrived is whole",
    "bench/tasks/readers.py": "the user's own data",
    "bench/training/checkpoint.py": "what a checkpoint says of itself",
}
"""Files outside bench/results/ that open JSON or Parquet, and what it is: never a record, nor the logits beside one."""


@cache
def modules() -> dict[str, ast.Module]:
    """Every file of the product outside bench/results/, parsed, by its path."""
    packages = [*(ROOT / "bench").rglob("*.py"), *ROOT.glob("strategies/*.py"), *ROOT.glob("backbones/*.py")]
    named = {path.relative_to(ROOT).as_posix(): path for path in sorted([*packages, ROOT / "exitbench.py"])}
    return {name: ast.parse(path.read_text()) for name, path in named.items() if not name.startswith("bench/results/")}


def opens_files(node: ast.AST) -> bool:
    """Whether ``node`` names a function that opens JSON or Parquet."""
    if isinstance(node, ast.Name):
        return node.id in {*OPENERS, "read_table"}
    dotted = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
    return dotted.rpartition(".")[2] in {*OPENERS, "read_table"} or dotted in ("json.load", "json.loads")


def is_recorded(node: ast.AST, plain: set[str]) -> bool:
    """Whether ``node`` is a record, plain values of one, or a variable in ``plain`` that holds such values."""
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Attribute) and node.func.attr == "to_plain"
    return node.attr == "record" if isinstance(node, ast.Attribute) else isinstance(node, ast.Name) and node.id in plain


def find_subscripts(tree: ast.AST) -> Iterator[str]:
    """Yield the lines that take a field of a record by its text: ``record["task"]``, ``plain.get("task")``."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        typed = {arg.arg: ast.unparse(arg.annotation) for arg in function.args.args if arg.annotation is not None}
        kinds = {"record": "RunRecord"} | typed  # what is called a record is one, unless it says that it is not
        plain = {name for name, kind in kinds.items() if kind in ("RunRecord", "RecordHead")}
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and is_recorded(node.value, plain):
                plain |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        for node in ast.walk(function):
            taken = node.value if isinstance(node, ast.Subscript) else None
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("get", "pop"):
                taken = node.func.value
            if taken is not None and is_recorded(taken, plain):
                yield ast.unparse(node)


def test_nobody_else_opens_the_files_of_a_run() -> None:
    assert {name for name, tree in modules().items() if any(map(opens_files, ast.walk(tree)))} == set(OTHERS)


def test_nobody_subscripts_a_record() -> None:
    found = {name: lines for name, tree in modules().items() if (lines := list(find_subscripts(tree)))}
    assert found == {}


def test_nothing_in_the_harness_is_cast() -> None:
    """A cast would say of a record what pydantic and mypy have not seen."""
    paths = sorted((ROOT / "bench").rglob("*.py"))
    casting = [
        path.relative_to(ROOT).as_posix()
        for path in paths
        if any(isinstance(node, ast.Name) and node.id == "cast" for node in ast.walk(ast.parse(path.read_text())))
    ]
    assert casting == []


@pytest.mark.parametrize(
    "code",
    [
        "def f(run): return run.record['task']",
        "def f(run): return run.record.get('task')",
        "def f(run):\n    record = run.record\n    return record['task']",
        "def f(run):\n    plain = run.result().to_plain()\n    return plain['points']",
        "def f(run): return run.result().to_plain()['points']",
        "def f(record: RunRecord): return record['task']",
    ],
)
def test_a_subscript_would_be_found(code: str) -> None:
    assert list(find_subscripts(ast.parse(code)))


@pytest.mark.parametrize(
    "code", ["json.load(f)", "pq.read_table(p)", "pd.read_parquet(p)", "map(read_object, paths)", "read_exits(p)"]
)
def test_an_open_file_would_be_found(code: str) -> None:
    assert any(map(opens_files, ast.walk(ast.parse(code))))

"""`bench new` writes what is green at once, lists it by name, and overwrites nothing."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from backbones import ENCODERS
from bench.cli.process import main
from bench.selfcheck.skeletons.write import SKELETONS, add_entry_point
from bench.tasks import TASKS
from strategies import HEADS, RECIPES, STRATEGIES

ROOT = Path(__file__).parents[2]
ASKED = {
    "criterion": ("my-rule", "my_rule:MyRule", STRATEGIES),
    "recipe": ("my-recipe", "my_recipe:MyRecipe", RECIPES),
    "head": ("my-head", "my_head:MyHead", HEADS),
    "backbone": ("ernie", "ernie:ErnieEncoder", ENCODERS),
    "task": ("my-task", "my_task:MyTask", TASKS),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of each, in one project."""
    folder = tmp_path_factory.mktemp("mine")
    for kind, (name, *_) in ASKED.items():
        assert main(["new", kind, name, "--out", str(folder)]) == 0
    return folder


def test_there_is_one_of_each() -> None:
    assert set(ASKED) == set(SKELETONS)


@pytest.mark.slow
def test_what_is_written_is_green_at_once(project: Path) -> None:
    there = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-W", "ignore", "-p", "no:cacheprovider", "."]
    done = subprocess.run(command, cwd=project, env=there, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\d\d passed", done.stdout)


@pytest.mark.parametrize("kind", list(ASKED))
def test_its_name_is_listed_where_it_is_installed(
    kind: str, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, target, table = ASKED[kind]
    declared = tomllib.loads((project / "pyproject.toml").read_text())
    assert declared["tool"]["setuptools"]["py-modules"] == [target.partition(":")[0] for _, target, _ in ASKED.values()]
    entries = declared["project"]["entry-points"][table.group]
    assert entries == {name: target}
    info = tmp_path / "mine-1.0.dist-info"  # as pip leaves it
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{table.group}]\n{name} = {target}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(project))
    assert name in list(table)
    assert table.load(name).__name__ == target.partition(":")[2]  # type: ignore[attr-defined]
    sys.modules.pop(target.partition(":")[0], None)


def test_the_guides_backbone_is_the_one_that_is_written(project: Path) -> None:
    """CONTRIBUTING's ERNIE and `bench new backbone ernie` are the same code, but for what is said about it."""
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    [printed] = re.findall(r"```python\n# my_ernie\.py\n(.*?)```", guide, re.DOTALL)
    written = (project / "ernie.py").read_text(encoding="utf-8")
    assert list_statements(printed) == list_statements(written)


def list_statements(code: str) -> list[str]:
    """Each statement of a module and of its class, without docstrings."""
    [kind] = [node for node in ast.parse(code).body if isinstance(node, ast.ClassDef)]
    found = []
    for node in kind.body:
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node):
            node.body = node.body[1:]
        if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            found.append(ast.unparse(node))
    return [kind.name, *found]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["criterion", "entropy"], "There is a criterion 'entropy' already"),
        (["criterion", "pabee"], "There is a criterion 'patience' already"),
        (["criterion", "My_Rule"], "lower-case letters, digits and dashes"),
        (["criterion", "json"], "A module 'json' is installed already"),
        (["criterium", "my-rule"], "Did you mean 'criterion'?"),
        (["backbone", "bert-like"], "transformers has no model type 'bert-like'"),
        (["backbone", "bert"], "There is a backbone 'bert' already"),
        (["head", "my-head"], "is there already"),
    ],
)
def test_nothing_is_written_where_something_is_wrong(
    words: list[str], said: str, project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project if words == ["head", "my-head"] else tmp_path / "new"
    before = sorted(project.iterdir())
    assert main(["new", *words, "--out", str(folder)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert said in line
    assert sorted(project.iterdir()) == before
    assert not (tmp_path / "new").exists()


def test_other_lines_of_a_project_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = '[project]\nname = "mine"  # ours\n\n[project.entry-points."exitbench.strategies"]\nother = "other:Other"\n'
    (tmp_path / "pyproject.toml").write_text(mine)
    assert main(["new", "criterion", "my-rule", "--out", str(tmp_path), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["target"] == "my_rule:MyRule"
    text = (tmp_path / "pyproject.toml").read_text()
    assert set(mine.splitlines()) < set(text.splitlines())
    entries = tomllib.loads(text)["project"]["entry-points"]["exitbench.strategies"]
    assert entries == {"other": "other:Other", "my-rule": "my_rule:MyRule"}
    assert "py-modules = []" in add_entry_point("[tool.setuptools]\npy-modules = []\n", "g", "a", "a:A")

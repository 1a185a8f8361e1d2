"""Results that their own source has outgrown are made again; those that are reused say where they are from."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.cell.sources import digest_class
from bench.cli.process import main
from bench.environment import find_source_commit, read_versions
from bench.results.record_file import read_record, write_record
from bench.results.run import Run
from tests.helpers.small_runs import TINY, run_json, write_task

RULE = '''
from torch import Tensor

from rule_helpers import FACTOR, unused
from strategies.base import Criterion, Seen, State, Strategy
from strategies.entropy import JointRecipe, LinearHead


class Small(Criterion):
    """The closer the two best classes, the longer the sample stays."""

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        best = seen.logits.softmax(dim=-1).topk(2, dim=-1).values
        return state, FACTOR * (1 - (best[:, 0] - best[:, 1]))


class OwnRecipe(JointRecipe):
    """Joint training under another name."""

    version = 1


class Own(Strategy):
    """Leave when the two most probable classes are far apart."""

    name = "own"
    head, recipe, criterion = LinearHead, OwnRecipe, Small


class Other(Strategy):
    name = "other"
    head, recipe, criterion = LinearHead, JointRecipe, Small
'''
HELPERS = "FACTOR = 1.0\n\n\ndef unused():\n    return 1\n"
MODULES = ("rule", "rule_helpers")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a rule of the user's own, its helpers and his data."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    write_task(tmp_path / "reviews", train=48, validation=16)
    (tmp_path / "rule.py").write_text(RULE)
    (tmp_path / "rule_helpers.py").write_text(HELPERS)
    forget()
    yield tmp_path
    forget()


def forget() -> None:
    """Let the next look import the user's modules anew, as another process would."""
    for name in MODULES:
        sys.modules.pop(name, None)


def edit(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))
    forget()


def digest(name: str = "Own") -> str | None:
    forget()
    return digest_class(getattr(__import__("rule"), name))


@pytest.mark.parametrize(
    ("file", "before", "after", "alike"),
    [
        ("rule.py", "# nothing", "", True),
        ("rule.py", "    def step", "    # why\n\n    def step", True),
        ("rule.py", "The closer the two best", "The nearer the two best", True),
        ("rule.py", "state: State, seen: Seen) -> tuple[State, Tensor]", "state, seen)", True),
        ("rule.py", 'name = "other"', 'name = "another"', True),
        ("rule_helpers.py", "return 1", "return 2", True),
        ("rule.py", "best[:, 0] - best", "best[:, 0] * best", False),
        ("rule.py", "version = 1", "version = 2", False),
        ("rule_helpers.py", "FACTOR = 1.0", "FACTOR = 2.0", False),
    ],
)
def test_what_can_change_a_result_is_in_the_digest(file: str, before: str, after: str, alike: bool, site: Path) -> None:
    """Comments, docstrings, annotations and what the class does not use are not; helpers beside its module are."""
    (site / "rule.py").write_text(f"# nothing\n{RULE}")
    known = digest()
    assert known is not None
    edit(site / file, before, after)
    assert (digest() == known) is alike


HIDDEN = {
    "under try": ("try:\n    from helping import K\nexcept ImportError:\n    K = 0\n", "K"),
    "in a method": ("", "__import__('helping').K"),
    "in a function": ("def find():\n    from helping import K\n    return K\n", "find()"),
    "in a loop": ("for _ in range(1):\n    from helping import K\n", "K"),
    "by a dotted name": ("import boxed.one\nimport boxed.two\n", "boxed.one.K"),
    "from a package": ("def find():\n    from boxed import one\n    return one.K\n", "find()"),
    "once more": ("from passing import K\n", "K"),
    "by import_module": ("import importlib\nhelp = importlib.import_module('helping')\n", "help.K"),
    "by globals": ("import helping\n", "globals()['helping'].K"),
}
"""Ways to a helper that is no plain import at the top: the statements before the class, what it uses."""


@pytest.mark.parametrize("way", HIDDEN)
def test_a_helper_is_in_the_digest_in_whatever_way_it_is_imported(
    way: str, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.MODULES", ("rule", "helping", "passing", "boxed", "boxed.one", "boxed.two"))
    before, used = HIDDEN[way]
    body = f"    k = {used}\n    def get(self):\n        return {used}\n"
    if way == "in a method":
        body = "    def get(self):\n        from helping import K\n        return K\n"
    (site / "boxed").mkdir()
    for name in ("boxed/__init__", "boxed/two"):
        (site / f"{name}.py").write_text("")
    (site / "passing.py").write_text("from helping import *\n")
    (site / "rule.py").write_text(f"{before}from strategies.entropy import Entropy\nclass Own(Entropy):\n{body}")
    helpers = (site / "helping.py", site / "boxed" / "one.py")
    for helper in helpers:
        helper.write_text("K = 1\n")
    known = digest()
    assert digest() == known is not None
    for helper in helpers:
        helper.write_text("K = 12\n")
    assert digest() != known


def test_an_edited_rule_is_measured_again_and_an_edited_recipe_trained_again(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--strategy", "rule:Own", "--task", "reviews", "--backbone", "bert-demo", *TINY]
    loud = [word for word in words if word != "--quiet"]
    [first] = run_json(capsys, *words)
    assert main(["run", *loud]) == 0
    said = capsys.readouterr().err
    assert "not run again" in said
    assert "has changed" not in said

    edit(site / "rule.py", "FACTOR * (1 -", "FACTOR * FACTOR * (2 -")
    assert main(["run", *loud, "--json"]) == 0
    printed = capsys.readouterr()
    assert "The source of the strategy, criterion has changed since rule-Own-s0" in printed.err
    [second] = json.loads(printed.out)
    assert second["folder"] == first["folder"]
    assert second["record"]["training"]["reused"]
    assert second["record"]["sources"]["criterion"] != first["record"]["sources"]["criterion"]
    assert second["record"]["sources"]["head"] == first["record"]["sources"]["head"]
    points = [run["record"]["evaluation"]["validation"]["points"] for run in (first, second)]
    assert [p["cut"] for p in points[0] if "cut" in p] != [p["cut"] for p in points[1] if "cut" in p]

    edit(site / "rule.py", "    version = 1\n", "    version = 1\n    own_lr = 0.5\n")
    [third] = run_json(capsys, *words)
    assert not third["record"]["training"]["reused"]
    assert third["record"]["training"]["key"] != second["record"]["training"]["key"]
    assert third["record"]["quality_key"] == first["record"]["quality_key"]

    edit(site / "rule.py", "own_lr = 0.5", "own_lr = 0.25")
    assert main(["run", *loud, "--overwrite", "never"]) == 0
    assert "has changed since; it is left as it is" in capsys.readouterr().err
    assert main(["explain", "last", "--text", "good", "--allow-imports"]) == 2
    assert "strategy version, source or data" in capsys.readouterr().err


def test_a_reused_record_says_by_whom_and_when_it_was_made(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--strategy", "entropy", "--task", "reviews", "--backbone", "bert-demo", *TINY]
    loud = [word for word in words if word != "--quiet"]
    [first] = run_json(capsys, *words)
    assert "reused" not in first
    folder = Path(first["folder"])
    plain = {**first["record"], "created": "2026-01-02T03:04:05+00:00"}
    plain["environment"]["versions"] |= {"torch": "1.0", "numpy": "1.0"}
    plain["environment"]["source"] = {"commit": "c0ffee" + "0" * 34, "dirty": False}
    del plain["sources"]  # as older records are
    write_record(folder / "record.json", type(read_record(folder / "record.json")).from_plain(plain))

    assert main(["run", *loud, "--json"]) == 0
    printed = capsys.readouterr()
    torch = read_versions()["torch"]
    said = f"recorded on 2026-01-02 by c0ffee000, not run again; torch 1.0 then, {torch} now."
    assert f"{folder.name}: {said}\n" in printed.err
    [found] = json.loads(printed.out)
    assert found["record"] == json.loads((folder / "record.json").read_text())
    assert found["reused"] == {
        "recorded": "2026-01-02T03:04:05+00:00", "by": "c0ffee" + "0" * 34, "versions": {"torch": ["1.0", torch]},
        "changed": [],
    }  # fmt: skip

    assert main(["run", *loud, "--seed", "0,1", "--json"]) == 0
    printed = capsys.readouterr()
    assert said in printed.err
    assert ["reused" in run for run in json.loads(printed.out)] == [True, False]
    assert Run.load(folder).record.sources is None


@pytest.mark.parametrize("many", [False, True])
def test_what_a_reused_result_is_is_said_under_quiet_too(
    many: bool, site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One cell, and several, as a sweep; both in the lines and in the JSON."""
    words = ["--task", "reviews", "--backbone", "bert-demo", *TINY]
    words += ["--strategy", "rule:Own,rule:Other" if many else "rule:Own"]
    run_json(capsys, *words)
    assert main(["run", *words]) == 0
    printed = capsys.readouterr()
    assert "all layers" in printed.out
    [said] = printed.err.splitlines()
    assert said.startswith("2 cells: recorded on " if many else "rule-Own-s0")
    assert ", not run again" in said

    edit(site / "rule_helpers.py", "FACTOR = 1.0", "FACTOR = 2.0")
    assert main(["run", *words, "--overwrite", "never", "--json"]) == 0
    printed = capsys.readouterr()
    changed = ["strategy", "criterion"]
    assert [run["reused"]["changed"] for run in json.loads(printed.out)] == [changed] * (2 if many else 1)
    lines = ["The source of its strategy, criterion has changed since; it is left as it is."]
    if many:
        lines = ["2 cells: the source of their strategy, criterion has changed since; they are left as they are."]
    assert [line for line in printed.err.splitlines() if "changed" in line] == lines


def test_all_parts_of_a_run_have_a_digest(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--strategy", "temperature", "--set", "of=rule:Other", "--task", "reviews", "--backbone", "bert-demo"]
    [run] = run_json(capsys, *words, *TINY)
    sources = run["record"]["sources"]
    assert set(sources) == {"strategy", "criterion", "criterion of other", "head", "recipe", "task", "backbone"}
    assert all(len(value) == 16 for value in sources.values())
    assert len(set(sources.values())) == len(sources)
    assert (run["record"]["environment"]["source"] is None) == (find_source_commit() is None)
    edit(site / "rule_helpers.py", "FACTOR = 1.0", "FACTOR = 3.0")
    [again] = run_json(capsys, *words, *TINY)
    changed = {name for name in sources if again["record"]["sources"][name] != sources[name]}
    assert changed == {"criterion of other"}

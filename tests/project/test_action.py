"""The action for other repositories: its scripts run here on a scratch repository, with stand-ins for pip and bench."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.cli.process import main

ROOT = Path(__file__).parents[2]
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
MEASURE, COMPARE = (step["run"] for step in ACTION["runs"]["steps"] if "run" in step)

BENCH = """#!/usr/bin/env bash
echo "bench $*" >> "$LOG"
if [ "$1" = run ]; then
  folder="${@: -1}"
  mkdir "$folder"
  cat version.txt > "$folder/measured"
fi
"""
PYTHON = """#!/usr/bin/env bash
echo "python $* in $(cat version.txt)" >> "$LOG"
"""


def git(folder: Path, *words: str) -> str:
    named = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main", *words]
    return subprocess.run(named, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def runner(tmp_path: Path) -> Path:
    """A runner's folders: the checkout of a pull request in ``work``, whose base branch is ``main`` of its origin."""
    (tmp_path / "origin").mkdir()
    git(tmp_path / "origin", "init", "-q")
    (tmp_path / "origin" / "version.txt").write_text("base")
    git(tmp_path / "origin", "add", ".")
    git(tmp_path / "origin", "commit", "-qm", "base")
    git(tmp_path, "clone", "-q", f"file://{tmp_path / 'origin'}", "work")
    git(tmp_path / "work", "checkout", "-qb", "change")
    (tmp_path / "work" / "version.txt").write_text("change")
    git(tmp_path / "work", "commit", "-qam", "change")
    for name, text in (("bench", BENCH), ("python", PYTHON)):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "temp").mkdir()
    return tmp_path


def use(runner: Path, base_ref: str = "main", **inputs: str) -> tuple[subprocess.CompletedProcess[str], dict[str, str]]:
    """Run the two scripts as a runner does, ``inputs`` over the defaults; the second one if the first went well."""
    given = {name: str(of["default"]) for name, of in ACTION["inputs"].items()} | inputs
    (runner / "output").write_text("")
    environment = os.environ | {
        "PATH": f"{runner / 'bin'}{os.pathsep}{os.environ['PATH']}", "RUNNER_TEMP": str(runner / "temp"),
        "GITHUB_OUTPUT": str(runner / "output"), "GITHUB_STEP_SUMMARY": str(runner / "summary.md"),
        "LOG": str(runner / "log"), "RUN": given["run"], "BASE": given["base"], "BASE_REF": base_ref,
        "INSTALL": given["install"], "EXITBENCH": given["exitbench"], "ACTION": "/the/action",
    }  # fmt: skip
    shell = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c"]  # GitHub's `shell: bash`
    done = subprocess.run([*shell, MEASURE], cwd=runner / "work", env=environment, capture_output=True, text=True)
    found = dict(line.partition("=")[::2] for line in (runner / "output").read_text().splitlines())
    if done.returncode == 0:
        environment |= {
            "BASE": given["base"] or found["base"], "CANDIDATE": found["results"], "JUNIT": found["junit"],
            "TRACKER": found["tracker"], "FAIL_ON": given["fail-on"], "MARGIN": given["margin"],
        }  # fmt: skip
        done = subprocess.run([*shell, COMPARE], cwd=runner / "work", env=environment, capture_output=True, text=True)
    return done, found


def log(runner: Path) -> list[str]:
    return (runner / "log").read_text().splitlines()


def test_base_and_change_are_measured_each_in_its_own_tree(runner: Path) -> None:
    done, found = use(runner)
    assert done.returncode == 0, done.stderr
    assert Path(found["base"], "measured").read_text() == "base"
    assert Path(found["results"], "measured").read_text() == "change"
    assert log(runner)[-1].endswith(f"-- {found['base']} {found['results']}")
    assert len(git(runner / "work", "worktree", "list").splitlines()) == 1


def test_words_on_later_lines_are_given_too_and_nothing_is_expanded(runner: Path) -> None:
    """As a block (``run: |``) gives them, its last line end included."""
    done, found = use(runner, run="--strategy full\n  --task demo\n\n--seed *\n", install="one==1\n-r two.txt\n")
    assert done.returncode == 0, done.stderr
    said = log(runner)
    assert [line for line in said if line.startswith("bench run")] == [
        f"bench run --strategy full --task demo --seed * --results-dir {folder}"
        for folder in (found["base"], found["results"])
    ]
    installed = [line for line in said if line.startswith("python") and "/the/action" not in line]
    assert installed == [f"python -m pip install --quiet one==1 -r two.txt in {which}" for which in ("base", "change")]


def test_a_second_use_and_a_runner_that_is_kept(runner: Path) -> None:
    """Twice in one job, then again after the runner's temporary folder was emptied between two jobs."""
    seen = []
    for _ in range(2):
        done, found = use(runner)
        assert done.returncode == 0, done.stderr
        seen.append(found["results"])
    for path in sorted((runner / "temp").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    done, found = use(runner)
    assert done.returncode == 0, done.stderr
    assert len({*seen, found["results"]}) == 3


def test_a_run_that_fails_leaves_no_worktree_behind(runner: Path) -> None:
    (runner / "bin" / "bench").write_text("#!/usr/bin/env bash\nexit 5\n")
    done, _ = use(runner)
    assert done.returncode == 5
    assert len(git(runner / "work", "worktree", "list").splitlines()) == 1


@pytest.mark.parametrize(("file", "expected"), [("pyproject.toml", ["pip install --quiet ."] * 2), (None, [])])
def test_a_project_is_installed_where_it_can_be(runner: Path, file: str | None, expected: list[str]) -> None:
    if file is not None:
        for folder in ("origin", "work"):
            (runner / folder / file).write_text("")
            git(runner / folder, "add", file)
            git(runner / folder, "commit", "-qm", "a project")
    done, _ = use(runner)
    assert done.returncode == 0, done.stderr
    own = [line for line in log(runner) if line.startswith("python") and "/the/action" not in line]
    assert [line.removeprefix("python -m ").rpartition(" in ")[0] for line in own] == expected


def test_what_is_given_is_no_option(runner: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``--help`` as a base ends a real `bench compare` with exit code 2, not with its help and 0."""
    done, found = use(runner, base="--help")
    assert done.returncode == 0
    words = log(runner)[-1].split()[1:]
    assert words[-3:] == ["--", "--help", found["results"]]
    assert main(words) == 2
    assert "'--help' is neither a folder nor a git revision" in capsys.readouterr().err


def test_without_a_base_a_push_is_told(runner: Path) -> None:
    done, _ = use(runner, base_ref="")
    assert done.returncode == 2
    assert "::error::Not a pull request" in done.stdout


@pytest.mark.parametrize("path", [ROOT / "action.yml", *WORKFLOWS], ids=lambda path: path.name)
def test_actions_of_others_are_pinned_by_commit(path: Path) -> None:
    used = re.findall(r"uses: *(\S+)(.*)", path.read_text(encoding="utf-8"))
    assert used
    for name, note in used:
        assert name == "./" or re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", name), name
        assert name == "./" or re.fullmatch(r" # v[0-9.]+", note), name


def test_the_example_gates_a_pull_request_with_inputs_that_exist() -> None:
    example: dict[Any, Any] = yaml.safe_load((ROOT / ".github/workflows/example-gate.yml").read_text(encoding="utf-8"))
    assert "pull_request" in example[True]  # YAML reads `on` so
    [step] = [step for step in example["jobs"]["gate"]["steps"] if step.get("uses") == "./"]
    assert set(step["with"]) <= set(ACTION["inputs"])
    assert step["with"]["base"] == "${{ inputs.base }}"  # empty on a pull request: its base branch is measured

"""From where modules are imported: not from the folder a command is run in; plug-ins from PYTHONPATH."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import environment
from tests.helpers.small_runs import TINY, write_task

ROOT = Path(__file__).parents[2]
LOADED = "from pathlib import Path\nPath(__file__).with_suffix('.ran').touch()\n"
PLUGIN = """
from strategies.entropy import Entropy

class Mine(Entropy):
    \"\"\"Entropy under another name.\"\"\"
    name = "mine"
"""
STDLIB = ("uuid", "tempfile", "multiprocessing", "json", "signal", "pickle")
"""Names that a program may well give to a file of its own, and that we or the libraries import."""

EARLY = ("__future__", "typing", "types", "enum", "re", "importlib", "runpy", "errno", "traceback", "threading")
"""Names of what Python itself imports first, or what a file may import before ours sets the path right."""
OTHERS = ("torch", "numpy", "transformers", "typer", "click", "rich", "yaml", "exitbench")


def command(folder: Path, *arguments: str, path: tuple[Path, ...] = ()) -> subprocess.CompletedProcess[str]:
    """The command as it is installed, run in ``folder`` with ``path`` before this checkout on PYTHONPATH."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*path, ROOT)))}
    script = "import sys; sys.path.remove(''); from exitbench import main; sys.exit(main())"
    words = [sys.executable, "-c", script, *arguments]
    return subprocess.run(words, capture_output=True, text=True, check=False, cwd=folder, env=environment)


@pytest.mark.slow
@pytest.mark.parametrize("timed", [False, True], ids=["untimed", "timed"])
def test_workers_import_nothing_from_the_current_folder_but_plug_ins_from_the_path(tmp_path: Path, timed: bool) -> None:
    folder, plugins = tmp_path / "here", tmp_path / "plugins"
    write_task(folder / "reviews", train=32, validation=8)
    plugins.mkdir()
    (plugins / "my_strategy.py").write_text(PLUGIN, encoding="utf-8")
    for name in STDLIB:
        (folder / f"{name}.py").write_text(LOADED, encoding="utf-8")
    words = ["run", "--strategy", "my_strategy:Mine", "--task", "reviews", "--backbone", "bert-demo", "--seed", "0,1"]
    options = [word for word in TINY if word != "--no-latency"] if timed else [*TINY, "--workers", "2"]
    short = ["--set", "latency.seconds=0.2"] if timed else []
    done = command(folder, *words, *options, *short, "--json", path=(plugins,))
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)) == 2
    assert [path.name for path in folder.glob("*.ran")] == []


@pytest.mark.parametrize("name", ["bench", "strategies", "backbones"])
@pytest.mark.parametrize("package", [True, False], ids=["package", "plain folder"])
def test_a_folder_of_our_names_is_one_line_or_nothing(name: str, package: bool, tmp_path: Path) -> None:
    """A folder without __init__.py does not hide a package; one that has it does, and is told."""
    (tmp_path / name).mkdir()
    (tmp_path / name / ("__init__.py" if package else "notes.py")).write_text(LOADED, encoding="utf-8")
    done = command(tmp_path, "list", "strategies", path=(tmp_path,))
    if not package:
        assert (done.returncode, done.stderr) == (0, "")
        return
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith(
        f"Error: Python finds the package '{name}' in {tmp_path / name}, which hides ExitBench's own"
    )
    assert not list(tmp_path.rglob("*.ran"))


def test_python_m_bench_runs_no_file_of_the_current_folder_but_plug_ins(tmp_path: Path) -> None:
    for name in (*STDLIB, *EARLY, *OTHERS):
        (tmp_path / f"{name}.py").write_text(LOADED, encoding="utf-8")
    for name in ("scipy", "pyarrow"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(LOADED, encoding="utf-8")
    (tmp_path / "my_strategy.py").write_text(PLUGIN, encoding="utf-8")
    words = [sys.executable, "-m", "bench", "show", "strategy", "my_strategy:Mine"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Entropy under another name." in done.stdout
    assert [path.name for path in tmp_path.rglob("*.ran")] == []


def test_modules_that_hide_python_s_own_are_one_line(tmp_path: Path) -> None:
    """Who puts the current folder on PYTHONPATH means it, and is told what it does."""
    for name in ("this", "wave"):
        (tmp_path / f"{name}.py").write_text("", encoding="utf-8")
    done = command(tmp_path, "list", "papers", path=(tmp_path,))
    assert done.returncode == 0
    [line] = done.stderr.splitlines()
    assert line.startswith("Warning: Python takes this, wave from the current folder instead of its own modules")


def test_runs_take_no_lock_of_gits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record names the commit; looking at it must not disturb a commit that is being made."""
    index = tmp_path / ".git"
    for words in (["init", "-q"], ["config", "user.name", "t"], ["config", "user.email", "t@example.org"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "code.py").write_text("1\n")
    subprocess.run(["git", "add", "."], cwd=tmp_path, check=True)
    subprocess.run(["git", "commit", "-qm", "x"], cwd=tmp_path, check=True)
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "bench" / "environment.py"))
    os.utime(tmp_path / "bench" / "code.py", (1, 1))  # git would write what it saw of it into the index
    before = (index / "index").stat().st_mtime_ns
    (index / "index.lock").touch()  # another git at work
    found = environment.find_source_commit()
    assert found is not None
    assert found["dirty"] is False
    (index / "index.lock").unlink()
    assert environment.find_source_commit() == found
    assert (index / "index").stat().st_mtime_ns == before

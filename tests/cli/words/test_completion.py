"""The tab key: what a shell is offered, and that the scripts do their work when typed into bash and zsh."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from backbones.catalog import BACKBONES
from bench.cli.app import COMMANDS
from bench.cli.completing import LISTED_KINDS, keep_fitting
from bench.cli.process import main
from bench.reproduce.papers import list_papers
from bench.tasks import TASK_GROUPS, TASKS
from strategies import HEADS, RECIPES, STRATEGIES, STRATEGY_GROUPS

ROOT = Path(__file__).parents[3]
PROGRAM = "import sys; from bench.cli.process import main; sys.exit(main(sys.argv[1:]))"


Ask = Callable[[str, str], str]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """What `bench` answers a shell whose user has typed a line and presses tab."""

    def find_answer(shell: str, line: str) -> str:
        words = line.split(" ")
        monkeypatch.setenv("COMP_WORDS", "\n".join(words))
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
        monkeypatch.setenv("_TYPER_COMPLETE_ARGS", line)
        monkeypatch.setenv("_BENCH_COMPLETE", f"complete_{shell}")
        with pytest.raises(SystemExit) as ended:
            main([])
        printed = capsys.readouterr()
        assert (ended.value.code, printed.err) == (0, "")
        return printed.out

    return find_answer


OFFERED = {
    "bench ": set(COMMANDS),
    "bench se": {"serve", "selfcheck"},
    "bench run --strategy ": {*STRATEGIES, *STRATEGY_GROUPS},
    "bench run --strategy elbert-": {"elbert-label", "elbert-mono", "elbert-range"},
    "bench run --strategy entropy,el": {"entropy,elbert-label", "entropy,elbert-mono", "entropy,elbert-range"},
    "bench run --task ": {*TASKS, *TASK_GROUPS},
    "bench run --backbone ": set(BACKBONES),
    "bench run --recipe ": set(RECIPES),
    "bench run --head ": set(HEADS),
    "bench run --init ": {"pretrained", "scratch", "finetuned"},
    "bench run --set train.w": {"train.warmup=", "train.warmup_steps=", "train.weight_decay="},
    "bench run --strat": {"--strategy"},
    "bench list ": set(LISTED_KINDS),
    "bench reproduce ": set(list_papers()),
    "bench show paper ": set(list_papers()),
    "bench show strategy rome": {"romebert"},
    "bench show head s": {"shared", "shared-pooler", "student"},
    "bench criteria --against ma": {"margin", "max-probability"},
}


@pytest.mark.parametrize("line", OFFERED)
def test_what_bash_is_offered(line: str, ask: Ask) -> None:
    assert set(ask("bash", line).split()) == OFFERED[line]


@pytest.mark.parametrize("line", OFFERED)
def test_what_zsh_is_offered(line: str, ask: Ask) -> None:
    found = re.findall(r'^(?:_arguments .*\(\()?"([^"]+)"', ask("zsh", line), re.MULTILINE)
    assert set(found) == OFFERED[line]


def test_recorded_runs_are_offered_but_no_name_that_a_shell_would_read(
    tmp_path: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("entropy-s0-1234", "$(touch gone)"):
        folder = tmp_path / "results" / "demo" / "bert-demo" / name
        folder.mkdir(parents=True)
        (folder / "record.json").write_text("{}")
    assert ask("bash", "bench explain ").split() == ["last", "entropy-s0-1234"]
    elsewhere = ask("bash", f"bench explain --results-dir {tmp_path / 'results'} e")
    assert elsewhere.split() == ["entropy-s0-1234"]


def test_the_last_of_several_names_is_completed() -> None:
    offers = [("alpha", "a"), ("beta", "b")]
    assert keep_fitting(offers, "alpha,b") == [("alpha,beta", "b")]
    assert keep_fitting(offers, "") == offers
    assert keep_fitting(offers, "x,y,c") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_printed_and_installed(
    shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SHELL", f"/usr/bin/{shell}")
    assert main(["completion"]) == 0
    script = capsys.readouterr().out
    assert f"_BENCH_COMPLETE=complete_{shell}" in script
    for _ in range(2):  # once more changes nothing
        assert main(["completion", "--install"]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    [path] = set(re.findall("Installed: (.*)\\. A new", said.err))
    assert Path(path).read_text() == script
    own = {"bash": ".bashrc", "zsh": ".zshrc"}.get(shell)
    if own is not None:
        lines = [line for line in (tmp_path / own).read_text().splitlines() if "bench" in line or "zfunc" in line]
        assert len(lines) == 1


@pytest.mark.parametrize(("shell", "says"), [("tcsh", "Unknown shell 'tcsh'"), ("", "does not say which shell")])
def test_a_shell_that_is_not_known(
    shell: str, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHELL", shell)
    assert main(["completion"]) == 2
    assert says in capsys.readouterr().err


# --------------------------------------------------------------------------- real shells


def type_into(shell: Sequence[str], lines: Sequence[tuple[str, str]], home: Path) -> str:
    """Type each line into a shell until what is awaited stands on its screen; return all that it showed."""
    pid, screen = pty.fork()
    if pid == 0:  # pragma: no cover - the shell
        path = f"{home / 'bin'}:{os.environ['PATH']}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("COV_", "PYTEST"))}
        environment = {**kept, "HOME": str(home), "ZDOTDIR": str(home), "PATH": path, "TERM": "dumb", "PS1": "> "}
        os.execvpe(shell[0], list(shell), {**environment, "PYTHONPATH": str(ROOT), "COLUMNS": "100"})
    shown = ""
    try:
        for typed, awaited in lines:
            os.write(screen, typed.encode())
            begun, end = len(shown), time.monotonic() + 60
            while awaited not in shown[begun:]:
                if time.monotonic() > end:
                    pytest.fail(f"{awaited!r} did not come after {typed!r}: {shown!r}")
                if select.select([screen], [], [], 1)[0]:
                    shown += os.read(screen, 65536).decode(errors="replace")
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(screen)
    return shown


TAB, CLEAR = "\t", "\x15"
TYPED = [
    (f"bench run --strategy elbert-m{TAB}", "elbert-mono "),
    (f"{CLEAR}bench run --strategy=fastb{TAB}", "--strategy=fastbert "),
    (f"{CLEAR}bench run --strategy entropy,romeb{TAB}", "entropy,romebert "),
    (f"{CLEAR}bench selfc{TAB}", "selfcheck "),
    (f"{CLEAR}bench show backbone roberta-b{TAB}", "roberta-base "),
]
"""What is typed, and what must stand on the line then."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home folder with `bench` of this tree on its path."""
    program = tmp_path / "bin" / "bench"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\n{PROGRAM}\n")
    program.chmod(0o755)
    return tmp_path


SHELLS = {
    "bash": (["bash", "-i"], "echo rea''dy\n"),
    "zsh": (["zsh", "-i"], "echo rea''dy\n"),
}


@pytest.mark.parametrize("shell", ["bash", pytest.param("zsh", marks=pytest.mark.zsh)])
def test_the_tab_key_completes_after_an_installation(
    shell: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shutil.which(shell)
    monkeypatch.setenv("HOME", str(home))
    assert main(["completion", shell, "--install", "-q"]) == 0
    assert capsys.readouterr().err == ""
    arguments, first = SHELLS[shell]
    type_into(arguments, [(first, "ready"), *TYPED], home)

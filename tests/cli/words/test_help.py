"""The help of every command as a newcomer reads it: in groups, in any width, with examples that are true."""

from __future__ import annotations

import re
import shlex

import pytest
import typer

from bench.cli.app import COMMAND_GROUPS, COMMANDS, FORMER, app
from bench.cli.help import wrap_command
from bench.cli.process import main
from bench.cli.words import OPTION_GROUPS, WORDS
from tests.helpers.command_lines import parameters

GROUP = typer.main.get_command(app)
TYPES = re.compile(r"<\w+|\bTEXT\b(?!S)|\bINTEGER\b|\bFLOAT\b|\bPATH\b")
TEXTS = {("explain", "text"), ("explain", "second")}
"""Options whose value is a text indeed."""
OUTPUT = {
    "run": "results_dir", "import": "results_dir", "reproduce": "markdown", "serve": "out", "advise": "out",
    "table": "markdown", "report": "out", "criteria": "markdown", "explain": "html", "diagnose": "out", "plot": "out",
    "compare": "markdown", "gate": "markdown", "history": "svg", "selfcheck": "out",
}  # fmt: skip
"""Where each command's -o goes."""


def read_help(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main([*words, "--help"]) == 0
    return capsys.readouterr().out


def find_command(verb: str) -> typer.core.TyperCommand:
    return GROUP.get_command(None, verb)  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize("words", [[], ["run"]], ids=" ".join)
def test_help_is_a_command_too(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    shown = read_help(capsys, *words)
    assert main(["help", *words]) == 0
    assert capsys.readouterr().out == shown


@pytest.mark.parametrize("columns", [60, 80])
@pytest.mark.parametrize("words", [[], *([verb] for verb in COMMANDS)], ids=" ".join)
def test_help_fits_the_terminal(
    words: list[str], columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = read_help(capsys, *words)
    assert max(map(len, shown.splitlines())) <= columns
    assert "Usage: bench" in shown
    assert "\0" not in shown


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_option_says_what_it_takes_and_stands_in_a_group(verb: str) -> None:
    for parameter in parameters(verb):
        assert parameter.help, parameter.name
        if parameter.param_type_name == "option":
            assert parameter.rich_help_panel in OPTION_GROUPS, f"bench/cli/words.py has no '{parameter.name}'"
        if parameter.param_type_name == "argument" or not parameter.is_flag:
            assert parameter.metavar, f"bench/cli/words.py has no '{parameter.name}'"
            assert (verb, parameter.name) in TEXTS or not TYPES.search(parameter.metavar)


@pytest.mark.parametrize("verb", COMMANDS)
def test_what_is_shown_has_no_name_of_a_type(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = read_help(capsys, verb)
    assert not [line for line in shown.splitlines() if TYPES.search(line) and "TEXT " not in f"{line} "]


def test_no_word_is_kept_for_an_option_that_is_gone() -> None:
    used = {parameter.name for verb in COMMANDS for parameter in parameters(verb)}
    assert set(WORDS) <= used


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_command_has_an_example_that_its_parser_takes(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = find_command(verb)
    shown = read_help(capsys, verb)
    assert "\nExample" in shown
    assert command.epilog
    for line in command.epilog.splitlines():
        program, first, *words = shlex.split(line.partition(" > ")[0])
        assert (program, first) == ("bench", verb)
        command.make_context(verb, words)  # raises for what is no option or lacks one
    assert capsys.readouterr().err == ""


def test_the_list_of_commands_is_grouped(capsys: pytest.CaptureFixture[str]) -> None:
    shown = read_help(capsys)
    titles = [line[:-1] for line in shown.splitlines() if re.fullmatch(r"\w.*:", line)]
    assert titles == ["Options", *COMMAND_GROUPS, "Start with"]
    for verb in COMMANDS:
        [line] = [line for line in shown.splitlines() if line.startswith(f"  {verb} ")]
        assert len(line) <= 78, "one line a command in 80 columns"
    assert not any(former in shown for former in FORMER)


def test_the_first_line_of_a_command_fits_beside_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    shown = read_help(capsys)
    said = [line[14:] for line in shown.splitlines() if re.match(r"  [a-z]+ {2,}\S", line)]
    assert len(said) >= len(COMMANDS)
    assert all(line.endswith((".", "?")) for line in said)


def test_where_output_goes_is_o() -> None:
    found = {}
    for verb in COMMANDS:
        for parameter in parameters(verb):
            if "-o" in parameter.opts:
                found[verb] = parameter.name
    assert OUTPUT.items() <= found.items()
    writing = {verb for verb in COMMANDS for parameter in parameters(verb) if parameter.name == "out"}
    assert writing <= set(found)


@pytest.mark.parametrize("width", [20, 40, 80])
def test_a_long_command_is_cut_between_its_options(width: int) -> None:
    line = "bench run --strategy a,b --task sst2 --backbone bert-base -q"
    parts = wrap_command(line, width)
    assert " ".join(part.removesuffix(" \\").strip() for part in parts) == line
    assert all(part.endswith(" \\") for part in parts[:-1])
    assert not any(part.endswith(("--task \\", "--backbone \\")) for part in parts)

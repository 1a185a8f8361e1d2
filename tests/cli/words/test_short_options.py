"""Every verb of the app answers to the short options that people type without looking."""

from __future__ import annotations

import pytest
import typer

from bench.cli.app import app
from bench.cli.process import main
from tests.helpers.command_lines import parameters, verbs

QUIET = [verb for verb in verbs() if any("--quiet" in parameter.opts for parameter in parameters(verb))]


@pytest.mark.parametrize("words", [[], *([verb] for verb in verbs())], ids=" ".join)
def test_h_is_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--help"]) == 0
    long = capsys.readouterr().out
    assert "-h, --help" in long
    assert main([*words, "-h"]) == 0
    assert capsys.readouterr().out == long


@pytest.mark.parametrize("verb", QUIET)
def test_q_is_quiet(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    group = typer.main.get_command(app)
    [found] = [p for p in parameters(verb) if p.name == "quiet"]
    assert set(found.opts) == {"-q", "--quiet"}
    command = group.get_command(None, verb)  # type: ignore[attr-defined]
    for given in (["-q"], ["--quiet"]):
        parsed = command.make_context(verb, [*given, "x"], resilient_parsing=True).params
        assert parsed["quiet"] is True
    assert main([verb, "-h"]) == 0
    assert "-q, --quiet" in capsys.readouterr().out


def test_there_are_verbs_that_can_be_quiet() -> None:
    assert {"run", "gate", "report", "explain"} <= set(QUIET)


def test_no_two_options_of_a_verb_share_a_letter() -> None:
    for verb in verbs():
        given = [option for parameter in parameters(verb) for option in (*parameter.opts, *parameter.secondary_opts)]
        assert len(given) == len(set(given)), verb

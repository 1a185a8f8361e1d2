"""`bench check`: does somebody's own strategy, criterion, head or recipe keep what the harness relies on?"""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.display import make_console, print_json
from bench.cli.session import Session, SettingOptions, with_session
from bench.errors import OK, USAGE
from bench.settings import parse_settings

if TYPE_CHECKING:
    from bench.selfcheck.properties.check import Answer


@with_session("json", "quiet")
def check(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="MODULE:NAME", help="A class of your own, or a listed name.")],
    settings: SettingOptions = None,
) -> int:
    """Check a strategy, criterion, head or recipe of your own.

    Whether it is causal, independent of the batch, the same live and replayed, sound for ties, saturated logits, one
    exit and a thousand classes. Prints a line a property, and of what fails the smallest example; then exit code 2.

    $ bench check my_rule:MyRule
    """
    session.progress.say("Loading torch.")
    from bench.selfcheck.properties.check import answer_questions, describe_speed, list_questions

    questions = list_questions(name, parse_settings(settings or []))
    out = make_console()
    answers = []
    for answer in answer_questions(questions):
        answers.append(answer)
        if not session.json:
            for line in write_lines(answer, out.width):
                out.print(line, soft_wrap=True)
    broken = [answer for answer in answers if answer.broken]
    speed = None if broken else describe_speed(questions)
    if session.json:
        print_json({"name": name, "speed": speed, "properties": list(map(make_plain, answers))})
    else:
        held = sum(answer.asked and not answer.broken for answer in answers)
        out.print(f"{held} of {len(answers)} hold." + (f" {speed}" if speed else ""))
    return USAGE if broken else OK


def write_lines(answer: Answer, width: int) -> list[str]:
    """Return the line of a property, wrapped to ``width`` below its own words.

    Below a broken one stand what was found and the smallest example.
    """
    word = "fail" if answer.broken else "ok" if answer.asked else "-"
    said = [(f"{word:<5}{answer.question.name:<23}", answer.question.asked.says)]
    if answer.broken:
        said += [(" " * 7, answer.broken.found), (" " * 7, f"smallest example: {answer.broken.describe_example()}")]
    return [line for head, text in said for line in wrap(head + text, width, subsequent_indent=" " * len(head))]


def make_plain(answer: Answer) -> dict[str, object]:
    """Return an answer as plain JSON values."""
    broken = answer.broken
    return {
        "part": answer.question.part,
        "property": answer.question.asked.name,
        "says": answer.question.asked.says,
        "asked": answer.asked,
        "ok": answer.asked and broken is None,
        "found": broken and broken.found,
        "example": broken and broken.describe_example(),
    }

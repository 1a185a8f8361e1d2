"""Hostile text in every sink: what is shown is what was there, and none of it acts."""

from __future__ import annotations

import csv
import io
import json
import re
import xml.etree.ElementTree as ElementTree
from html import unescape

import pytest
from hypothesis import example, given
from hypothesis import strategies as some
from markdown_it import MarkdownIt
from markupsafe import Markup

from bench.text import (
    escape_html,
    escape_json,
    escape_latex,
    escape_markdown,
    guard_csv,
    quote_markdown,
    show_hidden,
)

HOSTILE = (
    "\x1b]0;owned\x07\x1b[31m", "a\x00b", "\x9b2J", "x\rfresh", "\u202egnp.exe", "\u2066i\u2069", "\ud800", "\ufffe",
    "<img src=x onerror=alert(1)>", "[click](javascript:alert(1))", "![i](http://e)", "a|b", "two\nlines", "a\\|b",
    "*_~`$", "__init__", "# head", "1. item", "- item", "[a]: http://e", "end #", "---", "[bold]x[/bold]",
    ":smile:", "&lt;",
)  # fmt: skip
text_of_all_kinds = some.text(some.one_of(some.characters(), some.sampled_from("\\`*_|~$[]()<>&!#+-.:=\n\x1b\u202e")))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, é, 中文, مرحبا, 👩‍👩‍👧", "plain, é, 中文, مرحبا, 👩‍👩‍👧"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\x00b\rc\x9b", "a\\x00b\\x0dc\\x9b"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\ud800", "\\ud800"),
        ("a\tb\nc", "a\tb\nc"),
    ],
)
def test_hidden_characters_are_spelled_out(text: str, shown: str) -> None:
    assert show_hidden(text) == shown


@given(text_of_all_kinds)
def test_nothing_hidden_is_left_and_all_of_it_can_be_written(text: str) -> None:
    shown = show_hidden(text)
    shown.encode("utf-8")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]", shown)
    element = ElementTree.Element("a", {"b": shown})
    element.text = shown
    read = ElementTree.fromstring(ElementTree.tostring(element, encoding="utf-8"))
    assert (read.text or "", read.attrib["b"]) == (shown, shown)


@given(text_of_all_kinds)
def test_json_without_hidden_characters_reads_as_the_same(text: str) -> None:
    written = escape_json(json.dumps({text: text}, ensure_ascii=False))
    written.encode("utf-8")
    assert json.loads(written) == {text: text}
    assert show_hidden(written) == written


@pytest.mark.parametrize("text", HOSTILE)
def test_html_and_svg_hold_text_only(text: str) -> None:
    found = ElementTree.fromstring(f'<svg a="{escape_html(text)}">{escape_html(text)}</svg>')
    assert len(found) == 0
    assert found.text == show_hidden(text)
    assert unescape(str(escape_html(text))) == show_hidden(text)
    assert escape_html(Markup("<b>")) == "<b>"


def rendered(markdown: str) -> str:
    """The HTML that GitHub's kind of Markdown makes of it, where raw HTML would pass through."""
    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(markdown)


def plain(text: str) -> str:
    """What a reader should see of ``text``: one line."""
    return show_hidden(" ".join(text.split()))


@given(text_of_all_kinds)
@example("_a_")
@example("a_b __c__ d_")
@example("[x](y)[z][w] ![a](b) [q]: u")
@example("a\\")
@example("# #")
@example("#")
@example("1.")
def test_markdown_shows_the_text_and_nothing_else(text: str) -> None:
    cell = escape_markdown(text)
    table = rendered(f"| a | b |\n| --- | --- |\n| {cell} | end |\n")
    [row] = re.findall(r"<tbody>\n<tr>\n<td>(.*?)</td>\n<td>end</td>\n</tr>\n</tbody>", table, re.DOTALL)
    assert unescape(row) == plain(text)
    assert "<" not in row
    heading = rendered(f"### {cell}\n")
    assert unescape(heading).removeprefix("<h3>").removesuffix("</h3>\n") == plain(text)


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_of_a_paragraph_is_one(text: str) -> None:
    assert rendered(escape_markdown(text)).startswith("<p>")
    assert unescape(rendered(escape_markdown(text))) == f"<p>{plain(text)}</p>\n"


@pytest.mark.parametrize("text", ["0.912 [0.890, 0.930] ± 0.004", "albert_base", "-", "2x (1.5x)", "a-b+c"])
def test_markdown_leaves_names_and_numbers_legible(text: str) -> None:
    assert escape_markdown(text) == text


@pytest.mark.parametrize("text", [*HOSTILE, "`", "a``b`"])
def test_markdown_code_holds_the_text(text: str) -> None:
    assert unescape(rendered(f"x {quote_markdown(text)} y")) == f"<p>x <code>{plain(text)}</code> y</p>\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a_b&c%", r"a\_b\&c\%"),
        ("2×", r"2$\times$"),
        ("é", r"{\footnotesize U+00E9}"),
        ("\x1b", r"{\footnotesize U+001B}"),
        ("\\end{table}", r"\textbackslash{}end\{table\}"),
        ("a\n\nb --- c", "a b -{}-{}- c"),
    ],
)
def test_latex(text: str, expected: str) -> None:
    assert escape_latex(text) == expected


@pytest.mark.parametrize("prefix", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_csv_guards_formulas_in_texts(prefix: str) -> None:
    cell = guard_csv(f"{prefix}cmd()")
    assert isinstance(cell, str)
    assert cell.startswith("'")
    out = io.StringIO()
    csv.writer(out).writerow([cell])
    assert next(csv.reader(io.StringIO(out.getvalue())))[0].endswith("cmd()")


@pytest.mark.parametrize("value", [-1.5, 3, None, True, "-1.5", "+2", "-1e-05", "0.5", "plain", "a=b"])
def test_csv_leaves_numbers_and_plain_text(value: object) -> None:
    assert guard_csv(value) is value or guard_csv(value) == value

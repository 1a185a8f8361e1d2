"""Measured numbers that pages quote: each stands where a command's output is written into a template.

A quote is a paragraph whose first line is a comment that names a ``bench`` command, which prints JSON with ``--json``,
or a JSON file of the repository, and a template of :meth:`str.format` in which ``{0[...]}`` is found in that JSON. Of
several, separated by semicolons, ``{1[...]}`` is found in the second:

    <!-- quote `bench pick --task sst2 --speedup 2`: {0[0][said]} -->
    At 2x or more on sst2, ... (`bench pick --task sst2 --speedup 2`)

A table is quoted as a whole: a comment that names a ``bench`` command with ``--markdown``, and below it what the
command writes into that file as a table.

    <!-- table `bench pick --task sst2 --speedup 2` -->
    | strategy | accuracy | ...

All that follows a comment is written by ``python -m tests.helpers.quotes``: words of a verdict follow the records.
Nowhere else in these pages may a number stand that looks like a measured one.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / name for name in ("README.md", "results/README.md", "results/engine/README.md", "docs/results.md")]
QUOTE = re.compile(
    r"^<!-- quote `(?P<source>[^`]+)`: (?P<template>.*?) -->\n(?P<said>(?:(?!<!--)[^\n]+\n)*)", re.M | re.S
)
TABLE = re.compile(r"^<!-- table `(?P<source>bench [^`]+)` -->\n(?P<said>(?:\|[^\n]*\n)*)", re.M)
ADDRESS = re.compile(r"\]\([^)\s]*\)")
FENCE = re.compile(r"^```.*?^```$", re.M | re.S)
MARKED = re.compile(r"<!--\s*(?:quote|table)\b")
"""What begins a quote or a table, or should."""
FIELD = re.compile(r"\{[^}]*\}")
MEASURED = re.compile(
    r"(?<![\w.])[+\-−]?(?:\d+\.\d{3,}|0\.\d{2})\b(?!\.\d)|(?<![\w.])\d+\.\d+(?:x|×| ?%| times| points)|[+\-−]0\.\d+"
)
"""Qualities with two digits or more below 1, speed-ups and shares with a point in them, differences."""


def read_source(source: str) -> Any:
    """Return what a quote is taken from: the JSON that a command prints in this process, or that a file holds."""
    if not source.startswith("bench "):
        return json.loads((ROOT / source).read_text(encoding="utf-8"))
    return json.loads(run_bench([*shlex.split(source)[1:], "--json"]))


def run_bench(words: list[str]) -> str:
    """Return what a command of ``bench`` prints in this process; raises ValueError where it fails."""
    from bench.cli.process import main

    printed = StringIO()
    with redirect_stdout(printed):
        code = main(words)
    if code:
        raise ValueError(f"bench {shlex.join(words)} ends with {code}")
    return printed.getvalue()


def read_table(source: str) -> str:
    """Return the lines of the table that a command writes as Markdown."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "table.md"
        run_bench([*shlex.split(source)[1:], "--markdown", str(file)])
        return "".join(line for line in file.read_text(encoding="utf-8").splitlines(True) if line.startswith("|"))


def rewrite_quotes(
    page: str, read: Callable[[str], Any] = read_source, tabulate: Callable[[str], str] = read_table
) -> str:
    """Return the text of a page with every quote and table written anew from what its source holds now."""

    def write(quote: re.Match[str]) -> str:
        comment = quote[0].removesuffix(quote["said"])
        found = [read(source) for source in quote["source"].split("; ")]
        said = " ".join(" ".join(quote["template"].split()).format(*found).split())
        return f"{comment}{said} (`{quote['source']}`)\n"

    def replace_table(quote: re.Match[str]) -> str:
        return quote[0].removesuffix(quote["said"]) + tabulate(quote["source"])

    return TABLE.sub(replace_table, QUOTE.sub(write, page))


def find_unquoted(page: str) -> list[str]:
    """Return the numbers in a page that look measured and stand in no quote; console blocks are run by test_docs.

    A number that is written into a template comes from no record either.
    """
    written = [FIELD.sub("", quote["template"]) for quote in QUOTE.finditer(page)]
    rest = ADDRESS.sub("", FENCE.sub("", TABLE.sub("", QUOTE.sub("", page))))
    return [number for text in (*written, rest) for number in MEASURED.findall(text)]


def count_unread(page: str) -> int:
    """Return how many marks of quotes and tables in a page are not written as these are, and would be never checked."""
    return len(MARKED.findall(page)) - len(QUOTE.findall(page)) - len(TABLE.findall(page))


def main() -> None:
    """Write every quote anew; run from the top of the repository, whose records are quoted."""
    for path in PAGES:
        path.write_text(rewrite_quotes(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()

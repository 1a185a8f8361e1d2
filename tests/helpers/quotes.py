"""Measured numbers that pages quote: each stands where a command's output is written into a template.

A quote is a paragraph whose first line is a comment that names a ``bench`` command, which prints JSON with ``--json``,
or a JSON file of the repository, and a template of :meth:`str.format` in which ``{0[...]}`` is found in that JSON:

    <!-- quote `bench pick --task sst2 --speedup 2`: {0[0][said]} -->
    At 2x or more on sst2, ... (`bench pick --task sst2 --speedup 2`)

All that follows the comment is written by ``python -m tests.helpers.quotes``: words of a verdict follow the records.
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
from typing import Any

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "results/README.md", ROOT / "docs/results.md"]
QUOTE = re.compile(
    r"^<!-- quote `(?P<source>[^`]+)`: (?P<template>.*?) -->\n(?P<said>(?:(?!<!--)[^\n]+\n)*)", re.M | re.S
)
ADDRESS = re.compile(r"\]\([^)\s]*\)")
FENCE = re.compile(r"^```.*?^```$", re.M | re.S)
MEASURED = re.compile(r"(?<![\w.])[+\-−]?\d+\.\d{3}\b|(?<![\w.])\d+\.\d+(?:x|×| ?%)|[+\-−]0\.\d+")
"""Qualities with three digits, speed-ups and shares with a point in them, differences."""


def read_source(source: str) -> Any:
    """Return what a quote is taken from: the JSON that a command prints in this process, or that a file holds."""
    if not source.startswith("bench "):
        return json.loads((ROOT / source).read_text(encoding="utf-8"))
    from bench.cli.process import main

    printed = StringIO()
    with redirect_stdout(printed):
        code = main([*shlex.split(source)[1:], "--json"])
    if code:
        raise ValueError(f"{source} ends with {code}")
    return json.loads(printed.getvalue())


def rewrite_quotes(page: str, read: Callable[[str], Any] = read_source) -> str:
    """Return the text of a page with every quote written anew from what its source holds now."""

    def write(quote: re.Match[str]) -> str:
        comment = quote[0].removesuffix(quote["said"])
        said = " ".join(" ".join(quote["template"].split()).format(read(quote["source"])).split())
        return f"{comment}{said} (`{quote['source']}`)\n"

    return QUOTE.sub(write, page)


def find_unquoted(page: str) -> list[str]:
    """Return the numbers in a page that look measured and stand in no quote; console blocks are run by test_docs."""
    return MEASURED.findall(ADDRESS.sub("", FENCE.sub("", QUOTE.sub("", page))))


def main() -> None:
    """Write every quote anew; run from the top of the repository, whose records are quoted."""
    for path in PAGES:
        path.write_text(rewrite_quotes(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()

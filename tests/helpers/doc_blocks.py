"""The code blocks of README.md, CONTRIBUTING.md and docs/: what is in them, and how each is run.

A block runs as it stands, in a folder with a copy of ``results/``, blocks of one page one after the other:

    bash, console   every line (in a console what follows ``$ ``) is a ``bench`` command; what a console shows below it
                    is compared with what it prints at 80 columns, ``...`` stands for whatever comes there;
                    ``# exit code 3`` at the end of a line says which code it ends with, 0 otherwise
    python          is executed, or written to a file where its first line names one (``# my_margin.py``)
    pycon           is run by doctest, likewise with ``...``
    yaml, toml      is written to the file that its first line names (``# sweep.yaml``)
    text            is only read

A comment on the line before it changes that:

    <!-- run small -->                     ``bench run`` gets a narrow model, three steps and 100 samples: the path is
                                           tested, and such a block shows no numbers
    <!-- not run: REASON -->               of REASONS; that its commands have these options is tested all the same
    <!-- not run: REASON; output in F -->  what the console shows must stand in the file F of the repository
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
REASONS = {
    "needs a network",
    "needs a GPU",
    "needs a cluster",
    "needs an extra package",
    "takes minutes",
    "names files of yours",
    "sets up an environment",
}
FENCE = re.compile(
    r"^(?:<!-- (?P<mark>(?:run|not run)\b[^\n]*) -->\n+)?```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
MARK = re.compile(r"run small|not run: (?P<reason>[^;]+)(?:; output in (?P<file>\S+))?")
NAMED = re.compile(r"# ([\w./-]+\.\w+)\n")
LANGUAGES = {"bash", "console", "python", "pycon", "yaml", "toml", "text"}


@dataclass(frozen=True)
class Command:
    """A line to type: its words, the code it ends with, and what a console shows below it."""

    words: tuple[str, ...]
    code: int
    shown: str

    @property
    def is_bench(self) -> bool:
        """Whether it is a call of ``bench`` and nothing else, after settings of the environment."""
        rest = self.arguments
        return bool(rest) and Path(rest[0]).name == "bench" and not {"&&", "|", ";", ">"} & set(rest)

    @property
    def arguments(self) -> tuple[str, ...]:
        """The words without settings of the environment such as ``PYTHONPATH=.``."""
        first = next((i for i, word in enumerate(self.words) if not re.match(r"[A-Z_]+=", word)), len(self.words))
        return self.words[first:]


@dataclass(frozen=True)
class Block:
    """A code block, and where it is printed."""

    page: Path
    line: int
    language: str
    text: str
    mark: str

    @property
    def where(self) -> str:
        """Page and line, for messages."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def is_run(self) -> bool:
        """Whether it runs in a test."""
        return not self.mark.startswith("not run")

    @property
    def file_name(self) -> str | None:
        """The file that it is printed from, where its first line says so."""
        found = NAMED.match(self.text)
        return found[1] if found else None

    @property
    def recorded(self) -> Path | None:
        """The file that its output stands in, where the mark names one."""
        found = MARK.fullmatch(self.mark)
        return ROOT / found["file"] if found and found["file"] else None

    def commands(self) -> Iterator[Command]:
        """Yield the lines to type with their output."""
        text = self.text.replace("\\\n", " ")
        if self.language == "console":
            for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                line, _, shown = part.partition("\n")
                yield read_command(line, shown)
        else:
            for line in text.splitlines():
                if line.strip() and not line.lstrip().startswith("#"):
                    yield read_command(line, "")


def read_command(line: str, shown: str) -> Command:
    """Return the command of one line."""
    code = re.search(r"# .*exit code (\d+)", line)
    return Command(tuple(shlex.split(line, comments=True)), int(code[1]) if code else 0, shown)


def find_blocks(page: Path) -> list[Block]:
    """Return the code blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, found.start()) + 1, found["language"], found["text"], found["mark"] or "")
        for found in FENCE.finditer(text)
    ]

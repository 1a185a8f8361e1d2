"""README.md and docs/: every command shown is run or says why not, links lead somewhere, what is claimed is so."""

from __future__ import annotations

import doctest
import importlib
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from matplotlib.testing.compare import compare_images

from bench.cli.app import app
from bench.cli.process import main
from tests.helpers.doc_blocks import LANGUAGES, MARK, PAGES, REASONS, ROOT, Block, Command, find_blocks
from tests.helpers.small_runs import TINY

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = [block for page in PAGES for block in find_blocks(page)]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def name_page(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder like a checkout, with a copy of the records, whose modules can be imported."""
    shutil.copytree(ROOT / "results", tmp_path / "results", ignore=shutil.ignore_patterns(".cache", "gpu", "advise"))
    monkeypatch.chdir(tmp_path)
    guide = find_blocks(ROOT / "CONTRIBUTING.md")
    for block in guide:  # my_margin.py, which README.md names
        if block.language == "python" and block.file_name:
            (tmp_path / block.file_name).write_text(block.text, encoding="utf-8")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


RUN_ELSEWHERE = {ROOT / "docs/import/README.md"}
"""tests/advise/test_external.py runs it, and looks at what comes out."""
RUN_HERE = [p for p in PAGES if p not in RUN_ELSEWHERE and any(b.is_run for b in find_blocks(p))]


@pytest.mark.parametrize("page", RUN_HERE, ids=name_page)
def test_the_blocks_of_a_page_run_as_they_stand(page: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known: dict[str, Any] = {"__name__": "__main__"}
    (place / "docs/images").mkdir(parents=True)
    for block in find_blocks(page):
        if not block.is_run or block.language == "text":
            continue
        if block.file_name:
            (place / block.file_name).parent.mkdir(parents=True, exist_ok=True)
            (place / block.file_name).write_text(block.text, encoding="utf-8")
            importlib.invalidate_caches()
        elif block.language == "python":
            with pytest.MonkeyPatch.context() as patch:
                patch.syspath_prepend(str(place))
                exec(compile(block.text, block.where, "exec"), known)
        elif block.language == "pycon":
            run_doctest(block, known)
        else:
            for command in block.commands():
                run_command(block, command, capsys)

    for drawn in (place / "docs").rglob("*.png"):  # the committed picture is what the command draws
        assert compare_images(str(ROOT / drawn.relative_to(place)), str(drawn), tol=12) is None


def run_command(block: Block, command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """Run a command in this process, and hold what it prints against what the page shows."""
    words = list(command.arguments[1:])
    if block.mark == "run small" and words[0] == "run":
        words += [*TINY, "--limit", "100"]
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        if "PYTHONPATH=." in command.words:
            patch.syspath_prepend(str(Path.cwd()))
        code = main(words)
    said = capsys.readouterr()
    assert code == command.code, f"{block.where}: {command.words}\n{said.err}"
    if command.shown:
        same = doctest.OutputChecker().check_output(command.shown, said.out, FLAGS)
        assert same, f"{block.where}: {command.words} prints\n{said.out}"


def run_doctest(block: Block, known: dict[str, Any]) -> None:
    """Run an interactive session, with the names that earlier blocks of the page left."""
    test = doctest.DocTestParser().get_doctest(block.text, known, block.where, block.where, 0)
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    runner.run(test, out=said.append, clear_globs=False)
    known.update(test.globs)
    assert runner.failures == 0, "".join(said)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.where)
def test_a_block_says_how_it_is_run(block: Block) -> None:
    assert block.language in LANGUAGES, f"{block.where}: name the language, text where it is none"
    if block.mark:
        found = MARK.fullmatch(block.mark)
        assert found, f"{block.where}: {block.mark}"
        assert found["reason"] is None or found["reason"] in REASONS
    if block.language in ("yaml", "toml") and block.is_run:
        assert block.file_name, f"{block.where}: its first line names the file"
    if block.language in ("bash", "console") and block.is_run:
        assert all(command.is_bench for command in block.commands()), f"{block.where}: only bench runs in a test"
    if block.language == "console":
        assert block.text.startswith("$ "), block.where


@pytest.mark.parametrize(
    "block", [b for b in BLOCKS if not b.is_run and b.language in ("bash", "console")], ids=lambda block: block.where
)
def test_a_command_that_is_not_run_is_one_all_the_same(block: Block) -> None:
    """Its verb and its options are there, and what it shows was recorded."""
    group: Any = typer.main.get_command(app)
    for command in block.commands():
        for words in split_commands(command):
            verb = group.get_command(None, words[0])
            assert verb is not None, f"{block.where}: {words}"
            verb.make_context(words[0], list(words[1:]))
        for line in command.shown.split("...") if block.recorded else []:
            recorded = " ".join(block.recorded.read_text(encoding="utf-8").split())  # type: ignore[union-attr]
            assert " ".join(line.split()) in recorded, f"{block.where}: {line}"
        assert block.recorded or not command.shown, f"{block.where}: say where its output is recorded"


def split_commands(command: Command) -> Iterator[tuple[str, ...]]:
    """Yield the words after each ``bench`` in a line of a shell."""
    rest = list(command.arguments)
    ends = [i for i, word in enumerate(rest) if word in ("&&", "|", ";", "&")] + [len(rest)]
    for i, word in enumerate(rest):
        if Path(word).name == "bench":
            yield tuple(rest[i + 1 : min(end for end in ends if end > i)])


LINK = re.compile(r"(?<!`)\]\(([^)\s]+)\)|(?:src|srcset)=\"([^\"]+)\"")


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=name_page)
def test_a_relative_link_leads_to_a_file(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for link in (a or b for a, b in LINK.findall(text)):
        if "://" in link or link.startswith("../../actions/"):  # of the project on its forge
            continue
        file = link.partition("#")[0]
        assert not file or (page.parent / file).exists(), f"{name_page(page)}: {link}"


def test_the_first_screen_is_short() -> None:
    first, heading, rest = README.partition("\n## Set-up\n")
    assert heading
    assert len(first.splitlines()) <= 40
    for command in ("bench run --strategy elbert-mono --task demo", "pytest -n auto"):
        assert sum(command in line for line in rest.splitlines()) == 1
    assert len(README.splitlines()) <= 70
    assert all(picture.stat().st_size < 100_000 for picture in (ROOT / "docs/images").iterdir())


def test_badges_are_true() -> None:
    shields, workflow_page = "https://img.shields.io/badge", "../../actions/workflows/ci.yml"
    line = next(line for line in README.splitlines() if line.startswith("[!["))
    assert re.findall(r"!\[([^\]]+)\]\(([^)]+)\)\]\(([^)]+)\)", line) == [
        ("CI", f"{workflow_page}/badge.svg", workflow_page),
        ("Python 3.11 to 3.13", f"{shields}/python-3.11%20to%203.13-blue", "pyproject.toml"),
        ("Apache-2.0", f"{shields}/licence-Apache--2.0-blue", "LICENSE"),
    ]
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    assert workflow["jobs"]["all"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    assert PYPROJECT["project"]["license"] == "Apache-2.0"
    assert PYPROJECT["project"]["requires-python"] == ">=3.11"


def test_every_page_is_in_the_navigation() -> None:
    class Loader(yaml.SafeLoader):
        """Takes what only the builder knows, such as !!python/name, for text."""

    Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: suffix)
    site = yaml.load((ROOT / "mkdocs.yml").read_text(), Loader)

    def walk(entry: Any) -> Iterator[str]:
        for value in entry.values() if isinstance(entry, dict) else entry if isinstance(entry, list) else [entry]:
            yield from [value] if isinstance(value, str) else walk(value)

    named = set(walk(site["nav"]))
    assert {p.relative_to(ROOT / "docs").as_posix() for p in PAGES[1:]} <= named


def test_the_citation_is_complete_and_of_this_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(cited)
    assert (cited["cff-version"], cited["type"]) == ("1.2.0", "software")
    assert all(author.get("name") or author.get("family-names") for author in cited["authors"])
    assert str(cited["version"]) == PYPROJECT["project"]["version"]
    assert cited["license"] == PYPROJECT["project"]["license"]

"""results/: pages quote what the records say, the sweeps that measure them hang together, a clone stays small."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from bench.cell.request import Request
from bench.cell.resolve import find_overrides, resolve_request
from bench.reproduce.papers import load_paper
from bench.reproduce.run import expand_plan
from bench.results.spec import Facts, RunSpec, hash_identity, identify_training
from bench.sweep.config import read_sweep
from tests.helpers.quotes import (
    PAGES,
    QUOTE,
    ROOT,
    TABLE,
    count_unread,
    find_unquoted,
    read_source,
    rewrite_quotes,
    run_bench,
)

RESULTS = ROOT / "results"
SWEEPS = sorted((RESULTS / "sweeps").glob("*.yaml"))
TRAINING = ("core", "systems", "news", "regression", "headline")
"""The sweeps that train; the others ask more of what is trained."""
PRINTED = {"TABLE.md": "table"}
"""Pages by the command that prints them; CRITERIA.md and RANKS.md take minutes."""
FIVE_MB, IN_ALL = 5_000_000, 25_000_000


# --------------------------------------------------------------------------- what is quoted


@cache
def read_once(source: str) -> Any:
    return read_source(source)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like a checkout with a copy of the records, in which what is quoted is asked for."""
    if any(quote["source"].startswith("bench ") for page in PAGES for quote in QUOTE.finditer(page.read_text())):
        ignored = shutil.ignore_patterns(".cache", "gpu", "advise", "baseline")
        shutil.copytree(RESULTS, tmp_path / "results", ignore=ignored)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_what_a_page_quotes_is_what_the_records_say(page: Path, place: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert rewrite_quotes(text, read_once) == text, "python -m tests.helpers.quotes writes it anew"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_number_stands_in_a_page_without_its_command(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert find_unquoted(text) == []
    assert count_unread(text) == 0


def test_the_results_page_quotes_the_records() -> None:
    page = (RESULTS / "README.md").read_text(encoding="utf-8")
    quoted = [source for quote in QUOTE.finditer(page) for source in quote["source"].split("; ")]
    assert len(quoted) >= 10
    assert all(source.startswith("bench ") or (ROOT / source).is_file() for source in quoted)


def test_the_results_page_has_the_table_at_twice_the_speed_and_the_picture() -> None:
    page = (RESULTS / "README.md").read_text(encoding="utf-8")
    tables = [table["said"].splitlines() for table in TABLE.finditer(page)]
    assert tables
    for header, _, *rows in tables:
        assert header.startswith("| strategy | accuracy | FLOPs speed-up | ")
        assert header.endswith(" | against the best |")
        assert any("within noise" in row for row in rows)
    assert (RESULTS / re.findall(r"!\[[^]]+\]\(([^)]+)\)", page)[0]).is_file()


PAGE = """Before, 12 layers.

<!-- quote `bench pick --task sst2`: {0[best]} has
{0[value]:.3f}: {0[verdict]}. -->
entropy has 0.862: within noise. (`bench pick --task sst2`)

After, at 2x.
"""
FOUND = {"best": "entropy", "value": 0.8618, "verdict": "within noise"}


def test_a_quote_that_is_true_stays_as_it_is() -> None:
    assert rewrite_quotes(PAGE, lambda source: {"bench pick --task sst2": FOUND}[source]) == PAGE
    assert find_unquoted(PAGE) == []


@pytest.mark.parametrize(
    ("change", "now"),
    [({"value": 0.871}, "0.871"), ({"verdict": "reproduced"}, "reproduced"), ({"best": "deebert"}, "deebert has")],
)
def test_a_quote_follows_the_record_in_number_and_word(change: dict[str, Any], now: str) -> None:
    written = rewrite_quotes(PAGE, lambda source: FOUND | change)
    assert written != PAGE
    assert now in written
    assert written.startswith("Before, 12 layers.\n")
    assert written.endswith("\nAfter, at 2x.\n")


def test_a_table_follows_its_command_and_its_numbers_are_quoted() -> None:
    page = f"{PAGE}\n<!-- table `bench pick` -->\n| x | 0.861 |\n\nAt the end.\n"
    assert rewrite_quotes(page, lambda source: FOUND, lambda source: "| x | 0.861 |\n") == page
    written = rewrite_quotes(page, lambda source: FOUND, lambda source: "| y | 0.872 |\n| z | 0.873 |\n")
    assert written == page.replace("| x | 0.861 |\n", "| y | 0.872 |\n| z | 0.873 |\n")
    assert find_unquoted(written) == []


UNQUOTED = [
    "keeps 0.862 of it", "has 0.8618", "at 2.16x", "loses -0.015 [", "0.62 % change", "by +0.1 points", "is 1.23 times",
    "loses 1.5 points", "has 0.86",
]  # fmt: skip


def test_a_quote_may_be_of_several_commands() -> None:
    page = "<!-- quote `bench show a; bench show b`: {0[value]:.3f} and {1[value]:.3f}. -->\n"
    found = {"bench show a": {"value": 0.8618}, "bench show b": {"value": 0.5}}
    written = rewrite_quotes(page, found.__getitem__)
    assert written == f"{page}0.862 and 0.500. (`bench show a; bench show b`)\n"


@pytest.mark.parametrize("said", UNQUOTED)
def test_a_number_without_a_quote_is_found(said: str) -> None:
    assert find_unquoted(f"{PAGE}\nThe model {said}.\n")
    assert find_unquoted(PAGE.replace("{0[best]} has", f"The model {said},"))


@pytest.mark.parametrize("broken", ["<!--quote ", "<!--  table ", "<!-- quote: "])
def test_a_mark_that_is_no_quote_is_found(broken: str) -> None:
    assert count_unread(PAGE) == 0
    assert count_unread(PAGE.replace("<!-- quote ", broken)) == 1


# --------------------------------------------------------------------------- what the records come from


def test_one_clean_commit_measured_every_cell() -> None:
    told = [
        json.loads(path.read_text(encoding="utf-8"))["environment"]["source"]
        for path in RESULTS.glob("*/*/*/record.json")
    ]
    assert len(told) >= 200
    assert len({one["commit"] for one in told}) == 1
    assert not any(one["dirty"] for one in told)


@pytest.mark.parametrize(("file", "words"), PRINTED.items())
def test_a_page_is_what_its_command_prints(file: str, words: str, place: Path) -> None:
    run_bench([*words.split(), "--markdown", "page.md"])
    assert (place / "page.md").read_text(encoding="utf-8") == (RESULTS / file).read_text(encoding="utf-8")


# --------------------------------------------------------------------------- the sweeps


def name_training(request: Request) -> tuple[RunSpec, str]:
    """Return a cell's spec, and what names the training that it shares with others, whatever data there is."""
    spec, parts = resolve_request(request)
    own = find_overrides(parts.strategy, spec.criterion_args)
    return spec, hash_identity(identify_training(spec, Facts(repr(own), "", parts.versions(2))))


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_sweep_has_cells(path: Path) -> None:
    assert all(name_training(request) for request in read_sweep(path))


def test_claims_and_criteria_train_nothing_of_their_own() -> None:
    """What the matrix trains serves all criteria, all windows of the claims, and all timed cells."""

    def read(name: str) -> list[Request]:
        return read_sweep(RESULTS / f"sweeps/{name}.yaml")

    trained = {name_training(request)[1] for name in TRAINING for request in read(name)}
    asked = {name: read(name) for name in ("criteria", "timed")}
    small = load_paper("elbert").small
    assert small is not None
    asked["claims"] = [request for _, request in expand_plan(small)]
    extra = {name: [r for r in cells if name_training(r)[1] not in trained] for name, cells in asked.items()}
    assert extra == {"criteria": [], "timed": [], "claims": []}


def test_seeds_come_before_tasks() -> None:
    """A sweep that is stopped has all seeds of the tasks that it came to."""
    cells = [(r.task, r.seed) for r in read_sweep(RESULTS / "sweeps/core.yaml")]
    tasks = [task for task, _ in cells]
    assert tasks == sorted(tasks, key=tasks.index)
    assert {task: {seed for t, seed in cells if t == task} for task in tasks} == {t: {0, 1, 2} for t in tasks}


def test_the_script_knows_every_sweep_and_refuses_what_it_does_not_know() -> None:
    text = (RESULTS / "reproduce.sh").read_text(encoding="utf-8")
    listed = re.search(r"^untimed=\((.*)\)$", text, re.M)
    assert listed
    assert {*listed[1].split(), "timed"} == {path.stem for path in SWEEPS}
    asked = ["bash", str(RESULTS / "reproduce.sh"), "--dry-run", "everything"]
    ended = subprocess.run(asked, env={"PATH": "/usr/bin:/bin", "HUB": "nowhere"}, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "Unknown: everything. Parts: matrix frozen timed claims pages; or --dry-run.\n"


# --------------------------------------------------------------------------- size


def test_the_records_are_small_enough_for_a_clone() -> None:
    """Cells that share a checkpoint have the same logits, which `bench pack` stores once."""
    sizes = [path.stat().st_size for path in RESULTS.rglob("*") if path.is_file() and ".cache" not in path.parts]
    assert max(sizes) < FIVE_MB
    assert sum(sizes) < IN_ALL


def test_no_link_lies_in_the_records() -> None:
    """A zip, or a checkout on Windows, would have a line of text in its place."""
    assert [path for path in RESULTS.rglob("*") if path.is_symlink() and ".cache" not in path.parts] == []

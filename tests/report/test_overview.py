"""What the page says first: the same numbers as bench table, the most telling panel before others, small as a file."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.measure.rules import Rule
from bench.progress import Progress
from bench.report.overview.answers import say_headline
from bench.report.overview.families import OWN_FAMILY, find_family, list_families
from bench.report.overview.lines import arrange_panels
from bench.report.series import make_panels
from bench.report.write import write_report
from bench.results.matched import match_runs
from bench.results.store import Store
from strategies import STRATEGIES
from tests.helpers.report_store import edit_cell, make_cell

OWN_TRAINING = {
    "elbert-mono": {"recipe": "elbert", "head": "shared"},
    "deebert": {"recipe": "deebert", "head": "highway"},
    "entropy": {"recipe": "joint", "head": "linear"},
}
EXAMPLE = Path(__file__).parents[2] / "reports/example/report.html"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three systems with plain models on a pretrained backbone, one from scratch on a task whose name comes before."""
    root = tmp_path_factory.mktemp("overview")
    for strategy, spec in OWN_TRAINING.items():
        make_cell(root, strategy, "zeta", spec={**spec, "init": "pretrained"}, samples=400)
    make_cell(root, "full", "zeta", early=False, samples=400, spec={"init": "pretrained"})
    make_cell(root, task="alpha", spec=OWN_TRAINING["elbert-mono"])
    make_cell(root, task="zeta", spec=OWN_TRAINING["elbert-mono"])
    return root


def test_the_first_panel_is_the_one_that_compares_most(store: Path) -> None:
    tasks = arrange_panels(make_panels(Store(store).runs()[0]))
    assert [task for task, _ in tasks] == ["zeta", "alpha"]
    first = tasks[0][1][0]
    assert [line.name for line in first.lines] == ["ELBERT", "DeeBERT", "Entropy", "Full model"]
    assert first.panel.series[0].first.spec.init == "pretrained"
    assert first.first_rule == "2x"


@pytest.mark.parametrize(("trained_on", "is_richer"), [(1, False), (10**6, True)])
def test_what_saw_more_training_data_is_linked(trained_on: int, is_richer: bool, tmp_path: Path) -> None:
    for strategy, spec in OWN_TRAINING.items():
        make_cell(tmp_path, strategy, "zeta", spec={**spec, "init": "pretrained"}, samples=400)

    def change(record: dict[str, Any]) -> None:
        record["task"]["rows"]["train"] |= {"used": trained_on, "available": trained_on}

    spec = {**OWN_TRAINING["entropy"], "init": "pretrained", "limit": 77}
    edit_cell(make_cell(tmp_path, "entropy", "zeta", spec=spec, samples=400), change)
    [(_, (first, other))] = arrange_panels(make_panels(Store(tmp_path).runs()[0]))
    assert (len(first.systems), len(other.systems)) == (3, 1)
    assert first.find_richer([first, other]) is (other if is_richer else None)
    assert (first if is_richer else other).find_richer([other, first]) is (other if is_richer else first)


def test_the_sentence_has_the_numbers_of_the_table(store: Path) -> None:
    runs = Store(store).runs()[0]
    overview = arrange_panels(make_panels(runs))[0][1][0]
    rows = {one.runs[0].name: one.row for one in match_runs(runs, ["2x"])}
    headline = overview.headlines["2x"]
    ranked = [entry for entry in headline.entries if entry.ranked]
    assert len(ranked) == 3
    for entry in ranked:
        assert entry.standing is not None
        row = rows[entry.line.series.first.name]["2x"]
        assert entry.standing.rule == "2x"
        assert entry.standing.quality.value == row["value"]
        assert entry.standing.cost_speedup.value == row["cost_speedup"]
    best = headline.best
    assert best is not None
    assert best.verdict == "best"
    assert rows[best.line.series.first.name]["2x"]["value"] == max(
        rows[e.line.series.first.name]["2x"]["value"] for e in ranked
    )
    assert [entry.line.name for entry in headline.plain] == ["Full model"]


@pytest.mark.parametrize(("rule", "words"), [("-1", "Losing at most 1 point"), ("-0.5", "Losing at most 0.5 points")])
def test_a_loss_is_counted_in_words(rule: str, words: str, store: Path) -> None:
    found = arrange_panels(make_panels(Store(store).runs()[0]))[0][1][0].headlines
    assert replace(found["2x"], ranking=replace(found["2x"].ranking, goal=Rule.parse(rule))).words == words


def test_a_system_that_is_short_of_the_point_says_where_it_is(store: Path) -> None:
    headline = arrange_panels(make_panels(Store(store).runs()[0]))[0][1][0].headlines["2x"]
    best = headline.best
    assert best is not None
    assert best.standing is not None
    for speedup, said in ((1.95, " at 1.95×"), (2.0, ""), (2.4, "")):
        cost = replace(best.standing.cost_speedup, value=speedup)
        moved = replace(best, standing=replace(best.standing, cost_speedup=cost))
        assert headline.say(moved) == f"{best.line.name} {best.standing.quality.value:.3f}{said}"


def test_a_system_says_its_training_where_there_are_two_of_it(store: Path, tmp_path: Path) -> None:
    for strategy, spec in OWN_TRAINING.items():
        make_cell(tmp_path, strategy, "zeta", spec={**spec, "init": "pretrained"}, samples=400)
    other = {"recipe": "joint", "head": "linear", "init": "pretrained"}
    make_cell(tmp_path, "deebert", "zeta", spec=other, samples=400)
    described = [
        {line.name: line.described for line in arrange_panels(make_panels(Store(root).runs()[0]))[0][1][0].systems}
        for root in (store, tmp_path)
    ]
    assert ["deebert / highway" in found["DeeBERT"] for found in described] == [False, True]
    assert ["joint / linear" in found["Entropy"] for found in described] == [False, False]


def test_a_training_that_is_no_systems_own_is_said(tmp_path: Path) -> None:
    make_cell(tmp_path, "elbert-mono", spec={"recipe": "joint", "head": "linear"})
    [line] = arrange_panels(make_panels(Store(tmp_path).runs()[0]))[0][1][0].systems
    assert "joint / linear" in line.described


def test_every_strategy_of_ours_has_the_family_that_it_says() -> None:
    names = [name for members in list_families().values() for name in members]
    assert sorted(names) == STRATEGIES.builtin
    assert {name: find_family(name) for name in names} == {name: STRATEGIES.load(name).family for name in names}
    assert find_family("somebody:Else") == OWN_FAMILY
    assert list_families()[OWN_FAMILY] == ()


def test_the_example_is_small_and_begins_with_an_answer() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    assert len(text.encode()) < 1_000_000
    found = re.findall(r'<p class="found">(.*?)</p>', text)
    assert "At 2× or more on <bdi>sst2</bdi>" in next(one for one in found if "2×" in one)
    assert text.index('class="found"') < text.index('id="cells"') < text.index('id="provenance"')
    folded = re.sub(r"<details.*?</details>", "", text, flags=re.DOTALL)
    assert "commit " not in folded


def test_markdown_begins_with_the_same_answer_and_ends_with_provenance(store: Path, tmp_path: Path) -> None:
    write_report(store, tmp_path, ["md"], Progress(quiet=True))
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    headline = arrange_panels(make_panels(Store(store).runs()[0]))[0][1][0].headlines["2x"]
    assert headline.best is not None
    said, best = say_headline(headline), headline.best.line.name
    assert said.startswith(f"At 2× or more: {best} 0.")
    assert f"**{said}**" in text
    order = [
        "# ExitBench report",
        "## zeta",
        said,
        f"| {best} ",
        "## alpha",
        "## Every strategy",
        "### Cells",
        "- machine",
    ]
    found = [text.index(part) for part in order]
    assert found == sorted(found)
    assert text.rindex("## ") == text.index("## Machines, code and packages")

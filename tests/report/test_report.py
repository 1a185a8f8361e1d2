"""The report of made-up stores: what is shown, marked and left apart; every shape of store renders something right."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.errors import UsageError
from bench.progress import Progress
from bench.report.provenance import find_revisions
from bench.report.series import Panel, make_panels
from bench.report.style import DASHES, LOOKS, assign_looks, choose_look
from bench.report.write import write_report
from bench.results.store import Store
from tests.helpers.report_store import make_cell, varied_store

TABLES = ["html", "md", "latex", "csv"]


def report(store: Path, out: Path, formats: list[str] = TABLES) -> str:
    write_report(store, out, formats, Progress(quiet=True))
    return (out / "report.html").read_text(encoding="utf-8") if "html" in formats else ""


def panels(root: Path) -> list[Panel]:
    return make_panels(Store(root).runs()[0])


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def varied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return varied_store(tmp_path_factory.mktemp("store"))


def test_two_reports_are_byte_identical(varied: Path, tmp_path: Path) -> None:
    report(varied, tmp_path / "a" / "all")
    report(varied, tmp_path / "b" / "all")
    make_cell(tmp_path / "r", latency="valid")
    make_cell(tmp_path / "r", "entropy")
    report(tmp_path / "r", tmp_path / "a", ["figures"])
    report(tmp_path / "r", tmp_path / "b", ["figures"])
    first, second = files(tmp_path / "a"), files(tmp_path / "b")
    assert list(first) == list(second)
    assert [name for name in first if first[name] != second[name]] == []
    kinds = {Path(name).suffix for name in first}
    assert {".html", ".md", ".tex", ".csv", ".svg", ".pdf", ".png"} <= kinds


def test_no_model_is_loaded_and_the_command_says_what_it_wrote(tmp_path: Path) -> None:
    make_cell(tmp_path / "r", latency="valid", depth=True)
    make_cell(tmp_path / "r", "entropy", status="error", error="no")
    code = (
        "import sys; from bench.cli.process import main; "
        f"code = main(['report', '--results-dir', {str(tmp_path / 'r')!r}, '--out', {str(tmp_path)!r},"
        " '--format', 'html,csv',"
        " '--json', '--quiet']); print('transformers' in sys.modules, code, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "False 0"
    said = json.loads(done.stdout)
    assert (said["cells"], said["failed"], said["damaged"], said["comparisons"]) == (2, 1, 0, 1)
    assert sorted(Path(p).name for p in said["files"]) == ["cells.csv", "curves.csv", "points.csv", "report.html"]


def test_seeds_are_averaged_and_windows_are_not(varied: Path) -> None:
    demo = panels(varied)[0]
    assert [s.label for s in demo.series][:3] == [f"elbert-mono (window={w})" for w in (2, 4, 8)]
    middle = demo.series[1]
    assert middle.seeds == "0, 1, 2"
    values = [r.reached["2x"].metrics["accuracy"] for r in middle.results]
    point = middle.points["2x"]
    assert point.quality.value == pytest.approx(sum(v.value for v in values) / 3)
    assert point.quality.low == pytest.approx(sum(v.low for v in values) / 3)
    assert len({(s.look.colour, s.look.marker) for s in demo.series[:3]}) == 1
    assert len({s.look.dash for s in demo.series[:3]}) == 3


def test_other_data_is_another_panel_and_other_code_is_marked(varied: Path, tmp_path: Path) -> None:
    titles = [p.title for p in panels(varied)]
    assert titles[1:] == [f"rte · minilm-l6 · data=sha256-{i}" for i in (1, 2)]
    marks = list(find_revisions(Store(varied).runs()[0]).values())
    assert [m.letter for m in marks] == ["a", "b"]
    assert "uncommitted" in marks[1].text
    page = report(varied, tmp_path)
    assert "2 code revisions" in page
    assert "[b]" in (tmp_path / "report.md").read_text(encoding="utf-8").replace("\\", "")


def test_versions_of_a_strategy_are_not_mixed(tmp_path: Path) -> None:
    first = make_cell(tmp_path, seed=0)
    second = make_cell(tmp_path, seed=1, version=2)
    [panel] = panels(tmp_path)
    assert [(s.label, s.seeds) for s in panel.series] == [
        ("elbert-mono (version=1)", "0"),
        ("elbert-mono (version=2)", "1"),
    ]
    assert first != second


def test_times_of_two_machines_are_not_averaged(tmp_path: Path) -> None:
    make_cell(tmp_path, seed=0, latency="valid", machine="a" * 12)
    make_cell(tmp_path, seed=1, latency="valid", machine="b" * 12)
    [panel] = panels(tmp_path)
    timed = panel.series[0].points["2x"].timed
    assert timed is not None
    assert (timed.machine, timed.speedup.seeds) == ("a" * 12, 1)


def test_plain_compression_is_a_star_against_the_whole_backbone(varied: Path) -> None:
    from bench.report.content import find_stars

    found = {s.label: speedup for s, speedup in find_stars(panels(varied)[0]).items()}
    assert found == pytest.approx({"full": 1.0, "truncated": 2.0})


def test_an_empty_store(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    page = report(tmp_path / "results", tmp_path / "out", [*TABLES, "figures"])
    assert "no finished results" in page
    assert "no finished results" in (tmp_path / "out" / "report.md").read_text()
    with pytest.raises(UsageError, match="no results folder"):
        report(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(UsageError, match="Unknown format 'word'"):
        report(tmp_path / "results", tmp_path / "out", ["word"])


def test_one_run_only_without_its_exits(tmp_path: Path) -> None:
    make_cell(tmp_path / "r", exits=False)
    page = report(tmp_path / "r", tmp_path / "out")
    assert "logits of the exits are not in the store" in page
    assert "1 finished cell in 1 comparison" in page
    assert "Wall-clock time: not measured" in page
    assert "not measured." in page


def test_what_failed_is_named(varied: Path, tmp_path: Path) -> None:
    page = report(varied, tmp_path)
    assert "Logits of sample 3 at exit 2 are not finite." in page
    assert "the clock was throttled" in page
    assert "Started, not finished" in page
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "latency INVALID" in text
    assert "INVALID" in (tmp_path / "tables.tex").read_text(encoding="utf-8")


@pytest.mark.parametrize("content", ["{", "[]", '{"schema_version": 1, "status": "success"}', '{"schema_version": 99}',
                                     '{"schema_version": 1, "status": "success", "spec": {"strategy": "a", "task": "b",'
                                     ' "backbone": "c", "seed": 0}}'])  # fmt: skip
def test_damaged_records_are_listed_and_the_rest_is_shown(tmp_path: Path, content: str) -> None:
    make_cell(tmp_path / "r")
    bad = tmp_path / "r" / "demo" / "albert-demo" / "bad" / "record.json"
    bad.parent.mkdir()
    bad.write_text(content)
    page = report(tmp_path / "r", tmp_path / "out")
    assert ("1 newer" if "99" in content else "1 damaged") in page
    assert "demo/albert-demo/bad" in page
    assert str(tmp_path) not in page


def test_damaged_exits_are_told(tmp_path: Path) -> None:
    folder = make_cell(tmp_path / "r")
    (folder / "exits-evaluation.parquet").write_bytes(b"nothing")
    page = report(tmp_path / "r", tmp_path / "out")
    assert "logits is damaged" in page
    assert str(tmp_path) not in page


def test_500_cells(tmp_path: Path) -> None:
    for task in range(5):
        for window in range(100):
            make_cell(tmp_path / "r", task=f"t{task}", criterion={"window": window}, exits=False, samples=20)
    page = report(tmp_path / "r", tmp_path / "out")
    assert "500 finished cells in 5 comparisons" in page
    assert page.count('<tr id="cell-') == 500
    assert page.count("at every operating point (100 series)") == 5
    assert len(page) < 4_000 * 500  # no cell takes more than a few lines
    rows = list(csv.DictReader((tmp_path / "out" / "points.csv").open(encoding="utf-8")))
    assert len({(r["task"], r["series"]) for r in rows}) == 500


def test_points_csv_has_the_numbers_of_the_records(varied: Path, tmp_path: Path) -> None:
    report(varied, tmp_path, ["csv"])
    rows = list(csv.DictReader((tmp_path / "points.csv").open(encoding="utf-8")))
    found = next(r for r in rows if r["strategy"] == "patience" and r["point"] == "2x")
    point = next(run for run in Store(varied).runs()[0] if run.strategy == "patience").point("2x")
    assert point is not None
    assert float(found["value"]) == point.metrics["accuracy"].value
    assert float(found["flops_speedup_high"]) == point.cost_speedup.high
    assert found["thresholds_chosen_on"] == "select"
    unreached = next(r for r in rows if r["strategy"] == "patience" and r["point"] == "4x")
    assert unreached["value"] == ""
    assert "cannot be reached" in unreached["reason"]


def test_every_cell_has_its_command_and_every_link_its_target(varied: Path, tmp_path: Path) -> None:
    import re

    page = report(varied, tmp_path)
    for run in Store(varied).runs()[0]:
        assert run.head.command in page
    targets = set(re.findall(r' id="([^"]+)"', page))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= targets


def test_the_page_is_whole_in_itself(varied: Path, tmp_path: Path) -> None:
    import re

    page = report(varied, tmp_path)
    assert re.findall(r'(?:src|href)="(?!#|data:)[^"]*"', page) == []
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")
    assert "prefers-color-scheme:dark" in page
    assert "@media print" in page


def test_every_strategy_has_a_look_of_its_own() -> None:
    from strategies import STRATEGIES

    looks = {name: choose_look(name) for name in STRATEGIES}
    assert len({(one.colour, one.marker) for one in looks.values()}) == len(looks)
    assert {name: looks[name] for name in LOOKS} == LOOKS
    assert choose_look("someone's own") == choose_look("someone's own")
    assert (choose_look("someone's own").colour, choose_look("someone's own").marker) not in {
        (one.colour, one.marker) for one in looks.values()
    }


def test_thirty_more_strategies_get_looks_apart_whatever_their_order() -> None:
    names = [f"strategy-{i}" for i in range(30)]
    found = assign_looks(names, LOOKS.values())
    assert found == assign_looks(reversed(names), LOOKS.values())
    pairs = [(one.colour, one.marker) for one in (*found.values(), *LOOKS.values())]
    assert len(set(pairs)) == len(pairs)
    assert all(one.dash in DASHES for one in found.values())
    some = assign_looks([f"strategy-{i}" for i in range(200)], LOOKS.values())
    assert len(some) == 200  # more than there are pairs: looks repeat, nothing fails


def test_what_is_drawn_is_the_best_of_each_strategy_and_bounds_come_last(tmp_path: Path) -> None:

    from bench.report.content import choose_drawn

    for window in range(12):
        make_cell(tmp_path, criterion={"window": window}, exits=False)
    make_cell(tmp_path, "entropy", exits=False)
    make_cell(tmp_path, "oracle-correct", upper_bound=True, exits=False)
    [panel] = panels(tmp_path)
    assert [s.strategy for s in choose_drawn(panel)] == ["elbert-mono"] * 6 + ["entropy", "oracle-correct"]
    assert [s.strategy for s in choose_drawn(panel, 2)] == ["elbert-mono", "entropy"]
    assert len(choose_drawn(panel, 32)) == 14


def test_the_clocks_interval_and_the_samples_interval_are_both_shown(tmp_path: Path) -> None:
    make_cell(tmp_path / "r", latency="valid")
    page = report(tmp_path / "r", tmp_path / "out")
    [row] = [r for r in csv.DictReader((tmp_path / "out/points.csv").open(encoding="utf-8")) if r["point"] == "2x"]
    clock = [float(row[f"measured_speedup_{end}"]) for end in ("low", "high")]
    samples = [float(row[f"measured_speedup_samples_{end}"]) for end in ("low", "high")]
    assert clock == pytest.approx([2.05 * 0.75, 2.05 * 0.85])
    assert samples == pytest.approx([2.05 * 0.7, 2.05 * 0.9])
    shown = f"[{clock[0]:.2f}, {clock[1]:.2f}] ({samples[0]:.2f} to {samples[1]:.2f})"
    assert shown in (tmp_path / "out/report.md").read_text(encoding="utf-8").replace("\\", "")
    assert f"[{samples[0]:.2f}, {samples[1]:.2f}] over samples" in page

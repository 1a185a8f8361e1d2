"""`bench compare`: pairs, verdicts with reasons, exit codes and files, on synthetic results."""

from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from scipy import stats

from bench.cli.process import main
from bench.compare.compare import Comparison, compare_results, parse_fail_on
from bench.compare.costs import _judge_ratio
from bench.compare.output import write_markdown
from bench.compare.pairing import find_differences
from bench.compare.quality import run_paired_test
from bench.compare.sources import SourceRuns, open_results, read_results
from bench.compare.verdict import Margins, Row, adjust_tests, judge_cost
from bench.errors import NOTHING_COMPARABLE, OK, REGRESSION, USAGE, UsageError
from bench.measure.exits import AllExits
from bench.measure.rounds import RatioSeries, follow_ratio
from tests.helpers.compare_records import Made, changed, logits, raw_times


def compared(tmp_path: Path, base: list[Made], candidate: list[Made], **options: Any) -> Comparison:
    """The comparison of two results written to disk."""
    for name, cells in (("base", base), ("candidate", candidate)):
        for made in cells:
            made.write(tmp_path / name)
    return compare_results(read_results(tmp_path / "base"), read_results(tmp_path / "candidate"), **options)


def labels(results: SourceRuns) -> list[str]:
    return [run.label for run in results.runs]


def rows_of(found: Comparison, metric: str, point: str = "") -> Row:
    """The one row of a metric."""
    [row] = [row for row in found.rows if row.metric == metric and row.point == point]
    return row


def test_the_same_results_are_the_same_in_everything(tmp_path: Path) -> None:
    found = compared(tmp_path, [Made()], [Made(commit="b" * 40)])
    assert {row.verdict for row in found.rows} == {"same"}
    assert found.exit_code() == OK
    assert any("commit" in note for notes in found.notes.values() for note in notes)


def test_accuracy_is_tested_by_exact_mcnemar(tmp_path: Path) -> None:
    base = Made()
    worse = changed(base.exits, 0.2)
    found = compared(tmp_path, [base], [Made(exits=worse)])
    row = rows_of(found, "accuracy", "all layers")
    right = [e.predictions[:, -1] == e.labels for e in (base.exits, worse)]
    only = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    assert row.p == pytest.approx(stats.binomtest(only[0], sum(only)).pvalue)
    assert row.verdict == "worse"
    assert found.exit_code() == REGRESSION
    assert rows_of(found, "accuracy, curve area").verdict == "worse"


def test_a_significant_difference_within_the_margin_is_the_same(tmp_path: Path) -> None:
    base = Made()
    found = compared(tmp_path, [base], [Made(exits=changed(base.exits, 0.2))], margins=Margins(quality=0.9))
    assert rows_of(found, "accuracy", "all layers").verdict == "same"


def test_a_few_changed_answers_are_inconclusive_and_fail_only_on_request(tmp_path: Path) -> None:
    base = Made()
    found = compared(tmp_path, [base], [Made(exits=changed(base.exits, 0.01))])
    row = rows_of(found, "accuracy", "all layers")
    assert row.verdict == "inconclusive"
    assert found.exit_code(parse_fail_on("inconclusive")) == REGRESSION


@pytest.mark.parametrize("metric", ["f1", "matthews"])
def test_other_metrics_by_the_paired_bootstrap(tmp_path: Path, metric: str) -> None:
    base = Made(metrics=(metric, "accuracy"))
    found = compared(tmp_path, [base], [Made(metrics=(metric, "accuracy"), exits=changed(base.exits, 0.2))])
    row = rows_of(found, metric, "all layers")
    assert row.verdict == "worse"
    assert row.low is not None
    assert row.high is not None
    assert row.low < row.high < 0


@pytest.mark.parametrize("metric", ["pearson", "spearman"])
def test_correlations_by_the_paired_bootstrap(metric: str) -> None:
    random = np.random.default_rng(0)
    labels = random.normal(size=200)
    good, bad = labels + 0.3 * random.normal(size=200), labels + 1.5 * random.normal(size=200)
    interval, p = run_paired_test(metric, good, bad, labels)
    assert interval.estimate < interval.high < 0
    assert p < 0.01


def test_holm_spans_the_cells_that_test_the_same_thing() -> None:
    rows = [
        Row(
            f"c{i}",
            "accuracy",
            "inconclusive",
            "",
            difference=-0.03,
            low=-0.05,
            high=-0.01,
            p=p,
            margin=0.005,
            family="f",
        )
        for i, p in enumerate([0.01, 0.02, 0.04, 0.9])
    ]
    alone = adjust_tests(rows[2:3], 0.05)
    together = adjust_tests(rows, 0.05)
    assert alone[0].verdict == "worse"
    assert [row.verdict for row in together] == ["worse", "inconclusive", "inconclusive", "inconclusive"]


CONDITIONS: dict[str, tuple[dict[str, Any], str]] = {
    "seed": ({"seed": 1}, "seed 0 -> 1"),
    "data": ({"revision": "sha256-2"}, "data revision sha256-1 -> sha256-2"),
    "weights": ({"digest": "d2"}, "backbone weights d1 -> d2"),
    "limit": ({"extra_spec": {"limit": 100}}, "limit None -> 100"),
    "dtype": ({"extra_spec": {"dtype": "bf16"}}, "dtype fp32 -> bf16"),
    "training": ({"extra_spec": {"train": {"lr": 1e-3}}}, "train.lr 0.0005 -> 0.001"),
    "strategy": ({"strategy": "deebert"}, "the candidate has no such cell"),
}


@pytest.mark.parametrize("name", CONDITIONS)
def test_other_conditions_are_not_comparable_and_say_which(tmp_path: Path, name: str) -> None:
    settings, reason = CONDITIONS[name]
    found = compared(tmp_path, [Made()], [Made(**settings)])
    assert not found.compared
    assert found.exit_code() == NOTHING_COMPARABLE
    assert any(reason in row.reason for row in found.rows)


def test_settings_may_differ_where_the_user_says_so(tmp_path: Path) -> None:
    found = compared(tmp_path, [Made()], [Made(extra_spec={"dtype": "bf16"})], across=["dtype"])
    assert found.compared
    assert found.exit_code() == OK


@pytest.mark.parametrize(("name", "said"), [("dtyp", "Did you mean 'dtype'"), ("zzz", r"Known: .*dtype")])
def test_a_setting_that_is_none_may_not_differ(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        compared(tmp_path, [Made()], [Made()], across=[name])


def test_a_raised_version_pairs_with_a_note(tmp_path: Path) -> None:
    found = compared(tmp_path, [Made()], [Made(version=2)])
    assert found.exit_code() == OK
    assert "strategy version 1 -> 2" in next(iter(found.notes.values()))


def test_a_raised_version_of_what_is_wrapped_is_announced_too(tmp_path: Path) -> None:
    base = Made().write(tmp_path / "base")
    candidate = Made(wrapped=[1, 2]).write(tmp_path / "candidate")
    both = [read_results(folder).runs[0] for folder in (base, candidate)]
    assert find_differences(*both) == ([], ["wrapped strategy version 1 -> [1, 2]"])


def test_lost_samples_are_worse_and_new_ones_not_comparable(tmp_path: Path) -> None:
    whole = logits()
    part = AllExits(whole.ids[1:], whole.labels[1:], whole.logits[1:], whole.lengths[1:])
    lost = compared(tmp_path / "a", [Made(exits=whole)], [Made(exits=part)])
    assert rows_of(lost, "samples").verdict == "worse"
    assert "s-0000" in rows_of(lost, "samples").reason
    new = compared(tmp_path / "b", [Made(exits=part)], [Made(exits=whole)])
    assert rows_of(new, "samples").verdict == "not comparable"


def test_samples_pair_by_id_not_by_position(tmp_path: Path) -> None:
    whole = logits()
    order = np.random.default_rng(0).permutation(len(whole.ids))
    ids = tuple(whole.ids[i] for i in order)
    shuffled = AllExits(ids, whole.labels[order], whole.logits[order], whole.lengths[order])
    found = compared(tmp_path, [Made(exits=whole)], [Made(exits=shuffled)])
    assert rows_of(found, "accuracy", "all layers").verdict == "same"
    assert found.counts["worse"] == 0


def test_a_candidate_whose_record_cannot_be_read_is_worse_and_named(tmp_path: Path) -> None:
    for side in ("base", "candidate"):
        Made().write(tmp_path / side)
        Made("patience").write(tmp_path / side)
    (damaged,) = (tmp_path / "candidate").glob("*/*/patience-*/record.json")
    damaged.write_text(damaged.read_text()[:-200])
    found = compare_results(read_results(tmp_path / "base"), read_results(tmp_path / "candidate"))
    [row] = [row for row in found.rows if row.verdict == "worse"]
    assert row.cell == damaged.parent.relative_to(tmp_path / "candidate").as_posix()
    assert "is damaged" in row.reason
    assert found.exit_code() == REGRESSION


def test_a_failed_candidate_is_worse(tmp_path: Path) -> None:
    found = compared(tmp_path, [Made()], [Made(status="error")])
    assert found.exit_code() == REGRESSION


def test_without_samples_equal_numbers_are_the_same_and_others_inconclusive(tmp_path: Path) -> None:
    base = Made(with_samples=False)
    other = Made(with_samples=False, exits=changed(base.exits, 0.2))
    assert compared(tmp_path / "a", [base], [Made(with_samples=False)]).exit_code() == OK
    row = rows_of(compared(tmp_path / "b", [base], [other]), "accuracy", "all layers")
    assert row.verdict == "inconclusive"
    assert "no paired test" in row.reason


@pytest.mark.parametrize(
    ("plain", "early", "machine", "verdict"),
    [(1.0, 1.0, "m1", "same"), (1.0, 1.2, "m1", "worse"), (1.0, 0.8, "m1", "better"), (1.3, 1.3, "m1", "same"),
     (1.0, 1.2, "m2", "not comparable")],
)  # fmt: skip
def test_latency_by_paired_ratios_on_the_same_machine(
    tmp_path: Path, plain: float, early: float, machine: str, verdict: str
) -> None:
    times = {"plain": 4e6, "2x": 2.2e6}
    slowed = {"plain": 4e6 * plain, "2x": 2.2e6 * early}
    found = compared(tmp_path, [Made(times=times)], [Made(times=slowed, machine=machine)])
    row = rows_of(found, "latency speed-up", "2x") if machine == "m1" else rows_of(found, "latency")
    assert row.verdict == verdict
    if plain > 1:  # everything slower alike: the machine or the code, nobody can tell
        assert rows_of(found, "latency, plain model").verdict == "inconclusive"


@pytest.mark.parametrize("side", ["base", "candidate"])
def test_milliseconds_of_two_speeds_are_not_compared_and_speedups_are(tmp_path: Path, side: str) -> None:
    times = {"plain": 4e6, "2x": 2.2e6}
    for name in ("base", "candidate"):
        Made(times=times).write(tmp_path / name)
    [file] = (tmp_path / side).glob("*/*/*/latency-1.json")
    file.write_text(json.dumps({**raw_times(times), "moved": 0.08}))
    found = compare_results(read_results(tmp_path / "base"), read_results(tmp_path / "candidate"))
    assert rows_of(found, "latency speed-up", "2x").verdict == "same"
    plain = rows_of(found, "latency, plain model")
    assert plain.verdict == "not comparable"
    assert plain.reason.startswith(f"{side}: the plain model's time moved by +8.0% during the run")


def test_the_interval_of_a_latency_ratio_is_welchs(tmp_path: Path) -> None:
    """Of logarithms of rounds' totals, the plain model's less the point's; either side may scatter more."""
    times = {"plain": 4e6, "2x": 2.2e6}
    for name in ("calm", "wild"):
        Made(times=times).write(tmp_path / name)
    [file] = (tmp_path / "wild").glob("*/*/*/latency-1.json")
    wild = raw_times(times, rounds=36, seed=3)
    for i, one in enumerate(wild["rounds"]):
        one["times"]["2x"] = [round(t * (1.0 + 0.02 * (i % 3))) for t in one["times"]["2x"]]
    wild["summary"]["2x"]["mean"] = np.mean([one["times"]["2x"] for one in wild["rounds"]]) / 1e9
    file.write_text(json.dumps(wild))
    gains = {}
    for name in ("calm", "wild"):
        [file] = (tmp_path / name).glob("*/*/*/latency-1.json")
        totals = [{k: sum(v) for k, v in r["times"].items()} for r in json.loads(file.read_text())["rounds"]]
        gains[name] = follow_ratio([t["plain"] for t in totals], [t["2x"] for t in totals])
    for base, candidate in (("calm", "wild"), ("wild", "calm")):
        found = compare_results(read_results(tmp_path / base), read_results(tmp_path / candidate))
        row = rows_of(found, "latency speed-up", "2x")
        one, other = gains[base], gains[candidate]
        (a, m), (b, n) = ((error**2, degrees) for error, degrees in (one.error, other.error))
        freedom = (a + b) ** 2 / (a**2 / m + b**2 / n)
        half = stats.t.ppf(0.975, freedom) * math.sqrt(a + b)
        moved = other.log_ratio - one.log_ratio
        expected = [math.expm1(x) for x in (moved - half, moved, moved + half)]
        assert [row.low, row.difference, row.high] == pytest.approx(expected, rel=1e-9)
        assert row.relative
        assert row.base == pytest.approx(math.exp(one.log_ratio))
        assert row.candidate == pytest.approx(math.exp(other.log_ratio))


@pytest.mark.parametrize(
    ("base", "candidate", "difference", "verdict"),
    [(200.0, 200.0, 0.0, "same"), (200.0, 201.0, 0.005, "same"), (200.0, 199.0, -0.005, "same"),
     (200.0, 204.0, 0.02, "worse"), (200.0, 196.0, -0.02, "better"), (0.0, 0.0, 0.0, "same"),
     (0.0, 1.0, math.inf, "worse")],
)  # fmt: skip
def test_a_cost_is_judged_by_its_share(base: float, candidate: float, difference: float, verdict: str) -> None:
    row = judge_cost(Row("c", "FLOPs", "inconclusive", ""), base, candidate, 0.01)
    assert (row.verdict, row.relative, row.base, row.candidate) == (verdict, True, base, candidate)
    assert row.difference == pytest.approx(difference)


def test_curves_of_other_criteria_on_the_same_logits_are_not_the_same(tmp_path: Path) -> None:
    cells = [[Made("elbert-label", arguments={"window": window})] for window in (2, 4)]
    row = rows_of(compared(tmp_path, *cells, across=["criterion_args"]), "accuracy, curve area")
    assert "identical" not in row.reason
    assert row.difference != 0


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(-0.01, 0.01, "same"), (-0.06, 0.01, "inconclusive"), (-0.01, 0.06, "inconclusive"), (-0.06, 0.06, "inconclusive"),
     (0.06, 0.08, "better"), (-0.08, -0.06, "worse"), (0.02, 0.06, "inconclusive")],
)  # fmt: skip
def test_a_speed_up_is_judged_by_where_its_interval_lies(low: float, high: float, verdict: str) -> None:
    """Two rounds each; the half width of Welch's interval is t(0.975, 2) times the standard error of two pairs."""
    middle, half = (math.log1p(low) + math.log1p(high)) / 2, (math.log1p(high) - math.log1p(low)) / 2
    apart = half / stats.t.ppf(0.975, 2)  # both pairs lie 2 d apart: each mean has variance d² (ddof=1: 2 d² / 2)
    spread = apart / math.sqrt(2) * np.array([-1.0, 1.0])
    sides = [RatioSeries(log_ratio, spread) for log_ratio in (0.0, middle)]
    row = _judge_ratio(Row("c", "latency speed-up", "same", ""), *sides, 0.05, lower_is_better=False)
    assert (row.low, row.high) == pytest.approx((low, high))
    assert row.verdict == verdict


def test_the_command_line_exit_codes_and_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = Made()
    base.write(tmp_path / "base")
    Made(exits=changed(base.exits, 0.2)).write(tmp_path / "worse")
    Made(seed=1).write(tmp_path / "other")
    command = ["compare", str(tmp_path / "base")]
    assert main([*command, str(tmp_path / "base")]) == OK
    files = {name: tmp_path / name for name in ("out.md", "out.xml", "big.json", "small.json")}
    options = ["--markdown", str(files["out.md"]), "--junit", str(files["out.xml"])]
    options += ["--tracker", str(files["big.json"]), "--tracker-costs", str(files["small.json"])]
    assert main([*command, str(tmp_path / "worse"), *options]) == REGRESSION
    assert main([*command, str(tmp_path / "worse"), "--fail-on", "none"]) == OK
    capsys.readouterr()
    assert main([*command, str(tmp_path / "other")]) == NOTHING_COMPARABLE
    assert "seed 0 -> 1" in capsys.readouterr().err
    assert main([*command, str(tmp_path / "nowhere")]) == USAGE
    capsys.readouterr()
    assert main([*command, str(tmp_path / "base"), "--fail-on", "wurst"]) == USAGE
    assert "--fail-on takes worse, inconclusive, not-comparable, better, same (" in capsys.readouterr().err
    text = files["out.md"].read_text()
    assert text.startswith("## ExitBench: ")
    assert "🔴 worse" in text
    suite = ElementTree.parse(files["out.xml"]).getroot()
    assert int(suite.attrib["failures"]) == len(suite.findall(".//failure")) > 0
    for name in ("big.json", "small.json"):
        entries = json.loads(files[name].read_text())
        assert entries
        assert all({"name", "unit", "value"} <= set(entry) for entry in entries)
        assert len({entry["name"] for entry in entries}) == len(entries)


def test_markdown_escapes_what_a_table_would_take_apart(tmp_path: Path) -> None:
    from bench.compare.output import write_markdown

    found = compared(tmp_path, [Made()], [Made(seed=1)])
    lines = [line for line in write_markdown(found).splitlines() if line.startswith("| ⚪")]
    assert lines
    assert all(line.replace("\\|", "").count("|") == 7 for line in lines)


def test_a_git_revision_is_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Made().write(tmp_path / "results")
    name = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    for command in (["init", "-q"], ["add", "results"], [*name, "commit", "-q", "-m", "results"]):
        subprocess.run(["git", *command], check=True, capture_output=True)
    with open_results("HEAD:results") as cells, open_results("HEAD") as same:
        assert labels(cells) == labels(same) == labels(read_results(tmp_path / "results"))
        assert compare_results(cells, read_results(tmp_path / "results")).exit_code() == OK
    with pytest.raises(UsageError, match="neither a folder nor a git revision"), open_results("nonsense:results"):
        pass


def test_limited_sizes_are_said_as_used_of_available(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Made.record
    rows = {"train": {"used": 15000, "available": 67349}, "evaluation": {"used": 400, "available": 872}}

    def record(made: Made) -> dict[str, Any]:
        found = whole(made)
        found["task"]["rows"] |= rows
        return found

    monkeypatch.setattr(Made, "record", record)
    cells = [Made(extra_spec={"limit": 16000}), Made("patience")]
    found = compared(tmp_path, cells, cells)
    [(cell, notes)] = found.notes.items()
    assert cell.startswith("entropy | ")
    assert notes == ["limited: evaluation n = 400/872, trained on 15000/67349"]
    assert "limited: evaluation n = 400/872" in write_markdown(found)


def test_what_did_not_finish_has_no_sizes(tmp_path: Path) -> None:
    limited = {"limit": 16000}
    found = compared(tmp_path, [Made(extra_spec=limited)], [Made(extra_spec=limited, status="error")])
    assert found.notes == {}

"""Times of a machine whose speed moved for all alike: speed-ups count as others do, milliseconds say so."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.compare import history
from bench.compare.output import make_tracker
from bench.report import content
from bench.report.exit_charts import build_depth
from bench.report.series import make_panels
from bench.results.run import Run
from bench.results.store import Store
from tests.helpers.report_store import make_cell

WHY = (
    "the plain model's time moved by +8.0% during the run, no speed-up moved measurably: speed-ups hold, milliseconds "
    "are a mean over both speeds"
)
KINDS = ["valid", "moved"]


@pytest.mark.parametrize("latency", KINDS)
def test_milliseconds_say_it_and_speedups_do_not(latency: str, tmp_path: Path) -> None:
    run = Run.load(make_cell(tmp_path, latency=latency))
    assert (run.timing_flags, run.timing_notes, run.timing_problem) == ((), (), "")
    assert run.milliseconds_notes == ((f"Latency: {WHY}.",) if latency == "moved" else ())
    told = {big: [one for one in make_tracker([run], big) if " | latency" in one["name"]] for big in (True, False)}
    assert told[True]
    assert told[False]
    assert not any(WHY in one.get("extra", "") for one in told[True])
    assert all((WHY in one.get("extra", "")) == (latency == "moved") for one in told[False])
    assert any(name.startswith("latency speed-up at") for name in history.collect_values(run))


def test_what_is_not_valid_says_that_alone(tmp_path: Path) -> None:
    run = Run.load(make_cell(tmp_path, latency="invalid"))
    assert run.milliseconds_notes == run.timing_notes == ("Latency is INVALID: the clock was throttled.",)


@pytest.mark.parametrize("latency", KINDS)
def test_the_report_says_it_of_milliseconds(latency: str, tmp_path: Path) -> None:
    make_cell(tmp_path, latency=latency, depth=True)
    [panel] = make_panels(Store(tmp_path).runs()[0])
    for rows in (content.tabulate_timings([panel]), content.tabulate_depth(panel)):
        assert {(row["valid"], row["one_speed"]) for row in rows} == {(True, latency == "valid")}
    chart = build_depth(panel)
    assert chart is not None
    assert ("The machine's speed moved, milliseconds are means: " in chart.words) == (latency == "moved")

"""The simulation of large sweeps: what it must say where the answer is known."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "docs" / "scaling" / "scaling.py"
_spec = importlib.util.spec_from_file_location("scaling", SCRIPT)  # a study beside the product: no package holds it
assert _spec is not None
assert _spec.loader is not None
scaling = importlib.util.module_from_spec(_spec)
sys.modules["scaling"] = scaling  # dataclasses look their module up
_spec.loader.exec_module(scaling)
main, measure, simulate = scaling.main, scaling.measure, scaling.simulate


@pytest.mark.parametrize("workers", [1, 10, 1000])
def test_nobody_waits_where_nothing_is_shared(workers: int) -> None:
    rate = simulate(workers, 60.0, 0.0, 0.0)
    assert rate.cells_per_hour == pytest.approx(60 * workers, rel=0.03)
    assert rate.limit == "-"


@pytest.mark.parametrize(("driver", "disk", "limit"), [(0.5, 0.0, "driver"), (0.0, 0.5, "disk"), (0.5, 0.1, "driver")])
def test_what_serves_one_at_a_time_is_the_limit(driver: float, disk: float, limit: str) -> None:
    rate = simulate(1000, 60.0, driver, disk)
    assert rate.cells_per_hour == pytest.approx(7200, rel=0.01)  # two a second, however many workers
    assert rate.limit == limit
    assert max(rate.driver, rate.disk) == pytest.approx(1.0, abs=0.01)


def test_few_workers_do_not_notice() -> None:
    assert simulate(10, 60.0, 0.05, 0.1).limit == "-"


def test_the_constants_are_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = measure(tmp_path, repeats=3)
    assert min(found.disk, found.lock, found.plan, found.dispatch, found.listing, found.read) > 0
    assert main(["--folder", str(tmp_path), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["rates"]) == 36

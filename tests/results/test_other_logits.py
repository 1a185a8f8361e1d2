"""Whole logits that lie beside a record and are another run's: refused, whichever number a reader wants of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.errors import Damaged
from bench.results.exits import write_exits
from bench.results.packed.references import follow_reference
from bench.results.run import Run
from tests.helpers.report_store import make_cell, write_sealed

COMMITTED = Path(__file__).parents[2] / "results" / "sst2" / "minilm-l6"
FITTED = {seed: next(COMMITTED.glob(f"temperature-s{seed}-*")) for seed in (0, 1)}


def copy_whole(run: Path, folder: Path) -> None:
    """Copy a run to a folder of its own, with its logits, which may be another's that is the same."""
    folder.mkdir(parents=True)
    for path in run.iterdir():
        shutil.copyfile(follow_reference(path), folder / path.name)


READERS: dict[str, Callable[[Run], object]] = {
    "exits": lambda run: run.exits(),
    "skill": lambda run: run.skill(),
    "trade-off": lambda run: run.trade_off(),
    "layers": lambda run: run.layers_at(None),
    "check": lambda run: run.check_logits(every=True),
}


@pytest.mark.parametrize("read", READERS)
def test_reported_logits(read: str, tmp_path: Path) -> None:
    one, other = (make_cell(tmp_path, "entropy", seed=seed) for seed in (0, 1))
    READERS[read](Run.load(one))
    name = "exits-evaluation.parquet"
    shutil.copy(other / name, one / name)
    with pytest.raises(Damaged, match=f"{name} .*the accuracy of its exits is not that of the record"):
        READERS[read](Run.load(one))


@pytest.mark.parametrize("metric", ["accuracy", "f1", "matthews"])
def test_every_metric_of_classes_tells(metric: str, tmp_path: Path) -> None:
    folder = make_cell(tmp_path, metric=metric)
    found = Run.load(folder).exits()
    altered = np.array(found.logits)
    altered[0, 2] = altered[0, 2, ::-1]  # one answer of one exit
    write_exits(type(found)(found.ids, found.labels, altered, found.lengths), folder / "exits-evaluation.parquet")
    with pytest.raises(Damaged, match=f"the {metric} of its exits is not that of the record"):
        Run.load(folder).exits()


@pytest.mark.parametrize("metrics", [("pearson",), ("pearson", "spearman")])
def test_values_tell_too(metrics: tuple[str, ...], tmp_path: Path) -> None:
    folder = make_cell(tmp_path)
    random = np.random.default_rng(0)
    found = Run.load(folder).exits()
    values = random.normal(size=(80, 6, 1)).astype(np.float32)
    labels = (values[:, -1, 0] + random.normal(size=80)).astype(np.float32)
    path = folder / "exits-evaluation.parquet"
    write_exits(type(found)(found.ids, labels, values, found.lengths), path)

    record = json.loads((folder / "record.json").read_text())
    record["task"] |= {"kind": "regression", "labels": [], "metrics": list(metrics)}
    result = record["evaluation"]["evaluation"]
    shares = [round(float(np.corrcoef(values[:, exit_, 0], labels)[0, 1]), 6) for exit_ in range(6)]
    band = {"value": shares[-1], "low": -1.0, "high": 1.0}
    record["select"]["full"] = dict.fromkeys(metrics, band)
    result |= {"per_exit": dict.fromkeys(metrics, shares), "points": []}
    result["full"]["metrics"] = dict.fromkeys(metrics, band)
    write_sealed(folder, record)
    assert Run.load(folder).exits().labels.dtype == np.float32

    write_exits(type(found)(found.ids, labels[::-1].copy(), values, found.lengths), path)
    with pytest.raises(Damaged, match="the pearson of its exits is not that of the record"):
        Run.load(folder).exits()


def test_held_out_logits_that_a_criterion_is_fitted_on(tmp_path: Path) -> None:
    """With another seed's the criterion would learn other numbers, and every number that is shown would be of these."""
    folder = tmp_path / "sst2" / "minilm-l6" / FITTED[0].name
    copy_whole(FITTED[0], folder)
    recorded = Run.load(folder).record.criterion
    assert recorded is not None
    learned = Run.load(folder).criterion.temperatures
    assert learned == pytest.approx(recorded.fitted["temperatures"], rel=1e-3)

    shutil.copyfile(follow_reference(FITTED[1] / "exits-select.parquet"), folder / "exits-select.parquet")
    run = Run.load(folder)
    for read in (lambda: run.criterion, lambda: run.layers_at("2x"), run.fitting_exits, run.trade_off):
        with pytest.raises(Damaged, match=r"exits-select.parquet .*the accuracy of its exits is not that of the rec"):
            read()
    assert len(run.find_damaged_logits()) == 1

"""A dozen real regressions, each caught and named by a check; as many harmless changes, none of them flagged.

The checks are those of `bench gate` (replay on the probe and on stored logits, FLOPs, samples, logits of retrained
models) and of `bench compare`. The baseline is made here from synthetic logits, so that nothing is trained.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.compare.compare import compare_results
from bench.compare.gate import baseline as store
from bench.compare.gate import check
from bench.compare.gate.baseline import Baseline
from bench.compare.gate.cells import GateCell
from bench.compare.sources import read_results
from bench.compare.verdict import Row
from bench.measure.cost import CostModel
from bench.measure.exits import AllExits
from strategies import elbert, entropy, patience
from tests.helpers.compare_records import Made, fake_run, logits

CELLS = [GateCell(name, "bert-demo") for name in ("elbert-mono", "entropy", "patience")]
TIMES = {"plain": 4e6, "2x": 2.2e6}
Patch = pytest.MonkeyPatch


class World:
    """A baseline of three cells and the means to look at the present code in every way that is checked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.exits = logits(samples=160)
        self.observed = {cell: fake_run(folder, self.exits) for cell in CELLS}
        store.write_baseline(folder / "baseline", self.observed, check.decide_on_probe())
        self.baseline = Baseline.read(folder / "baseline")

    def probe(self) -> list[Row]:
        """`bench gate`: every criterion on made-up logits."""
        return check.compare_probe(self.baseline)

    def rules(self) -> list[Row]:
        """`bench gate`: criteria and FLOPs on stored logits."""
        return check.compare_rules(self.baseline, CELLS)

    def retrained(self, exits: AllExits) -> list[Row]:
        """`bench gate`: cells as they would run now."""
        return check.compare_trained(self.baseline, {cell: fake_run(self.folder, exits) for cell in CELLS})

    def compared(self, base: list[Made], candidate: list[Made]) -> list[Row]:
        """`bench compare`."""
        for name, cells in (("before", base), ("after", candidate)):
            for made in cells:
                made.write(self.folder / name)
        return compare_results(read_results(self.folder / "before"), read_results(self.folder / "after")).rows


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """One baseline for all; nothing below changes it."""
    return World(tmp_path_factory.mktemp("planted"))


@pytest.fixture(params=["this processor", "another processor"])
def at(request: pytest.FixtureRequest, world: World, tmp_path: Path) -> World:
    """The same with a folder of its own for comparisons, made here or elsewhere."""
    made = object.__new__(World)
    platform = world.baseline.platform
    if request.param == "another processor":
        platform = {**platform, "cpu": request.param}
    made.__dict__ = {**world.__dict__, "folder": tmp_path, "baseline": replace(world.baseline, platform=platform)}
    return made


# --------------------------------------------------------------------------- real regressions


def off_by_one_layer(at: World, patch: Patch) -> list[Row]:
    """Patience counts its first exit as an agreement."""
    begin = patience.Patience.start

    def start(self: Any, given: Any) -> Any:
        state = begin(self, given)
        return {**state, "agreed": state["agreed"] + 1, "last": torch.zeros_like(state["last"])}

    patch.setattr(patience.Patience, "start", start)
    return at.probe()


def less_or_equal(at: World, patch: Patch) -> list[Row]:
    """< turned to <=."""
    patch.setattr(entropy.NormalisedEntropy, "strict", False)
    return at.rules()


def less_or_equal_live(at: World, patch: Patch) -> list[Row]:
    """< turned to <= in the live rule alone."""
    patch.setattr(entropy.NormalisedEntropy, "leaves", lambda self, score, cut: score <= cut)
    return at.probe()


def wrong_class(at: World, patch: Patch) -> list[Row]:
    """The window follows the other class."""
    follow = elbert.log_odds
    patch.setattr(elbert, "log_odds", lambda logits, index: follow(logits, (index + 1) % logits.shape[-1]))
    return at.probe()


def head_not_counted(at: World, patch: Patch) -> list[Row]:
    """The second exit's head is forgotten in the FLOPs."""
    macs = elbert.SharedHead.macs
    patch.setattr(elbert.SharedHead, "macs", lambda self, n, layer: 0 if layer == 2 else macs(self, n, layer))
    return at.rules()


def temperature_twice(at: World, patch: Patch) -> list[Row]:
    """Logits are divided by a temperature that they were divided by before."""
    entropy_of = elbert.normalised_entropy
    patch.setattr(elbert, "normalised_entropy", lambda z: entropy_of(z / 1.5))
    return at.rules()


def changed_seed(at: World, patch: Patch) -> list[Row]:
    """Another seed trains other models."""
    return at.retrained(replace(at.exits, logits=logits(seed=1, samples=160).logits))


def changed_seed_of_a_run(at: World, patch: Patch) -> list[Row]:
    """Another seed is asked for."""
    return at.compared([Made()], [Made(seed=1)])


def padding_counted(at: World, patch: Patch) -> list[Row]:
    """Token counts are those of the padded batch."""
    padded = np.full_like(at.exits.lengths, at.exits.lengths.max())
    return at.retrained(replace(at.exits, lengths=padded))


def slowed_engine(at: World, patch: Patch) -> list[Row]:
    """Early exit takes 20 % longer, the plain model does not."""
    return at.compared([Made(times=TIMES)], [Made(times={**TIMES, "2x": 1.2 * TIMES["2x"]})])


def lost_sample(at: World, patch: Patch) -> list[Row]:
    """The last sample is dropped with the last incomplete batch."""
    whole = logits()
    part = AllExits(whole.ids[:-1], whole.labels[:-1], whole.logits[:-1], whole.lengths[:-1])
    return at.compared([Made(exits=whole)], [Made(exits=part)])


def changed_data(at: World, patch: Patch) -> list[Row]:
    """The data set has another revision."""
    return at.compared([Made()], [Made(revision="sha256-2")])


PLANTED: dict[str, tuple[Callable[[World, Patch], list[Row]], str, str, str]] = {
    "a criterion off by one layer": (off_by_one_layer, "rule on the probe", "worse", "samples leave elsewhere"),
    "< turned to <=": (less_or_equal, "exits on stored logits", "worse", "score equals the cut stays"),
    "< turned to <=, live only": (less_or_equal_live, "rule on the probe", "worse", "live and replayed exits differ"),
    "wrong class in the window": (wrong_class, "rule on the probe", "worse", "samples leave elsewhere"),
    "a head skipped in FLOPs": (head_not_counted, "FLOPs on stored lengths", "worse", "exit 2"),
    "temperature applied twice": (temperature_twice, "exits on stored logits", "worse", "samples leave elsewhere"),
    "a changed seed, gate": (changed_seed, "logits", "worse", "logits moved by up to"),
    "a changed seed, compare": (changed_seed_of_a_run, "cell", "not comparable", "seed 0 -> 1"),
    "padding counted": (padding_counted, "samples", "worse", "token counts of"),
    "a slowed engine": (slowed_engine, "latency speed-up", "worse", "all beyond 5 %"),
    "a lost sample": (lost_sample, "samples", "worse", "1 samples are lost: s-0399"),
    "a changed data revision": (changed_data, "cell", "not comparable", "data revision sha256-1 -> sha256-2"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_real_regression_is_caught_and_named(name: str, at: World, monkeypatch: Patch) -> None:
    plant, metric, verdict, reason = PLANTED[name]
    with monkeypatch.context() as patch:
        rows = plant(at, patch)
    caught = [row for row in rows if row.metric == metric and row.verdict == verdict]
    assert any(reason in row.reason for row in caught), [(r.cell, r.metric, r.verdict, r.reason) for r in rows]


# --------------------------------------------------------------------------- harmless changes


def nothing(at: World, patch: Patch) -> list[Row]:
    """Everything again."""
    return at.probe() + at.rules() + at.retrained(at.exits)


def float_noise(at: World, patch: Patch) -> list[Row]:
    """Another processor rounds otherwise."""
    noise = np.random.default_rng(0).normal(scale=1e-6, size=at.exits.logits.shape).astype(np.float32)
    return at.retrained(replace(at.exits, logits=at.exits.logits + noise))


def entropy_rewritten(at: World, patch: Patch) -> list[Row]:
    """The same entropy by another formula: log Z minus the mean logit."""

    def rewritten(z: torch.Tensor) -> torch.Tensor:
        nats = torch.logsumexp(z, dim=-1) - (torch.softmax(z, dim=-1) * z).sum(dim=-1)
        return nats / math.log(z.shape[-1])

    patch.setattr(elbert, "normalised_entropy", rewritten)
    patch.setattr(entropy, "normalised_entropy", rewritten)
    return at.probe() + [row for row in at.rules() if not row.metric.startswith("counts")]  # it does other work


def cost_rewritten(at: World, patch: Patch) -> list[Row]:
    """The FLOPs table sample by sample instead of length by length."""

    def table(self: CostModel, lengths: Any) -> Any:
        return np.stack([self._to_each_exit(int(n)) for n in lengths])

    patch.setattr(CostModel, "flops_table", table)
    return at.rules()


def patience_rewritten(at: World, patch: Patch) -> list[Row]:
    """The counter as float64."""
    step = patience.Patience.step

    def widened(self: Any, state: Any, seen: Any) -> Any:
        state, score = step(self, state, seen)
        return state, score.to(torch.float64)

    patch.setattr(patience.Patience, "step", widened)
    return at.probe()


def other_order(at: World, patch: Patch) -> list[Row]:
    """Samples in another order."""
    whole = logits()
    order = np.random.default_rng(0).permutation(len(whole.ids))
    ids = tuple(whole.ids[i] for i in order)
    turned = AllExits(ids, whole.labels[order], whole.logits[order], whole.lengths[order])
    return at.compared([Made(exits=whole)], [Made(exits=turned)])


def other_commit_and_date(at: World, patch: Patch) -> list[Row]:
    """The same code under another commit, later."""
    return at.compared([Made()], [Made(commit="b" * 40, created="2027-01-01T00:00:00+00:00")])


def slower_machine(at: World, patch: Patch) -> list[Row]:
    """Everything 3 % slower: a busy neighbour."""
    slower = {label: 1.03 * value for label, value in TIMES.items()}
    return at.compared([Made(times=TIMES)], [Made(times=slower)])


def new_setting(at: World, patch: Patch) -> list[Row]:
    """A setting that older records do not know, at the value that changes nothing."""
    Made().write(at.folder / "before")
    (record,) = (at.folder / "before").glob("*/*/*/record.json")
    old = json.loads(record.read_text())
    del old["spec"]["select"], old["selected"]  # operating points could not be chosen then
    record.write_text(json.dumps(old))
    return at.compared([], [Made()])


def other_device_name(at: World, patch: Patch) -> list[Row]:
    """The same numbers from cuda:1 instead of cuda:0."""
    return at.compared([Made(extra_spec={"device": "cuda:0"})], [Made(extra_spec={"device": "cuda:1"})])


def raised_version(at: World, patch: Patch) -> list[Row]:
    """A strategy's version raised without a change of results."""
    return at.compared([Made()], [Made(version=2)])


HARMLESS = [
    nothing, float_noise, entropy_rewritten, cost_rewritten, patience_rewritten, other_order, other_commit_and_date,
    slower_machine, new_setting, other_device_name, raised_version,
]  # fmt: skip


@pytest.mark.parametrize("change", HARMLESS, ids=lambda change: change.__name__)
def test_a_harmless_change_is_not_flagged(
    change: Callable[[World, Patch], list[Row]], at: World, monkeypatch: Patch
) -> None:
    with monkeypatch.context() as patch:
        rows = change(at, patch)
    flagged = [(row.cell, row.metric, row.verdict, row.reason) for row in rows if row.verdict != "same"]
    assert rows
    assert flagged == []


def test_cells_that_only_one_side_has_are_named(world: World) -> None:
    new, gone = GateCell("margin", "bert-demo"), CELLS[0]
    [row] = [row for row in check.compare_rules(world.baseline, [*CELLS, new]) if row.cell == new.label]
    assert (row.metric, row.verdict) == ("cell", "not comparable")
    assert row.reason.startswith("new cell, not in the baseline")
    runs = {cell: fake_run(world.folder, world.exits) for cell in CELLS[1:]}
    [row] = [row for row in check.compare_trained(world.baseline, runs) if row.metric == "cell"]
    assert (row.cell, row.verdict) == (gone.label, "not comparable")
    assert row.reason.startswith("in the baseline, but no longer run")

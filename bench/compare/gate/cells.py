"""The gate's cells: which runs are made, and with what of the harness they are made again."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from backbones.load import BackboneRequest, load_backbone
from bench.cell.request import Context, Request
from bench.cell.resolve import resolve_request
from bench.cell.run import run
from bench.measure.cost import CostModel
from bench.measure.exits import AllExits
from bench.progress import Progress
from bench.results.record import RunRecord
from bench.results.store import Store
from bench.settings import settable_arguments
from strategies import STRATEGIES
from strategies.base import Criterion

TASK = "demo"
BACKBONES = ("albert-demo", "bert-demo", "roberta-demo")
ONCE = ("deberta-v2-demo", "distilbert-demo", "electra-demo", "modernbert-demo")
"""Families that one strategy stands for: their layers and costs are guarded, at a few seconds each."""
LIMIT = 160
TRAINING = {"train.steps": 25, "train.batch_size": 16, "train.lr": 2e-3}
"""Few steps on purpose. Rounding grows with every step: after 25 another processor's models are the same to 1e-7, so
that any change of training shows in the logits, whatever the processor; after 200, when the models have learned
something (0.7 on this task), they are others on each, and only tests of quality on a few samples would be left."""
SMALL = {"window": 3}
"""Arguments that the demo backbones' 6 layers are too few for: a window of 8 never fires, which would hide changes."""


@dataclass(frozen=True)
class GateCell:
    """One strategy on one backbone family."""

    strategy: str
    backbone: str

    @property
    def request(self) -> Request:
        """What is asked of the runner; the same on every machine."""
        return Request(
            strategy=self.strategy,
            task=TASK,
            backbone=self.backbone,
            settings={**TRAINING, **self.arguments},
            limit=LIMIT,
            device="cpu",
            latency=False,
        )

    @property
    def arguments(self) -> dict[str, object]:
        """The criterion's arguments that differ from its defaults."""
        known = settable_arguments(STRATEGIES.load(self.strategy).criterion)
        return {name: value for name, value in SMALL.items() if name in known}

    @property
    def criterion(self) -> Criterion:
        """The present criterion."""
        spec, parts = resolve_request(self.request)
        return parts.criterion(spec)

    @property
    def label(self) -> str:
        """As tables show it."""
        return f"{self.strategy} | {self.backbone}"

    def flops(self, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """FLOPs [N, L] by the present cost model. Only shapes matter, so no vocabulary is built from the data."""
        spec, parts = resolve_request(self.request)
        loaded = load_backbone(BackboneRequest(spec.backbone, spec.init, spec.backbone_args), ["one two"], seed=0)
        with torch.random.fork_rng(devices=[]):
            head = parts.head(loaded.encoder, 2, **spec.head_args)  # type: ignore[arg-type]
        return CostModel(loaded.encoder, head, parts.criterion(spec)).flops_table(lengths)


@dataclass(frozen=True)
class Observed:
    """A cell as it runs now: its record and every exit of its evaluation split."""

    record: RunRecord
    exits: AllExits

    @property
    def group(self) -> str:
        """Cells with the same name share their training, hence their logits."""
        return self.record.training.key


def all_cells() -> Iterator[GateCell]:
    """Every registered strategy on three backbone families, and one strategy on each of the others."""
    for backbone in BACKBONES:
        for strategy in STRATEGIES.builtin:
            yield GateCell(strategy, backbone)
    for backbone in ONCE:
        yield GateCell("entropy", backbone)


def observe(cell: GateCell, folder: Path, progress: Progress) -> Observed:
    """Run a cell as `bench run` would, with results in ``folder``, through whose cache cells share their training."""
    context = Context(Store(folder), progress, offline=True, command="bench gate")
    found = run(cell.request, context)
    return Observed(found.record, found.exits("evaluation"))


def observe_all(work_dir: Path | None, progress: Progress) -> dict[GateCell, Observed]:
    """Run every cell on one thread, in a folder that is gone afterwards unless ``work_dir`` is given."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the order of sums depends on the number of threads
    place = nullcontext(str(work_dir)) if work_dir else tempfile.TemporaryDirectory(prefix="bench-gate-")
    cells = list(all_cells())
    observed = {}
    try:
        with place as folder:
            for i, cell in enumerate(cells, start=1):
                progress.say(f"{i}/{len(cells)}: {cell.label}")
                observed[cell] = observe(cell, Path(folder), Progress(quiet=True))
    finally:
        torch.set_num_threads(threads)
    return observed

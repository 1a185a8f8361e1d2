"""The gate's cells: which runs are made, and with what of the harness they are made again."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from backbones.load import BackboneRequest, load_backbone
from bench.cell.request import Context, Request
from bench.cell.resolve import resolve_request
from bench.cell.run import run_request
from bench.inference.counting import count_work
from bench.inference.replay import fit_criterion, make_evidence
from bench.measure.cost import CostModel
from bench.measure.exits import AllExits
from bench.progress import Progress
from bench.results.measures import Counts
from bench.results.run import Run
from bench.results.store import Store
from bench.settings import list_settable
from strategies import STRATEGIES
from strategies.base import Criterion, ExitModel

TASK = "demo"
FAMILIES = ("albert-demo", "bert-demo", "roberta-demo")
FAMILIES_ONCE = ("deberta-v2-demo", "distilbert-demo", "electra-demo", "modernbert-demo")
"""Families that one strategy stands for: their layers and costs are guarded, at a few seconds each."""
LIMIT = 160
FEW_STEPS = {"train.steps": 25, "train.batch_size": 16, "train.lr": 2e-3}
"""Few steps on purpose. Rounding grows with every step: after 25 another processor's models are the same to 1e-7, so
that any change of training shows in the logits, whatever the processor; after 200, when the models have learned
something (0.7 on this task), they are others on each, and only tests of quality on a few samples would be left."""
SMALL_SETTINGS = {"window": 3}
"""Arguments that the demo backbones' 6 layers are too few for: a window of 8 never fires, which would hide changes."""


@dataclass(frozen=True)
class GateCell:
    """One strategy on one backbone family."""

    strategy: str
    backbone: str

    @property
    def request(self) -> Request:
        """What is asked of the runner; the same on every machine."""
        known = list_settable(STRATEGIES.load(self.strategy).criterion)
        return Request(
            strategy=self.strategy,
            task=TASK,
            backbone=self.backbone,
            settings={**FEW_STEPS, **{name: value for name, value in SMALL_SETTINGS.items() if name in known}},
            limit=LIMIT,
            device="cpu",
            latency=False,
        )

    @property
    def criterion(self) -> Criterion:
        """The present criterion."""
        spec, parts = resolve_request(self.request)
        return parts.criterion(spec)

    @property
    def has_unstable_students(self) -> bool:
        """Whether early exits are taught, without labels, by a teacher that knows nothing after so few steps.

        Their gradients are as small as rounding, and Adam, which divides by their size, blows the rounding up.
        """
        spec, parts = resolve_request(self.request)
        recipe = parts.recipe(2, **spec.recipe_args)
        return recipe.distils and any(stage.exits == "early" for stage in recipe.stages)

    @property
    def label(self) -> str:
        """Its name in tables."""
        return f"{self.strategy} | {self.backbone}"

    def flops(self, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return FLOPs [N, L] by the present cost model."""
        model = self.model
        return CostModel(model.encoder, model.head, self.criterion).flops_table(lengths)

    @cached_property
    def model(self) -> ExitModel:
        """A model of the cell's shape, untrained; of no more than its shape matters, so it has nearly no vocabulary."""
        spec, parts = resolve_request(self.request)
        loaded = load_backbone(BackboneRequest(spec.backbone, spec.init, spec.backbone_args), ["one two"], seed=0)
        with torch.random.fork_rng(devices=[]):
            return ExitModel(loaded.encoder, parts.head(loaded.encoder, 2, **spec.head_args)).eval()

    def count(self, exits: AllExits) -> Counts | None:
        """Return what the present engine does, with the criterion fitted on ``exits``; None where it cannot run live.

        A probe is fitted on made-up features: what it does is the same, whatever it has learned.
        """
        model, criterion, evidence = self.model, self.criterion, make_evidence(exits)
        if not criterion.causal or criterion.needs_labels:
            return None
        fit_criterion(criterion, evidence)
        if criterion.probe is not None and criterion.probe.trains:
            shape = (*evidence.logits.shape[:2], model.encoder.hidden_size)
            features = torch.randn(shape, generator=torch.Generator().manual_seed(0))
            criterion.probe.fit(features, evidence.logits, evidence.labels)
        return Counts.of(count_work(model, criterion), "cpu", "float32")


def list_gate_cells(strategies: Sequence[str] = ()) -> list[GateCell]:
    """Return every strategy of our own on three backbone families, and one strategy on each of the others.

    Of ``strategies`` alone, which may be anybody's, where they are given. What is installed beside ours is no part of
    the gate: the baseline, which is ours, cannot know it.
    """
    named = strategies or STRATEGIES.builtin
    every = [GateCell(strategy, backbone) for backbone in FAMILIES for strategy in named]
    return every + [GateCell("entropy", backbone) for backbone in FAMILIES_ONCE if "entropy" in named]


def run_gate_cells(cells: Sequence[GateCell], work_dir: Path | None, progress: Progress) -> dict[GateCell, Run]:
    """Run the cells as `bench run` would, on one thread; through the results folder's cache they share their training.

    The folder is gone afterwards unless ``work_dir`` is given; what a run's logits are is in memory by then.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the order of sums depends on the number of threads
    place = nullcontext(str(work_dir)) if work_dir else tempfile.TemporaryDirectory(prefix="bench-gate-")
    runs = {}
    try:
        with place as folder:
            context = Context(Store(Path(folder)), Progress(quiet=True), offline=True, command="bench gate")
            for i, cell in enumerate(cells, start=1):
                progress.say(f"{i}/{len(cells)}: {cell.label}")
                runs[cell] = run_request(cell.request, context)
                runs[cell].exits()
    finally:
        torch.set_num_threads(threads)
    return runs

"""The committed baseline on another processor: regressions of training and inference are red, rewriting is green.

Each change is made to the code, one cell is trained anew as `bench gate` trains it, and compared with the committed
baseline whose processor is said to be another one. It is another one where these tests run, as a rule; and which
instructions are used can be forced: ``ATEN_CPU_CAPABILITY=default DNNL_MAX_CPU_ISA=SSE41 pytest tests/compare`` (or
``avx2`` and ``AVX2``) must end the same way.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from backbones.base import Batch
from bench.cell import stages
from bench.compare.gate.baseline import Baseline
from bench.compare.gate.cells import GateCell, run_gate_cells
from bench.compare.gate.check import TOLERANCE, compare_trained
from bench.compare.verdict import Row
from bench.inference import exits
from bench.progress import Progress
from bench.tasks import encode
from bench.training import trainer
from strategies import deebert, entropy, fastbert, patience
from strategies.base import Stage, compute_task_loss

Patch = pytest.MonkeyPatch
COMMITTED = Path(__file__).parents[2] / "results" / "baseline"


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Baseline:
    """The committed baseline as from another processor, and as from the present versions."""
    folder = tmp_path_factory.mktemp("gate") / "baseline"
    shutil.copytree(COMMITTED, folder)
    present = {"torch": torch.__version__, "cpu": "another processor"}
    said = json.loads((folder / "platform.json").read_text())
    (folder / "platform.json").write_text(json.dumps({**said, **present, "transformers": transformers_version()}))
    return Baseline.read(folder)


def transformers_version() -> str:
    import transformers

    return transformers.__version__


def retrain(baseline: Baseline, strategy: str, backbone: str = "bert-demo") -> list[Row]:
    """The rows of one cell, trained anew."""
    cell = GateCell(strategy, backbone)
    runs = run_gate_cells([cell], None, Progress(quiet=True))
    return compare_trained(replace(baseline, cells={cell.label: baseline.cells[cell.label]}), runs)


# --------------------------------------------------------------------------- regressions


def wrong_head_index(patch: Patch) -> None:
    """Each exit is answered by the next one's head."""

    def forward(self: Any, hidden: Tensor, mask: Any, layer: int) -> Tensor:
        return entropy.apply_linear(self._exit[layer % self.num_layers], self.dropped(hidden[:, 0]))

    patch.setattr(entropy.LinearHead, "forward", forward)


def loss_on_the_wrong_exit(patch: Patch) -> None:
    """The last exit's loss is that of the first once more."""

    def losses(self: Any, stage: Stage, logits: Sequence[Tensor], labels: Tensor, step: int) -> tuple[Tensor, ...]:
        return tuple(compute_task_loss(z, labels) for z in [logits[0], *logits[:-1]])

    patch.setattr(entropy.JointRecipe, "losses", losses)


def clipping_a_hundredth(patch: Patch) -> None:
    """Gradients are clipped at a hundredth of what is asked."""
    clip = torch.nn.utils.clip_grad_norm_
    patch.setattr(torch.nn.utils, "clip_grad_norm_", lambda parameters, most: clip(parameters, 0.01 * most))


def weights_reversed(patch: Patch) -> None:
    """PABEE's weights fall with depth."""
    weigh = patience.PatienceRecipe.losses

    def losses(self: Any, stage: Stage, logits: Sequence[Tensor], labels: Tensor, step: int) -> tuple[Tensor, ...]:
        return weigh(self, stage, logits[::-1], labels, step)

    patch.setattr(patience.PatienceRecipe, "losses", losses)


def another_dropout_seed(patch: Patch) -> None:
    """Dropout draws from the next seed."""
    seed = trainer.seed_random
    patch.setattr(trainer, "seed_random", lambda number, device: seed(number + 1, device))


def every_epoch_in_the_same_order(patch: Patch) -> None:
    """Samples come in the first epoch's order in every epoch."""
    patch.setattr(
        trainer,
        "batch_for_training",
        lambda lengths, size, seed, epoch: encode.batch_for_training(lengths, size, seed, 0),
    )


def decay_of_biases(patch: Patch) -> None:
    """Weight decay for biases and norms, too: the smallest of these changes."""

    def optimizer(self: Any) -> torch.optim.Optimizer:
        group = {"params": self.trained, "weight_decay": self.plan.args.weight_decay, "scheduled": True}
        return torch.optim.AdamW([group], lr=self.lr, fused=True)

    patch.setattr(trainer._Stage, "_optimizer", optimizer)


def warmup_off_by_one(patch: Patch) -> None:
    """The learning rate is that of the step before."""
    scale = trainer.scale_rate
    patch.setattr(trainer, "scale_rate", lambda step, warmup, steps: scale(max(0, step - 1), warmup, steps))


def padding_attended(patch: Patch) -> None:
    """Padding is read as if it were text."""
    patch.setattr(
        trainer,
        "collate_batch",
        lambda encoded, rows: replace(encode.collate_batch(encoded, rows), attention_mask=None),
    )


def teacher_trained_with_its_students(patch: Patch) -> None:
    """FastBERT's second stage trains the backbone on: its early exits may differ by rounding, its last one may not."""
    begin = fastbert.FastBertRecipe.__init__

    def start(self: Any, *given: Any, **named: Any) -> None:
        begin(self, *given, **named)
        self.stages = (self.stages[0], replace(self.stages[1], backbone=True))

    patch.setattr(fastbert.FastBertRecipe, "__init__", start)


def first_stage_skipped(patch: Patch) -> None:
    """DeeBERT's early exits are trained on a model that was never fine-tuned."""
    begin = deebert.DeeBertRecipe.__init__

    def start(self: Any, *given: Any, **named: Any) -> None:
        begin(self, *given, **named)
        self.stages = self.stages[1:]

    patch.setattr(deebert.DeeBertRecipe, "__init__", start)


REGRESSIONS: dict[Callable[[Patch], None], str] = {
    wrong_head_index: "entropy",
    loss_on_the_wrong_exit: "entropy",
    clipping_a_hundredth: "entropy",
    weights_reversed: "patience",
    another_dropout_seed: "entropy",
    every_epoch_in_the_same_order: "entropy",
    decay_of_biases: "entropy",
    warmup_off_by_one: "entropy",
    padding_attended: "entropy",
    teacher_trained_with_its_students: "fastbert",
    first_stage_skipped: "deebert",
}


@pytest.mark.slow
@pytest.mark.parametrize("change", REGRESSIONS, ids=lambda change: change.__name__)
def test_a_regression_is_red_on_another_processor(
    change: Callable[[Patch], None], baseline: Baseline, monkeypatch: Patch
) -> None:
    with monkeypatch.context() as patch:
        change(patch)
        rows = retrain(baseline, REGRESSIONS[change])
    [found] = [row for row in rows if row.metric == "logits"]
    assert found.verdict == "worse", found.reason
    assert "more than another processor explains" in found.reason


# --------------------------------------------------------------------------- harmless changes


def nothing(patch: Patch) -> None:
    """The same code on another processor."""


def loss_in_double(patch: Patch) -> None:
    """Cross-entropy in float64."""
    patch.setattr(entropy, "compute_task_loss", lambda z, labels: F.cross_entropy(z.double(), labels).float())


def loss_by_hand(patch: Patch) -> None:
    """Cross-entropy as the log of a sum of exponentials."""

    def by_hand(z: Tensor, labels: Tensor) -> Tensor:
        return (torch.logsumexp(z, dim=-1) - z.gather(1, labels[:, None]).squeeze(1)).mean()

    patch.setattr(entropy, "compute_task_loss", by_hand)


def losses_backwards(patch: Patch) -> None:
    """The exits' losses are added from the last to the first."""
    add = entropy.JointRecipe.losses
    patch.setattr(entropy.JointRecipe, "losses", lambda self, *given: add(self, *given)[::-1])


def product_and_sum(patch: Patch) -> None:
    """A linear layer as a product and a sum."""
    patch.setattr(entropy, "apply_linear", lambda linear, x: x @ linear.weight.T + linear.bias)


def optimizer_in_single_steps(patch: Patch) -> None:
    """AdamW parameter by parameter."""
    make = torch.optim.AdamW

    def unfused(groups: Any, lr: float, fused: bool) -> torch.optim.Optimizer:
        return make(groups, lr=lr, fused=False, foreach=False)

    patch.setattr(torch.optim, "AdamW", unfused)


def clipping_by_hand(patch: Patch) -> None:
    """The norm of all gradients in one sum."""

    def clip(parameters: list[Tensor], most: float) -> None:
        norm = math.sqrt(sum(float((p.grad.double() ** 2).sum()) for p in parameters if p.grad is not None))
        for p in parameters:
            if p.grad is not None and norm > most:
                p.grad.mul_(most / (norm + 1e-6))

    patch.setattr(torch.nn.utils, "clip_grad_norm_", clip)


def small_batches_recorded(patch: Patch) -> None:
    """Logits are recorded seven samples at a time."""
    batches = exits.batch_by_length
    patch.setattr(exits, "batch_by_length", lambda lengths, _: batches(lengths, 7))


def padded_further(patch: Patch) -> None:
    """Training batches are padded by five more tokens."""

    def padded(encoded: Any, rows: Any) -> Batch:
        batch = encode.collate_batch(encoded, rows)
        mask = torch.ones_like(batch.input_ids) if batch.attention_mask is None else batch.attention_mask
        types = None if batch.token_type_ids is None else F.pad(batch.token_type_ids, (0, 5))
        return Batch(F.pad(batch.input_ids, (0, 5), value=encoded.pad_id), F.pad(mask, (0, 5)), types)

    patch.setattr(trainer, "collate_batch", padded)


def eager_attention(patch: Patch) -> None:
    """Attention step by step instead of in one kernel."""
    load = stages.load_cell_backbone
    from bench.cell import run

    patch.setattr(run, "load_cell_backbone", lambda cell, warn: load(cell, warn, attention="eager"))


def numbers_passed_through_numpy(patch: Patch) -> None:
    """Recorded logits take a detour through float64."""
    compute = exits.compute_all_logits
    patch.setattr(
        exits, "compute_all_logits", lambda *given: [torch.from_numpy(np.float64(z)) for z in compute(*given)]
    )


HARMLESS = [
    nothing, loss_in_double, loss_by_hand, losses_backwards, product_and_sum, optimizer_in_single_steps,
    clipping_by_hand, small_batches_recorded, padded_further, eager_attention, numbers_passed_through_numpy,
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("change", HARMLESS, ids=lambda change: change.__name__)
def test_a_harmless_change_is_green_on_another_processor(
    change: Callable[[Patch], None], baseline: Baseline, monkeypatch: Patch
) -> None:
    with monkeypatch.context() as patch:
        change(patch)
        rows = retrain(baseline, "entropy")
    assert [(row.metric, row.reason) for row in rows if row.verdict != "same"] == []
    [found] = [row for row in rows if row.metric == "logits"]
    assert found.difference is not None
    assert found.difference < TOLERANCE / 10


@pytest.mark.slow
def test_only_students_that_learn_from_rounding_may_be_inconclusive(baseline: Baseline) -> None:
    rows = retrain(baseline, "fastbert")
    [found] = [row for row in rows if row.metric == "logits"]
    assert found.verdict in ("same", "inconclusive")
    assert not [row for row in rows if row.verdict in ("worse", "not comparable")]
    unstable = {name for name in baseline.probe if GateCell(name, "bert-demo").has_unstable_students}
    assert unstable == {"fastbert"}

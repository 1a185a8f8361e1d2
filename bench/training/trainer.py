"""One trainer for every recipe: stages of AdamW with warm-up, clipping, accumulation, and resume.

A run that was killed goes on from its last checkpoint and ends with the same weights as one that was not:
the order of samples depends on (seed, epoch) alone, and the checkpoint holds the random state.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backbones.base import Batch
from backbones.names import is_ours
from bench.errors import UsageError
from bench.progress import Progress
from bench.tasks.encode import EncodedSplit, batch_for_training, collate_batch
from bench.training.args import SAVE_EVERY, TrainArgs
from bench.training.checkpoint import list_optimizer_tensors, load_tensors, restore_optimizer, save_tensors
from strategies.base import ExitModel, Recipe, Stage, State
from strategies.contract import check_numbers, name_class
from strategies.head import answer_exits, answer_last

NARROW_WIDTH = 64
"""Width of hidden states up to which a training step, at batches of 32 to 64, is faster on one thread than on two."""


@dataclass
class TrainLog:
    """What training leaves for the record: per stage the mean loss of each tenth of the run."""

    stages: dict[str, list[float]] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)
    recipe: dict[str, list[float]] = field(default_factory=dict)
    seconds: float = 0.0
    resumed: int = 0
    micro_batch: int | None = None
    """Samples that fitted into the device's memory at once, where a whole batch did not."""


@dataclass(frozen=True)
class TrainingPlan:
    """What a model is fitted on and how. ``precision`` is fp32 or bf16 (autocast)."""

    data: EncodedSplit
    labels: NDArray[np.int64] | NDArray[np.float32]
    args: TrainArgs
    precision: str
    seed: int
    device: torch.device
    progress_file: Path
    save_every: float = SAVE_EVERY


def train_model(model: ExitModel, recipe: Recipe, plan: TrainingPlan, progress: Progress) -> TrainLog:
    """Fit ``model`` in place, stage by stage, resuming from ``plan.progress_file`` if it is there."""
    model.to(plan.device)
    recipe.to(plan.device)
    begun = time.monotonic()
    log = TrainLog()
    saved = load_tensors(plan.progress_file) if plan.progress_file.exists() else None
    with limit_threads(model.encoder.hidden_size, plan.device):
        for number, stage in enumerate(recipe.stages):
            if saved is None or number >= saved[1]["stage"]:
                _Stage(model, recipe, stage, number, plan, log).run(saved, progress)
                saved = None
    log.recipe = take_report(recipe, progress)
    log.seconds = round(time.monotonic() - begun, 2)
    model.requires_grad_(True).eval()
    return log


def take_report(recipe: Recipe, progress: Progress) -> dict[str, list[float]]:
    """Return what ``recipe`` reports; nothing, with a warning, where no record can hold it: the training is done."""
    report = recipe.report()
    if not is_ours(type(recipe)):
        try:
            check_numbers(report, f"{name_class(recipe)}: report")
        except UsageError as error:
            progress.warn(f"{error} It is left out of the record.")
            return {}
    return report


class _Stage:
    """One stage: its trainable parameters, its optimiser, its loop."""

    def __init__(
        self, model: ExitModel, recipe: Recipe, stage: Stage, number: int, plan: TrainingPlan, log: TrainLog
    ) -> None:
        self.model, self.recipe, self.stage, self.number, self.plan, self.log = model, recipe, stage, number, plan, log
        self.trained = freeze_for_stage(model, stage)
        args = plan.args
        self.per_epoch = math.ceil(math.ceil(len(plan.data) / args.batch_size) / args.accumulate)
        epochs = args.epochs if stage.epochs is None else stage.epochs
        self.steps = args.steps if args.steps is not None else max(1, math.ceil(epochs * self.per_epoch))
        self.warmup = args.warmup_steps if args.warmup_steps is not None else round(args.warmup * self.steps)
        self.lr = args.lr * stage.lr_scale
        self.optimizer = self._optimizer()
        self.losses: list[float] = []

    def _optimizer(self) -> torch.optim.Optimizer:
        """Return AdamW: no decay for biases and norms; the recipe's own parameters at their own constant rate."""
        decay = [p for p in self.trained if p.ndim > 1]
        plain = [p for p in self.trained if p.ndim <= 1]
        groups: list[dict[str, Any]] = [
            {"params": decay, "weight_decay": self.plan.args.weight_decay, "scheduled": True},
            {"params": plain, "weight_decay": 0.0, "scheduled": True},
            {"params": list(self.recipe.parameters()), "weight_decay": 0.0, "lr": self.recipe.own_lr},
        ]
        return torch.optim.AdamW([g for g in groups if g["params"]], lr=self.lr, fused=True)

    def run(self, saved: tuple[dict[str, Tensor], dict[str, Any]] | None, progress: Progress) -> None:
        self.recipe.take_schedule(self.stage, self.steps, self.per_epoch)
        with seed_random(self.plan.seed + self.number, self.plan.device):
            done = 0 if saved is None else self._restore(*saved)
            if saved is not None:
                where = f" of stage {self.number + 1}" if len(self.recipe.stages) > 1 else ""
                progress.say(f"Training resumes at step {done} of {self.steps}{where}.")
            last_save = time.monotonic()
            title = f"Training, stage {self.number + 1}/{len(self.recipe.stages)} ({self.stage.name})"
            with progress.work(title, self.steps) as work:
                work.advance(done)
                for step, rows in self._steps(done):
                    self.losses.append(self._update(step, rows))
                    work.advance(1, f"loss {np.mean(self.losses[-50:]):.3f}")
                    if time.monotonic() - last_save >= self.plan.save_every and step + 1 < self.steps:
                        self._save(self.number, step + 1)
                        last_save = time.monotonic()
        tenths = np.array_split(np.array(self.losses), min(10, len(self.losses)))
        self.log.stages[self.stage.name] = [round(float(t.mean()), 5) for t in tenths]
        self.log.steps[self.stage.name] = self.steps
        if self.number + 1 < len(self.recipe.stages):
            self._save(self.number + 1, 0)

    def _steps(self, done: int) -> Iterator[tuple[int, list[NDArray[np.int64]]]]:
        """Yield the optimiser steps from ``done`` on, each with its micro-batches of row numbers."""
        args, step = self.plan.args, done
        while step < self.steps:
            epoch, first = divmod(step, self.per_epoch)
            batches = batch_for_training(self.plan.data.lengths, args.batch_size, self.plan.seed, epoch)
            for i in range(first, self.per_epoch):
                if step >= self.steps:
                    return
                yield step, batches[i * args.accumulate : (i + 1) * args.accumulate]
                step += 1

    def _update(self, step: int, micro_batches: list[NDArray[np.int64]]) -> float:
        """Make one optimiser step over its micro-batches; return the mean loss."""
        while True:
            try:
                total = self._accumulate(step, micro_batches)
                break
            except torch.OutOfMemoryError as error:
                self._shrink(error)
        if not math.isfinite(total):
            raise UsageError(f"The training loss is {total} at step {step}: take a smaller train.lr, or other weights.")
        torch.nn.utils.clip_grad_norm_(self.trained, self.plan.args.clip)
        for group in self.optimizer.param_groups:
            if group.get("scheduled"):
                group["lr"] = self.lr * scale_rate(step, self.warmup, self.steps)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return total

    def _accumulate(self, step: int, micro_batches: list[NDArray[np.int64]]) -> float:
        """Add up the gradients of the mean loss over the micro-batches, in parts that fit; return the mean loss."""
        total, samples = 0.0, sum(map(len, micro_batches))
        for rows in micro_batches:
            most = self.log.micro_batch or len(rows)
            for part in (rows[i : i + most] for i in range(0, len(rows), most)):
                batch = collate_batch(self.plan.data, part).to(self.plan.device)
                labels = torch.from_numpy(self.plan.labels[part]).to(self.plan.device)
                with torch.autocast(self.plan.device.type, torch.bfloat16, enabled=self.plan.precision != "fp32"):
                    memory, logits = compute_stage_logits(self.model, self.recipe, self.stage, batch)
                losses = self.recipe.losses(self.stage, logits, labels, step)
                losses += self.recipe.memory_losses(self.stage, memory, labels)
                losses = tuple(loss / (samples / len(part)) for loss in losses)
                self.recipe.backward(losses, self.model.encoder)
                total += float(sum(loss.detach() for loss in losses))
        return total

    def _shrink(self, error: torch.OutOfMemoryError) -> None:
        """Take half as many samples at once from here on; the step begins anew, and its batch stays the same."""
        most = self.log.micro_batch or self.plan.args.batch_size
        if most == 1:
            raise UsageError(
                "The GPU has no memory to train on a single sample: take a smaller backbone or max_length."
            ) from error
        self.log.micro_batch = (most + 1) // 2
        self.optimizer.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()

    # ---- progress on disk

    def _save(self, stage: int, step: int) -> None:
        """Write the progress: within this stage, or at the beginning of the next, which has no optimiser to go on."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"recipe.{name}": value for name, value in self.recipe.state_dict().items()}
        tensors["random.cpu"] = torch.get_rng_state()
        if self.plan.device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self.plan.device)
        if step:
            tensors |= list_optimizer_tensors(self.optimizer)
        losses = self.losses if step else []
        log = {"stages": self.log.stages, "steps": self.log.steps, "losses": losses, "resumed": self.log.resumed}
        save_tensors(self.plan.progress_file, tensors, {"stage": stage, "step": step, "log": log})

    def _restore(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> int:
        """Put everything back; return the number of steps of this stage already done."""
        for kind, module in (("model.", self.model), ("recipe.", self.recipe)):
            part = {name.removeprefix(kind): t for name, t in tensors.items() if name.startswith(kind)}
            module.load_state_dict(part)
        self.log.stages = facts["log"]["stages"]
        self.log.steps = facts["log"]["steps"]
        self.log.resumed = facts["log"]["resumed"] + 1
        if facts["step"] > 0:  # within a stage: go on exactly; at its beginning a fresh seed is right
            self.losses = facts["log"]["losses"]
            restore_optimizer(self.optimizer, tensors)
            torch.set_rng_state(tensors["random.cpu"])
            if self.plan.device.type == "cuda":
                torch.cuda.set_rng_state(tensors["random.cuda"], self.plan.device)
        return int(facts["step"])


def freeze_for_stage(model: ExitModel, stage: Stage) -> list[torch.nn.Parameter]:
    """Switch gradients on for what ``stage`` trains and off for the rest; return the trained parameters, once each."""
    layers = {"all": range(1, model.num_layers + 1), "last": [model.num_layers], "early": range(1, model.num_layers)}
    chosen = [p for layer in layers[stage.exits] for p in model.head.exit_parameters(layer)]
    chosen += list(model.encoder.parameters()) if stage.backbone else []
    trained = list({id(p): p for p in chosen}.values())
    model.requires_grad_(False)
    for parameter in trained:
        parameter.requires_grad_(True)
    model.train()
    model.encoder.train(stage.backbone)  # frozen layers without dropout: the features are the model's own
    return trained


def compute_stage_logits(model: ExitModel, recipe: Recipe, stage: Stage, batch: Batch) -> tuple[State, list[Tensor]]:
    """Return the head's memory and the logits of the exits that ``stage`` looks at.

    Frozen parts run without gradient and without dropout.
    """
    mask = batch.attention_mask
    with torch.set_grad_enabled(stage.backbone):
        states = recipe.nodes(model.encoder(batch))
    if stage.exits == "last":
        return {}, [answer_last(model.head, states, mask, model.num_layers)]
    if stage.exits == "all":
        return answer_exits(model.head, states, mask)
    memory, early = answer_exits(model.head, states[:-1], mask)
    model.head.eval()
    with torch.no_grad():
        _, teacher = model.head.step(memory, states[-1], mask, model.num_layers)
    model.head.train()
    return memory, [*early, teacher]


def scale_rate(step: int, warmup: int, steps: int) -> float:
    """Return the factor on the learning rate: 0 to 1 over ``warmup`` steps, then linearly to 0 at ``steps``."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return max(0.0, (steps - step) / max(1, steps - warmup))


@contextmanager
def seed_random(seed: int, device: torch.device) -> Iterator[None]:
    """Draw random numbers from ``seed`` inside; the caller's state stays untouched."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


@contextmanager
def limit_threads(hidden_size: int, device: torch.device) -> Iterator[None]:
    """Let torch use one CPU thread inside where a model is so narrow that a second takes more time than it saves.

    Its weights are then the same on any number of cores: how a sum is shared out between threads changes its rounding.
    """
    threads = torch.get_num_threads()
    if device.type == "cpu" and hidden_size <= NARROW_WIDTH:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)

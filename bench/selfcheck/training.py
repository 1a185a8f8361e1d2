"""What the trainer costs beside a plain fine-tuning loop: the same model, batches and steps, in turns in one run.

The other loop is that of transformers' Trainer where the package accelerate is installed, which it needs; else one
written out here as Trainer's goes: AdamW without decay for biases and norms, gradients clipped, a linear schedule.
"""

from __future__ import annotations

import copy
import importlib.util
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from bench.latency.protocol import alternate_order
from bench.latency.queries import fix_threads
from bench.measure.rounds import paired_ratio
from bench.progress import Progress
from bench.selfcheck.engine import CLASSES, build_sized_model, format_ratio
from bench.selfcheck.frozen import draw_sentences
from bench.tasks.encode import EncodedSplit, batch_for_training, collate_batch
from bench.training.args import TrainArgs
from bench.training.trainer import TrainingPlan, scale_rate, train_model
from strategies.base import ExitModel
from strategies.controls import FinetuneRecipe
from strategies.entropy import LinearHead

HOST_DEVICE = torch.device("cpu")
OUR_TRAINER, TRAINER, PLAIN_LOOP = "bench", "transformers Trainer", "plain loop"
PASSES = 4
"""Times that either trains; once more before, to warm up."""

Classes = np.ndarray[Any, np.dtype[np.int64]]


class StockClassifier(nn.Module):
    """The library's own forward pass and the last exit's head, as a model that Trainer knows: a loss and logits."""

    def __init__(self, model: ExitModel) -> None:
        super().__init__()
        self.inner, self.head, self.last = model.encoder.model, model.head, model.num_layers

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the cross-entropy of int64 ``labels`` [B] and the logits [B, C] of tokens [B, T]."""
        hidden = self.inner(input_ids, attention_mask=attention_mask).last_hidden_state
        logits = self.head(hidden, attention_mask, self.last)
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}


def time_trainer(
    *, say: Callable[[str], None], size: str = "bert 6x384", samples: int = 512, threads: int | None = None
) -> dict[str, Any]:
    """Time an epoch of fine-tuning in float32 by our trainer and by the other loop; ``ratio`` is ours over theirs.

    Random sentences of 8 to 64 tokens in batches of 32. Every pass begins with the same weights.
    """
    begun, (encoded, labels) = build_sized_model(size, head=LinearHead), draw_sentences(samples)
    args = TrainArgs(epochs=1, precision="fp32", batch_size=32)
    other = TRAINER if importlib.util.find_spec("accelerate") else PLAIN_LOOP
    run_other = run_trainer if other == TRAINER else run_plain_loop
    seconds: dict[str, list[float]] = {OUR_TRAINER: [], other: []}
    with TemporaryDirectory() as folder, fix_threads(threads):
        for turn in range(-1, PASSES):
            for name in alternate_order([OUR_TRAINER, other], turn + 1):
                model = copy.deepcopy(begun)
                start = time.perf_counter()
                if name == OUR_TRAINER:
                    plan = TrainingPlan(encoded, labels, args, "fp32", 0, HOST_DEVICE, Path(folder) / "progress")
                    train_model(model, FinetuneRecipe(model.num_layers), plan, Progress(quiet=True))
                else:
                    run_other(StockClassifier(model), encoded, labels, args, Path(folder))
                taken = time.perf_counter() - start
                say(f"{name}: {taken:.1f} s")
                if turn >= 0:
                    seconds[name].append(taken)
        used = threads or torch.get_num_threads()
    ratio = asdict(paired_ratio(seconds[OUR_TRAINER], seconds[other]))
    return {"size": size, "samples": samples, "threads": used, "other": other, "seconds": seconds, "ratio": ratio}


def collate_rows(encoded: EncodedSplit, labels: Classes, rows: Sequence[int]) -> dict[str, Tensor]:
    """Return the given rows as the arguments of :class:`StockClassifier`; a mask for all, as Trainer's collators do."""
    batch = collate_batch(encoded, rows)
    mask = torch.ones_like(batch.input_ids) if batch.attention_mask is None else batch.attention_mask
    return {"input_ids": batch.input_ids, "attention_mask": mask, "labels": torch.from_numpy(labels[list(rows)])}


def load_batches(encoded: EncodedSplit, labels: Classes, args: TrainArgs) -> DataLoader[Any]:
    """Return the batches of one epoch, in the trainer's order."""
    rows: Any = range(len(encoded))
    batches: Any = [batch.tolist() for batch in batch_for_training(encoded.lengths, args.batch_size, 0, 0)]
    return DataLoader(rows, batch_sampler=batches, collate_fn=lambda some: collate_rows(encoded, labels, some))


def run_plain_loop(
    model: StockClassifier, encoded: EncodedSplit, labels: Classes, args: TrainArgs, folder: Path
) -> list[float]:
    """Fine-tune ``model`` for an epoch with nothing around the steps; return their losses."""
    model.train()
    named = list(model.parameters())
    groups = [
        {"params": [p for p in named if p.ndim > 1], "weight_decay": args.weight_decay},
        {"params": [p for p in named if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=args.lr, fused=True)
    batches = load_batches(encoded, labels, args)
    steps = len(batches)
    warmup = round(args.warmup * steps)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: scale_rate(step, warmup, steps))
    losses = []
    for batch in batches:
        loss = model(**batch)["loss"]
        loss.backward()
        nn.utils.clip_grad_norm_(named, args.clip)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(float(loss.detach()))
    return losses


def run_trainer(
    model: StockClassifier, encoded: EncodedSplit, labels: Classes, args: TrainArgs, folder: Path
) -> list[float]:
    """Fine-tune ``model`` for an epoch by transformers' Trainer; return the mean loss."""
    from transformers import PrinterCallback, Trainer, TrainingArguments

    batches = load_batches(encoded, labels, args)
    asked = TrainingArguments(
        output_dir=str(folder), num_train_epochs=1, learning_rate=args.lr, weight_decay=args.weight_decay,
        max_grad_norm=args.clip, lr_scheduler_type="linear", warmup_steps=round(args.warmup * len(batches)),
        per_device_train_batch_size=args.batch_size, save_strategy="no", logging_strategy="no", report_to=[],
        disable_tqdm=True, use_cpu=True,
    )  # fmt: skip

    class SameBatches(Trainer):
        def get_train_dataloader(self) -> DataLoader[Any]:
            return batches

    trainer = SameBatches(model=model, args=asked, train_dataset=batches.dataset)
    trainer.remove_callback(PrinterCallback)
    return [trainer.train().training_loss]


def describe_trainer(result: Mapping[str, Any]) -> str:
    """Return the figures as lines for people."""
    threads = f"{result['threads']} thread{'s' if result['threads'] != 1 else ''}"
    lines = [f"{result['size']}, an epoch of {result['samples']} samples, {threads}, {CLASSES} classes"]
    lines += [f"{name:<22}{np.mean(taken):8.2f} s" for name, taken in result["seconds"].items()]
    why = "" if result["other"] == TRAINER else "; transformers' Trainer needs the package accelerate"
    return "\n".join([*lines, f"ours over theirs: {format_ratio(result['ratio'])}{why}"])

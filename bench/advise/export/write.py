"""A recorded run as a folder that answers without ExitBench: model, exits, criterion, card, and one file of code."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_file
from transformers.utils import logging as transformers_logging

from backbones.hubcalls import hide_bars
from backbones.labels import is_numbered
from bench.advise.export import early_exit
from bench.advise.export.card import write_card
from bench.advise.export.chosen import ChosenPoint, choose_exported
from bench.advise.export.packing import make_stock_model, pack_criterion, pack_head
from bench.advise.export.recorded import describe_traffic
from bench.cell.reload import RunModel, load_run_model, refuse_external
from bench.cell.request import Context
from bench.environment import read_versions
from bench.errors import DiskFull, UsageError
from bench.files import hash_file, is_disk_full, make_folder, write_json, write_text
from bench.results.run import Run
from bench.tasks.encode import encode_split

FORMAT = 1
"""Of ``exit_config.json``: raised when an older ``early_exit.py`` could not read it."""
CONFIG, RECORDED = "exit_config.json", "recorded.json"


def export_run(run: Run, context: Context, folder: Path, asked: str, *, onnx: bool = False) -> dict[str, Any]:
    """Write the model of ``run``, which decides at the point ``asked``, to ``folder``; return its configuration.

    ``onnx``: as ONNX files too. The folder is written whole or not at all. Raises UsageError, before anything is
    written, for a folder that is not empty, for a criterion or head that cannot be exported, and where the run's model
    or its logits cannot be had; and where ONNX files would not answer as the model does.
    """
    refuse_filled(folder)
    refuse_external(run)
    chosen, outputs = choose_exported(run, asked), run.exits().logits.shape[2]
    criterion = pack_criterion(run.criterion, outputs, run.strategy)
    made = load_run_model(run, context, attention="sdpa")
    weights, exits = pack_head(made.model.head, run.spec.head)
    config = {
        "format": FORMAT,
        "model_type": made.model.encoder.model_type,
        "layers": made.model.num_layers,
        "outputs": outputs,
        "labels": list_labels(run),
        "pairs": made.data.train.second is not None,
        "max_length": made.max_length,
        "inputs": [name for name in made.tokenizer.model_input_names if name != "attention_mask"],
        "pooling": made.model.head.pooling,
        "exits": exits,
        "own_last_exit": len(exits) < made.model.num_layers,
        "order": None if run.record.backbone.classifier is None else list(run.record.backbone.classifier.order),
        "criterion": {
            **criterion,
            "cut": float(np.float32(chosen.cut)),  # as a score in float32 is compared with it
            "threshold": chosen.threshold,
        },
        "provenance": describe_origin(run, chosen),
    }
    traffic = describe_traffic(run, chosen.cut)
    with write_folder(folder) as inside:
        if onnx:
            config["onnx"] = write_onnx_of(run, made, inside, context)
        stock, config["model_args"] = make_stock_model(made.model)
        name_classes(stock.config, run)
        with hide_bars(transformers_logging):
            stock.save_pretrained(inside)
            made.tokenizer.save_pretrained(inside)
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, inside / "exits.safetensors")
        write_text(inside / "early_exit.py", Path(early_exit.__file__).read_text(encoding="utf-8"))
        write_json(inside / RECORDED, traffic, compact=True)
        write_text(inside / "README.md", write_card(run, chosen, traffic["exit_counts"], config))
        config["files"] = {path.name: hash_file(path) for path in sorted(inside.iterdir())}
        write_json(inside / CONFIG, config)
    return config


def write_onnx_of(run: Run, made: RunModel, folder: Path, context: Context) -> dict[str, Any]:
    """Write a run's model to ``folder`` as ONNX files, compared with torch on the texts that the run reports."""
    from bench.advise.export.onnx_files import write_onnx

    encoded = encode_split(made.data.evaluation[run.primary], made.tokenizer, made.max_length)
    segments = "token_type_ids" in made.tokenizer.model_input_names
    return write_onnx(made.model, folder, encoded, segments=segments, tell=context.progress.say)


def refuse_filled(folder: Path) -> None:
    """Raise UsageError where ``folder`` is a file, or a folder with something in it."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file: name a folder that is not there yet.")
    if folder.is_dir() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty: name a folder that is not there yet, or empty it.")


def list_labels(run: Run) -> list[str] | None:
    """Return what the classes are called, in the task's order; None of a regression.

    A fine-tuned model's own names where it has any, so that it answers as it always did.
    """
    task, own = run.record.task, run.record.backbone.classifier
    if task.kind == "regression":
        return None
    if own is None or (own.matched == "position" and is_numbered(own.labels)):
        return list(task.labels)
    return [own.labels[number] for number in own.order]


def name_classes(config: Any, run: Run) -> None:
    """Give the stock configuration the names of the classes, where it does not have a classifier's own."""
    labels = list_labels(run)
    if run.record.backbone.classifier is None and labels is not None:
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: number for number, label in enumerate(labels)}


def describe_origin(run: Run, chosen: ChosenPoint) -> dict[str, Any]:
    """Return where an exported model comes from: the run, the point, the backbone's weights, the versions."""
    record, versions = run.record, read_versions()
    return {
        "run": run.folder.name,
        "key": record.quality_key,
        "created": record.created,
        "point": chosen.rule,
        "strategy": run.strategy,
        "recipe": run.spec.recipe,
        "head": run.spec.head,
        "task": {"name": run.task, "revision": record.task.revision},
        "backbone": {"name": run.backbone, "digest": record.backbone.digest, "init": record.backbone.init},
        "recorded_in": run.spec.dtype,
        "versions": {name: versions[name] for name in ("exitbench", "torch", "transformers")},
    }


@contextmanager
def write_folder(folder: Path) -> Iterator[Path]:
    """Give a temporary folder beside ``folder``, which becomes it when the block ends without an error.

    Raises DiskFull where there is no room; nothing is left then.
    """
    make_folder(folder.parent)
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp")
    temporary.mkdir()
    try:
        yield temporary
        temporary.replace(folder)
    except Exception as error:
        if is_disk_full(error):
            raise DiskFull(f"No space is left on the disk for {folder}: free some and export again.") from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)

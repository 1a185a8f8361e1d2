"""Released checkpoints of DeeBERT, RomeBERT, PABEE and BERxiT: their names of the exits' weights, and their logits.

    DeeBERT, RomeBERT, BERxiT   <type>.encoder.highway.{i}.pooler.dense, .classifier; exit L: <type>.pooler, classifier
    PABEE                       <type>.pooler, shared; classifiers.{i}

<type> is bert, roberta or albert; i counts from 0. ALBERT's own pooler is one layer without "dense", RoBERTa's stock
classifier is classifier.dense and classifier.out_proj. The released DeeBERT's highway of the last layer is never
trained, so exit L is the model's own classifier.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from torch import Tensor

from backbones.errors import BackboneError
from backbones.labels import LabelMatch, match_labels, read_configured_labels
from backbones.load import load_backbone
from backbones.resolve import BackboneRequest, resolve_backbone
from bench.cell.own_exit import OwnExit, describe_match, list_class_names
from bench.cell.request import Context
from bench.errors import DataError, UsageError
from bench.inference.exits import record_exits
from bench.measure.exits import AllExits
from bench.tasks.base import TaskData
from bench.tasks.encode import encode_split
from strategies import HEADS
from strategies.base import ExitModel

WEIGHTS = "model.safetensors"
HIGHWAY_NAMES, EXIT_NAMES = re.compile(r"encoder\.highway\.\d+\."), re.compile(r"classifiers\.\d+\.")


@dataclass(frozen=True, eq=False)
class ReleasedLogits:
    """A released model's logits over held-out and reported samples of a task, in the task's order of classes.

    ``head`` is what its exits are; ``warnings`` belong into the record.
    """

    select: AllExits
    report: AllExits
    head: str
    warnings: tuple[str, ...] = ()


def find_weights(folder: Path) -> Path:
    """Return the file of a released checkpoint's weights.

    Raises UsageError, with how to convert them, where they are pickled: these are never opened here.
    """
    if not folder.is_dir():
        raise UsageError(f"--checkpoint takes a folder with config.json, tokenizer and {WEIGHTS}; {folder} is none.")
    path = folder / WEIGHTS
    pickled = next((p for p in sorted(folder.glob("*")) if p.suffix in (".bin", ".pt", ".pth", ".ckpt")), None)
    if not path.is_file() and pickled is not None:
        raise UsageError(
            f"{pickled} is a pickle, which runs code when it is opened, so it is not read. Where you trust its maker: "
            f"python -c \"import torch, safetensors.torch as s; w = torch.load('{pickled.name}', weights_only=True); "
            f"s.save_file({{k: v.contiguous().clone() for k, v in w.items()}}, '{WEIGHTS}')\" in that folder."
        )
    if not path.is_file():
        raise UsageError(f"{folder} has no {WEIGHTS}: save_pretrained of transformers writes it.")
    return path


def read_heads(path: Path, layers: int) -> tuple[str, dict[str, Tensor]]:
    """Return which head a checkpoint's exits are, and their weights by our names. Raises DataError for other forms."""
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            highway = any(HIGHWAY_NAMES.search(name) for name in names)
            if not highway and not any(EXIT_NAMES.match(name) for name in names):
                raise DataError(
                    f"{path} has no exits as DeeBERT, BERxiT (encoder.highway.0...) and PABEE (classifiers.0...) do."
                )
            wanted = name_highways(names, layers) if highway else name_classifiers(names, layers)
            lacking = [theirs for theirs in wanted.values() if theirs not in names]
            if lacking:
                raise DataError(
                    f"{path} lacks {lacking[0]}, of the exits of {layers} layers: give the whole checkpoint, or in "
                    "config.json the number of layers that it has."
                )
            tensors = {ours: file.get_tensor(theirs).float() for ours, theirs in wanted.items()}
    except SafetensorError as error:
        raise DataError(f"{path} cannot be read as safetensors ({error}): copy or save it again.") from error
    return "highway" if highway else "shared-pooler", tensors


def name_highways(names: list[str], layers: int) -> dict[str, str]:
    """Return for each weight of our highway head the name that the checkpoint has for it."""
    start = next(name.partition("encoder.highway.")[0] for name in names if "encoder.highway." in name)
    own_pooler, own_classifier = _name_pooler(names, start), "classifier"
    if "classifier.out_proj.weight" in names:  # RoBERTa's, whose dense layer is its pooler
        own_pooler, own_classifier = "classifier.dense", "classifier.out_proj"
    found = {}
    for kind in ("weight", "bias"):
        for i in range(layers - 1):
            found[f"poolers.{i}.{kind}"] = f"{start}encoder.highway.{i}.pooler.dense.{kind}"
            found[f"classifiers.{i}.{kind}"] = f"{start}encoder.highway.{i}.classifier.{kind}"
        found[f"poolers.{layers - 1}.{kind}"] = f"{own_pooler}.{kind}"
        found[f"classifiers.{layers - 1}.{kind}"] = f"{own_classifier}.{kind}"
    return found


def name_classifiers(names: list[str], layers: int) -> dict[str, str]:
    """Return for each weight of our head with a shared pooler the name that the checkpoint has for it."""
    start = next((name.partition("pooler.")[0] for name in names if ".pooler." in name), "")
    pooler = _name_pooler(names, start)
    found = {f"pooler.{kind}": f"{pooler}.{kind}" for kind in ("weight", "bias")}
    return found | {f"classifiers.{i}.{k}": f"classifiers.{i}.{k}" for i in range(layers) for k in ("weight", "bias")}


def _name_pooler(names: list[str], start: str) -> str:
    return f"{start}pooler.dense" if f"{start}pooler.dense.weight" in names else f"{start}pooler"


def record_released(
    folder: Path, data: TaskData, max_length: int, settings: Mapping[str, object], context: Context
) -> ReleasedLogits:
    """Run a released checkpoint once over the task's held-out and reported samples, every exit on."""
    path = find_weights(folder)
    request = BackboneRequest(str(folder), "pretrained", settings, context.hub_root, context.offline)
    loaded = load_backbone(request)
    head, tensors = read_heads(path, loaded.encoder.num_layers)
    made = HEADS.load(head)(loaded.encoder, data.num_outputs)
    for name, ours in made.state_dict().items():
        if tensors[name].shape != ours.shape:
            shapes = [" x ".join(map(str, shape)) for shape in (tensors[name].shape, ours.shape)]
            raise DataError(
                f"{path}: {name} is {shapes[0]}, and task '{data.name}' needs {shapes[1]}: another number of classes?"
            )
    own = match_classes(request, data)
    made.load_state_dict(tensors)
    model = ExitModel(loaded.encoder, made).eval()
    longest = min(max_length, int(loaded.tokenizer.model_max_length))
    found = [
        record_exits(model, split, encode_split(split, loaded.tokenizer, longest), context.progress)
        for split in (data.select, next(iter(data.evaluation.values())))
    ]
    select, reported = (
        replace(exits, logits=np.ascontiguousarray(exits.logits[:, :, list(own.match.order)])) for exits in found
    )
    return ReleasedLogits(select, reported, head, tuple(describe_match(own, data, folder.name)))


def match_classes(request: BackboneRequest, data: TaskData) -> OwnExit:
    """Return which of a released model's classes the task's are, by the names in its configuration.

    Raises DataError, with both lists, where they are others.
    """
    labels = read_configured_labels(resolve_backbone(request))
    if data.kind == "regression":  # released configurations seldom say so
        return OwnExit(labels, LabelMatch((0,), "regression"))
    try:
        return OwnExit(labels, match_labels(labels, list_class_names(data)))
    except BackboneError as error:
        raise DataError(
            f"The checkpoint in {request.name} is not for task '{data.name}': {str(error).removesuffix('.')}. Give the "
            "task that it was trained for, or its classes' names as id2label in its config.json."
        ) from error

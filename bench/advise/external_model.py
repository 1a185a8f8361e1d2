"""The shape of the model behind imported logits, where backbone and head are named: enough to count FLOPs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from backbones.base import LayeredEncoder
from backbones.catalog import BACKBONES, Init, is_demo
from backbones.load import load_request_tokenizer, outline_backbone
from backbones.resolve import BackboneRequest, Resolved, resolve_backbone
from bench.cell.request import Context
from bench.errors import UsageError
from bench.measure.cost import CostModel
from bench.measure.exits import AllExits
from bench.measure.trade_off import Costs
from bench.results.facts import BackboneFacts
from bench.settings import bind_arguments, list_settable
from bench.tasks.base import TaskData
from bench.tasks.encode import encode_split
from strategies import HEADS, STRATEGIES
from strategies.base import Criterion, Head

NOT_NAMED = "external"
"""Stands for the head, and for the digest of the weights, of a model that nobody named."""


@dataclass(frozen=True, eq=False)
class ExternalModel:
    """A model of which only logits are here. ``encoder`` and ``head`` have shapes, but no weights; None if not named.

    ``backbone`` is its name, by default what the user calls the model; ``head`` likewise.
    """

    backbone: str
    head: str
    head_args: Mapping[str, Any]
    head_version: int
    backbone_args: Mapping[str, Any]
    init: Init
    resolved: Resolved | None = None
    request: BackboneRequest | None = None
    encoder: LayeredEncoder | None = None
    shape: Head | None = None

    def count_costs(self, criterion: Criterion, exits: AllExits, lengths: bool) -> Costs:
        """Return the FLOPs of every sample at every exit; layers where the model, or ``lengths``, are not known."""
        samples, depth, _ = exits.logits.shape
        if self.encoder is None or self.shape is None or not lengths:
            return Costs.layers(samples, depth)
        early = CostModel(self.encoder, self.shape, criterion).flops_table(exits.lengths)
        return Costs(early, CostModel(self.encoder, self.shape).plain(exits.lengths))

    def describe(self, name: str, exits: int) -> BackboneFacts:
        """Return what a record says of a model of this ``name`` with so many exits."""
        encoder, head, found = self.encoder, self.shape, self.resolved
        return BackboneFacts(
            name=name,
            model_type=NOT_NAMED if found is None else found.model_type,
            source=NOT_NAMED if found is None else found.source,
            revision=None if found is None else found.revision,
            digest=NOT_NAMED if found is None else found.digest,
            init=NOT_NAMED if found is None else self.init,
            layers=exits,
            depth=exits,
            hidden=None if encoder is None else encoder.hidden_size,
            parameters=None if encoder is None else sum(p.numel() for p in encoder.parameters()),
            head_parameters=None if head is None else sum(p.numel() for p in head.parameters()),
            pooling=NOT_NAMED if head is None else head.pooling,
        )

    def count_tokens(self, data: TaskData, max_length: int) -> list[tuple[tuple[str, ...], NDArray[np.int64]]]:
        """Return ids and tokens of every split of the task, as the backbone's tokenizer counts them."""
        if self.request is None:
            return []
        corpus = [*data.train.first, *(data.train.second or ())]
        tokenizer = load_request_tokenizer(self.request, corpus)
        longest = min(max_length, int(tokenizer.model_max_length))
        splits = (data.train, data.select, *data.evaluation.values())
        return [(split.ids, encode_split(split, tokenizer, longest).lengths) for split in splits]


def outline_model(
    name: str,
    backbone: str | None,
    head: str | None,
    settings: Mapping[str, Mapping[str, object]],
    exits: int,
    outputs: int,
    context: Context,
) -> ExternalModel:
    """Return the model called ``name``, in its outlines where ``backbone`` and ``head`` are named.

    ``settings`` are those of ``backbone.`` and ``head.``. Raises UsageError for a head without a backbone, and for a
    backbone of another depth than the logits have ``exits``.
    """
    if backbone is None:
        for option, given in (
            ("--head", head),
            ("--set backbone.", settings["backbone"]),
            ("--set head.", settings["head"]),
        ):
            if given:
                raise UsageError(f"{option} says something of a model whose --backbone is not named: name that too.")
        return ExternalModel(name, NOT_NAMED, {}, 1, {}, "pretrained")
    init: Init = "scratch" if is_demo(backbone) else "pretrained"
    request = BackboneRequest(backbone, init, settings["backbone"], context.hub_root, context.offline)
    encoder, found = outline_backbone(request), resolve_backbone(request)
    if encoder.num_layers != exits:
        raise UsageError(
            f"The logits have {exits} exits, and backbone '{backbone}' has {encoder.num_layers} layers: name the "
            "backbone that they are of, with --set backbone.num_hidden_layers where it was cut."
        )
    if head is None:
        return ExternalModel(found.name, NOT_NAMED, {}, 1, settings["backbone"], init, found, request, encoder)
    kind: Any = STRATEGIES.load(head).head if head not in HEADS and head in STRATEGIES else HEADS.load(head)
    pools = backbone in BACKBONES and "pooling" in list_settable(kind)
    pooled = {"pooling": BACKBONES[backbone].pooling} if pools else {}
    arguments = bind_arguments(kind, {**pooled, **settings["head"]}, f"head '{head}'")
    with torch.device("meta"):
        shape = kind(encoder, outputs, **arguments)
    version = getattr(kind, "version", 1)
    return ExternalModel(
        found.name, head, arguments, version, settings["backbone"], init, found, request, encoder, shape
    )

"""The backbones with names of their own: catalog.csv, and the demo ones. Imports neither torch nor transformers.

A pinned revision is the commit of the hub repository whose files the name stands for, so that a name
means the same weights next year. Names whose commit could not be checked say "main": the commit found
at download time is what a result records.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Literal

from backbones.names import expand_home, find_name

Init = Literal["pretrained", "scratch", "finetuned"]
"""Where a backbone's weights come from; of a "finetuned" one its own classifier is kept too, as the last exit."""


@dataclass(frozen=True)
class Named:
    """A backbone by name: where its files are, or for the demo ones the whole configuration.

    ``layers`` is L, ``hidden`` is H. ``hub_id`` is None for a demo backbone, which is always
    initialised from scratch with ``config``.
    """

    name: str
    model_type: str
    hub_id: str | None
    revision: str
    summary: str
    layers: int
    hidden: int
    config: Mapping[str, object] = field(default_factory=dict)
    package: str | None = None
    """``importable_package/folder`` where an installed Python package carries the same files, for use without a hub."""
    pooling: str = "cls"
    """How the checkpoint was trained to pool its states, hence the default of heads on it.

    MiniLM's is mean: with [CLS] its exits 1-3 stay at chance, since the state is nearly constant there.
    """


def _read_catalog() -> Iterator[Named]:
    text = (files("backbones") / "catalog.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        sizes = {"layers": int(row.pop("layers")), "hidden": int(row.pop("hidden"))}
        yield Named(**row | sizes | {"package": row["package"] or None})


def _demo(model_type: str, layers: int = 6, **extra: object) -> Named:
    # Small enough to fine-tune in seconds on two CPU cores, deep enough for exits to differ. No hidden dropout:
    # at this width it costs more steps than it saves over-fitting.
    config = {
        "vocab_size": 2000,
        "hidden_size": 64,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "intermediate_size": 128,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "max_position_embeddings": 128,
        "type_vocab_size": 2,
        "pad_token_id": 0,
        # wide enough for early exits of so narrow a model to be heard; 0.02 learns clearly slower here
        "initializer_range": 0.05,
        **extra,
    }
    config = {key: value for key, value in config.items() if value is not None}  # None: the type has no such field
    summary = "tiny, from scratch, vocabulary from the training texts: for the demo task and tests"
    name = f"{model_type}-demo" if layers == 6 else f"{model_type}-{layers}-demo"
    return Named(name, model_type, None, "", summary, layers, 64, config)


_ALBERT: dict[str, Any] = {
    "embedding_size": 32,
    "num_hidden_groups": 1,
    "inner_group_num": 1,
    "classifier_dropout_prob": 0.1,
}
_ALL = (
    *_read_catalog(),
    _demo("albert", **_ALBERT),
    _demo("albert", 12, **_ALBERT),
    _demo("bert", classifier_dropout=0.1),
    # DeBERTa v3's kind of attention, with fewer and nearer buckets of distances
    _demo(
        "deberta-v2",
        classifier_dropout=0.1,
        type_vocab_size=0,
        relative_attention=True,
        pos_att_type=["p2c", "c2p"],
        share_att_key=True,
        position_buckets=16,
        norm_rel_ebd="layer_norm",
        position_biased_input=False,
    ),
    _demo("distilbert", classifier_dropout=0.1, type_vocab_size=None),
    _demo("electra", classifier_dropout=0.1, embedding_size=32),
    # a window that the demo's longer texts exceed
    _demo("modernbert", classifier_dropout=0.1, type_vocab_size=None, local_attention=16, global_attn_every_n_layers=3),
    # RoBERTa counts positions from pad_token_id + 1, so 128 tokens take 130 positions
    _demo("roberta", classifier_dropout=0.1, type_vocab_size=1, pad_token_id=1, max_position_embeddings=130),
)

BACKBONES: dict[str, Named] = {named.name: named for named in _ALL}
"""Every named backbone by name, full-size ones first."""


def is_demo(name: str) -> bool:
    """Return whether ``name`` is a demo backbone's, which is always from scratch; a folder called so is none."""
    named = BACKBONES.get(name)
    return named is not None and named.hub_id is None


def find_backbone_name(name: str) -> str:
    """Return the named backbone that ``name`` spells in any case; a hub id and a folder stay what they are."""
    return name if os.path.exists(expand_home(name)) else find_name(name, BACKBONES)

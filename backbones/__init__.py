"""The table of contents: model type -> the encoder class that steps through its layers, and its own classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backbones.names import Registry

if TYPE_CHECKING:
    from backbones.base import LayeredEncoder
    from backbones.classifier import OwnClassifier

ENCODERS: Registry[type[LayeredEncoder]] = Registry(
    "model type",
    {
        "albert": "backbones.albert:AlbertEncoder",
        "bert": "backbones.bert:BertEncoder",
        "deberta-v2": "backbones.deberta:DebertaEncoder",
        "distilbert": "backbones.bert:DistilBertEncoder",
        "electra": "backbones.bert:ElectraEncoder",
        "modernbert": "backbones.modernbert:ModernBertEncoder",
        "roberta": "backbones.bert:RobertaEncoder",
    },
    base="backbones.base:LayeredEncoder",
    group="exitbench.backbones",
)

CLASSIFIERS: Registry[type[OwnClassifier]] = Registry(
    "model type",
    {
        "albert": "backbones.classifier:AlbertClassifier",
        "bert": "backbones.classifier:BertClassifier",
        "deberta-v2": "backbones.classifier:DebertaClassifier",
        "distilbert": "backbones.classifier:DistilBertClassifier",
        "electra": "backbones.classifier:ElectraClassifier",
        "modernbert": "backbones.classifier:ModernBertClassifier",
        "roberta": "backbones.classifier:RobertaClassifier",
    },
    base="backbones.classifier:OwnClassifier",
)

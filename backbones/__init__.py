"""The table of contents: model type -> the encoder class that steps through its layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backbones.names import Registry

if TYPE_CHECKING:
    from backbones.base import LayeredEncoder

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
)

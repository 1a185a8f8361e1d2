"""The table of contents: model type -> the encoder class that steps through its layers."""

ENCODERS = {
    "albert": "backbones.albert:AlbertEncoder",
    "bert": "backbones.bert:BertEncoder",
    "deberta-v2": "backbones.deberta:DebertaEncoder",
    "distilbert": "backbones.distilbert:DistilBertEncoder",
    "electra": "backbones.electra:ElectraEncoder",
    "modernbert": "backbones.modernbert:ModernBertEncoder",
    "roberta": "backbones.roberta:RobertaEncoder",
}

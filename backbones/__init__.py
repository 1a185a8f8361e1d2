"""The table of contents: model type -> the encoder class that steps through its layers."""

ENCODERS = {
    "albert": "backbones.albert:AlbertEncoder",
    "bert": "backbones.bert:BertEncoder",
    "roberta": "backbones.roberta:RobertaEncoder",
}

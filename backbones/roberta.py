"""RoBERTa: BERT's layers on positions that skip padding (Liu et al., 2019)."""

from __future__ import annotations

from typing import ClassVar

from transformers import PreTrainedModel, RobertaModel

from backbones.bert import BertEncoder


class RobertaEncoder(BertEncoder):
    """RoBERTa, stepped as BERT is: the two differ only within the stock embeddings.

    Positions are counted there from the ids that are not padding, so they need no argument and do not depend on
    how far a batch is padded.
    """

    model_type: ClassVar[str] = "roberta"
    model_class: ClassVar[type[PreTrainedModel]] = RobertaModel

"""A fine-tuned model's own classifier: what a stock ``...ForSequenceClassification`` does after its last layer.

The sub-modules are the stock model's and are called in its order, so that the logits are the stock model's bit for bit.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    AlbertForSequenceClassification,
    BertForSequenceClassification,
    DebertaV2ForSequenceClassification,
    DistilBertForSequenceClassification,
    ElectraForSequenceClassification,
    ModernBertForSequenceClassification,
    PreTrainedModel,
    RobertaForSequenceClassification,
)


class OwnClassifier(nn.Module, ABC):
    """What a model of one type does with its last layer's states to answer: [B, T, H] -> logits [B, C].

    ``model`` is the stock model, whose modules it takes over. Where a pooler is among them that belongs to the encoder,
    the encoder keeps a copy, which is never applied: heads begin with its weights.
    """

    model_class: ClassVar[type[PreTrainedModel]]

    def __init__(self, model: Any) -> None:  # Any: torch types every sub-module of a model as Tensor | Module
        super().__init__()
        self.num_outputs = int(model.config.num_labels)
        self.classifier = model.classifier

    @abstractmethod
    def forward(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        """Return the stock model's logits [B, C], in its own order of classes.

        ``hidden`` are the last layer's states [B, T, H], ``mask`` the attention mask [B, T] or None if all are real.
        """

    def macs(self, tokens: int) -> int:
        """Return the multiply-accumulates for one sample of any length: each matrix is applied to one vector."""
        return sum(part.weight.numel() for part in self.modules() if isinstance(part, nn.Linear))


class _Pooled(OwnClassifier):
    """One vector a sample, dropout, then a linear classifier."""

    def __init__(self, model: Any, dropout: nn.Dropout) -> None:
        super().__init__(model)
        self.dropout = dropout

    @abstractmethod
    def pool(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        """Return what the classifier reads, [B, H]."""

    def forward(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        logits: Tensor = self.classifier(self.dropout(self.pool(hidden, mask)))
        return logits


class BertClassifier(_Pooled):
    """BERT's: the pretrained pooler with its tanh, dropout, linear."""

    model_class: ClassVar[type[PreTrainedModel]] = BertForSequenceClassification

    def __init__(self, model: Any) -> None:
        super().__init__(model, model.dropout)
        self.pooler = model.base_model.pooler
        # not the other way round: weights that lie otherwise in memory may give other last bits
        model.base_model.pooler = copy.deepcopy(self.pooler)

    def pool(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        pooled: Tensor = self.pooler(hidden)
        return pooled


class AlbertClassifier(BertClassifier):
    """ALBERT's: as BERT's, with the pooler's tanh outside of it."""

    model_class = AlbertForSequenceClassification

    def pool(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        return torch.tanh(self.pooler(hidden[:, 0]))


class DistilBertClassifier(_Pooled):
    """DistilBERT's: a dense layer with ReLU on the first token, dropout, linear."""

    model_class = DistilBertForSequenceClassification

    def __init__(self, model: Any) -> None:
        super().__init__(model, model.dropout)
        self.pre_classifier = model.pre_classifier

    def pool(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        return F.relu(self.pre_classifier(hidden[:, 0]))


class DebertaClassifier(_Pooled):
    """DeBERTa's, v2 and v3: the context pooler, which drops before its dense layer too, dropout, linear."""

    model_class = DebertaV2ForSequenceClassification

    def __init__(self, model: Any) -> None:
        super().__init__(model, model.dropout)
        self.pooler = model.pooler

    def pool(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        pooled: Tensor = self.pooler(hidden)
        return pooled


class ModernBertClassifier(_Pooled):
    """ModernBERT's: the first token or the mean over real ones (``classifier_pooling``), its head, dropout, linear."""

    model_class = ModernBertForSequenceClassification

    def __init__(self, model: Any) -> None:
        super().__init__(model, model.drop)
        self.head = model.head
        self.pooling = str(model.config.classifier_pooling)

    def pool(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        if self.pooling == "cls":
            vector = hidden[:, 0]
        else:  # the stock model's own arithmetic, in whole numbers where the mask is
            real = torch.ones(hidden.shape[:2], dtype=torch.bool, device=hidden.device) if mask is None else mask
            vector = (hidden * real.unsqueeze(-1)).sum(dim=1) / real.sum(dim=1, keepdim=True)
        pooled: Tensor = self.head(vector)
        return pooled


class RobertaClassifier(OwnClassifier):
    """RoBERTa's: a dense layer with tanh on the first token, linear, dropout before each."""

    model_class: ClassVar[type[PreTrainedModel]] = RobertaForSequenceClassification

    def forward(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        logits: Tensor = self.classifier(hidden)
        return logits


class ElectraClassifier(RobertaClassifier):
    """ELECTRA's: as RoBERTa's, with GELU."""

    model_class = ElectraForSequenceClassification

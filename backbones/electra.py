"""ELECTRA: BERT's layers as a discriminator, on embeddings of a width of their own (Clark et al., 2020)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from transformers import ElectraModel, PreTrainedModel

from backbones.base import Batch
from backbones.bert import BertEncoder


class ElectraEncoder(BertEncoder):
    """ELECTRA, stepped as BERT is: word, position and segment embeddings are projected to H where they are narrower."""

    model_type: ClassVar[str] = "electra"
    model_class: ClassVar[type[PreTrainedModel]] = ElectraModel

    def embed(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Embeddings [B, T, E], projected to [B, T, H] where E is not H; and the mask that the layers take."""
        embedded, mask = super().embed(batch)
        if self._projects:
            embedded = self.model.embeddings_project(embedded)
        return embedded, mask

    @property
    def _projects(self) -> bool:
        return bool(self.model.config.embedding_size != self.model.config.hidden_size)

    def pretrained_pooler(self) -> nn.Linear | None:
        """None: a discriminator judges every token and pools none."""
        return None

    def embed_macs(self, tokens: int) -> int:
        """T·E·H for the projection, where there is one."""
        config = self.model.config
        return tokens * int(config.embedding_size * config.hidden_size) if self._projects else 0

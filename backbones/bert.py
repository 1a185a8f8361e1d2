"""BERT: learned absolute positions, segments, post-layer-norm layers (Devlin et al., 2019)."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn
from transformers import BertModel, PreTrainedModel

from backbones.base import Batch, LayeredEncoder, transformer_layer_macs


class BertEncoder(LayeredEncoder):
    """BERT, stepped: embeddings, then layers 1..L, each with weights of its own."""

    model_type: ClassVar[str] = "bert"
    model_class: ClassVar[type[PreTrainedModel]] = BertModel

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__(model)
        self._layers: tuple[Any, ...] = tuple(self.model.encoder.layer)

    def embed(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Word, position and segment embeddings [B, T, H] and the mask that the layers take."""
        embedded = self.model.embeddings(batch.input_ids, batch.token_type_ids)
        return embedded, self.padding_mask(embedded, batch)

    def layer(self, index: int, hidden: Tensor, mask: Tensor | None) -> Tensor:
        """Apply layer ``index`` (1-based): [B, T, H] -> [B, T, H]."""
        return self._layers[index - 1](hidden, mask)

    def pretrained_pooler(self) -> nn.Linear | None:
        """The stock pooler's Linear(H, H), or None where the checkpoint had none."""
        pooler = self.model.pooler
        return None if pooler is None else pooler.dense

    def embed_macs(self, tokens: int) -> int:
        """Zero: embedding look-ups and sums multiply nothing."""
        return 0

    def layer_macs(self, tokens: int) -> int:
        """Multiply-accumulates of one layer for one sample of ``tokens`` tokens."""
        return transformer_layer_macs(self.model.config, tokens)

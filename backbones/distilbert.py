"""DistilBERT: half of BERT's layers, without segments and pooler (Sanh et al., 2019)."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn
from transformers import DistilBertModel, PreTrainedModel

from backbones.base import Batch, LayeredEncoder, transformer_layer_macs


class DistilBertEncoder(LayeredEncoder):
    """DistilBERT, stepped. It has no segment embeddings: the two texts of a pair are told apart by [SEP] alone."""

    model_type: ClassVar[str] = "distilbert"
    model_class: ClassVar[type[PreTrainedModel]] = DistilBertModel

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__(model)
        self._layers: tuple[Any, ...] = tuple(self.model.transformer.layer)

    @property
    def head_dropout(self) -> float:
        """Dropout of the stock classifier."""
        return float(self.model.config.seq_classif_dropout)

    def embed(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Word and position embeddings [B, T, H] and the mask that the layers take."""
        embedded = self.model.embeddings(batch.input_ids)
        return embedded, self.padding_mask(embedded, batch)

    def layer(self, index: int, hidden: Tensor, mask: Tensor | None) -> Tensor:
        """Apply layer ``index`` (1-based): [B, T, H] -> [B, T, H]."""
        return self._layers[index - 1](hidden, mask)

    def pretrained_pooler(self) -> nn.Linear | None:
        """None: distillation kept none."""
        return None

    def embed_macs(self, tokens: int) -> int:
        """Zero: embedding look-ups and sums multiply nothing."""
        return 0

    def layer_macs(self, tokens: int) -> int:
        """Multiply-accumulates of one layer for one sample of ``tokens`` tokens."""
        return transformer_layer_macs(self.model.config, tokens, inner=int(self.model.config.hidden_dim))

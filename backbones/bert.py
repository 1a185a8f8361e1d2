"""BERT, and the models that have its layers: RoBERTa, ELECTRA and DistilBERT."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from transformers import BertModel, DistilBertModel, ElectraModel, PreTrainedModel, RobertaModel

from backbones.base import Batch, LayeredEncoder, count_layer_macs


class BertEncoder(LayeredEncoder):
    """BERT, stepped: learned absolute positions, segments, post-layer-norm layers (Devlin et al., 2019)."""

    model_type = "bert"
    model_class: ClassVar[type[PreTrainedModel]] = BertModel

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__(model)
        self._layers = tuple(self.model.encoder.layer)

    def embed(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Return word, position and segment embeddings [B, T, H] and the mask that the layers take."""
        embedded = self.model.embeddings(batch.input_ids, batch.token_type_ids)
        return embedded, self.padding_mask(embedded, batch)


class RobertaEncoder(BertEncoder):
    """RoBERTa, stepped as BERT is: positions skip padding, within the stock embeddings (Liu et al., 2019).

    They are counted there from the ids that are not padding, so they need no argument and do not depend on how far a
    batch is padded.
    """

    model_type = "roberta"
    model_class = RobertaModel


class ElectraEncoder(BertEncoder):
    """ELECTRA's discriminator, stepped as BERT is; narrower embeddings are projected to H (Clark et al., 2020)."""

    model_type = "electra"
    model_class = ElectraModel

    def embed(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Return embeddings [B, T, E], projected to [B, T, H] where E is not H; and the mask that the layers take."""
        embedded, mask = super().embed(batch)
        return self.model.embeddings_project(embedded) if self._projects else embedded, mask

    @property
    def _projects(self) -> bool:
        return bool(self.model.config.embedding_size != self.model.config.hidden_size)

    def embed_macs(self, tokens: int) -> int:
        """Return T·E·H for the projection, where there is one."""
        config = self.model.config
        return tokens * int(config.embedding_size * config.hidden_size) if self._projects else 0


class DistilBertEncoder(LayeredEncoder):
    """DistilBERT, stepped: half of BERT's layers, without segments and pooler (Sanh et al., 2019).

    The two texts of a pair are told apart by [SEP] alone.
    """

    model_type = "distilbert"
    model_class = DistilBertModel

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__(model)
        self._layers = tuple(self.model.transformer.layer)

    @property
    def head_dropout(self) -> float:
        """Dropout of the stock classifier."""
        return float(self.model.config.seq_classif_dropout)

    def embed(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Return word and position embeddings [B, T, H] and the mask that the layers take."""
        embedded = self.model.embeddings(batch.input_ids)
        return embedded, self.padding_mask(embedded, batch)

    def layer_macs(self, tokens: int) -> int:
        """Return the usual layer's costs, by DistilBERT's own name for the width of its feed-forward."""
        return count_layer_macs(self.model.config, tokens, inner=int(self.model.config.hidden_dim))

"""ALBERT: one layer's weights applied L times (Lan et al., 2020)."""

from __future__ import annotations

from torch import Tensor
from transformers import AlbertModel

from backbones.base import Batch, LayeredEncoder, count_layer_macs


class AlbertEncoder(LayeredEncoder):
    """ALBERT, stepped: factorised embeddings projected to H, then the shared layer group, L times."""

    model_type = "albert"
    model_class = AlbertModel

    def __init__(self, model: AlbertModel) -> None:
        super().__init__(model)
        config, groups = model.config, model.encoder.albert_layer_groups
        # which group serves layer i is the stock model's own arithmetic, done once here
        layers_per_group = config.num_hidden_layers / config.num_hidden_groups
        self._layers = tuple(groups[int(i / layers_per_group)] for i in range(config.num_hidden_layers))

    def embed(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Return word, position and segment embeddings [B, T, E], projected to [B, T, H]; and the layers' mask."""
        model = self.model
        embedded = model.embeddings(batch.input_ids, batch.token_type_ids)
        return model.encoder.embedding_hidden_mapping_in(embedded), self.padding_mask(embedded, batch)

    def embed_macs(self, tokens: int) -> int:
        """Return T·E·H: the projection of the factorised embeddings; the look-ups multiply nothing."""
        config = self.model.config
        return int(tokens * config.embedding_size * config.hidden_size)

    def layer_macs(self, tokens: int) -> int:
        """Return the multiply-accumulates of one layer with its inner layers, for one sample of ``tokens`` tokens."""
        config = self.model.config
        return int(config.inner_group_num) * count_layer_macs(config, tokens)

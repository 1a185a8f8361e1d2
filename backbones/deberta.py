"""DeBERTa-v2 and v3: content and relative positions attend to each other separately (He et al., 2021; 2023)."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import DebertaV2Model, PreTrainedModel

from backbones.base import Batch, ByLength, LayeredEncoder, count_layer_macs


class DebertaEncoder(LayeredEncoder):
    """DeBERTa-v2, stepped; v3 is the same model with other weights.

    Every layer projects the table of relative positions and scores content against it, c2p and p2c (DeBERTa, eq. 4).
    The larger v2 models add a convolution over the embeddings to layer 1. The stock model has one attention, eager.
    """

    model_type = "deberta-v2"
    model_class = DebertaV2Model

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__(model)
        self._layers = tuple(self.model.encoder.layer)
        self._tables = ByLength()

    @property
    def head_dropout(self) -> float:
        """Dropout of the stock classifier: cls_dropout, by default the hidden layers'."""
        value = getattr(self.model.config, "cls_dropout", None)
        return float(self.model.config.hidden_dropout_prob if value is None else value)

    def embed(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Return embeddings [B, T, H], zero at padding, and the mask [B, 1, T, T]: real tokens on real tokens."""
        attention = batch.attention_mask
        embedded = self.model.embeddings(batch.input_ids, batch.token_type_ids, mask=attention)
        return embedded, None if attention is None else self.layer_mask(attention, embedded.dtype)

    def layer_mask(self, attention: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the mask that the layers take, bool [B, 1, T, T], from an attention mask [B, T]."""
        mask: Tensor = self.model.encoder.get_attention_mask(attention)
        return mask.bool()

    def layer(self, index: int, hidden: Tensor, mask: Tensor | None) -> Tensor:
        """Apply layer ``index`` (1-based), the first with its convolution: [B, T, H] -> [B, T, H]."""
        encoder = self.model.encoder
        state, _ = self._layers[index - 1](
            hidden,
            torch.ones(1, 1, 1, 1, dtype=torch.bool, device=hidden.device) if mask is None else mask,
            relative_pos=self._relative_positions(hidden),
            rel_embeddings=encoder.get_rel_embedding(),
            output_attentions=self.model.config.output_attentions,
        )
        if index == 1 and encoder.conv is not None:
            real = torch.ones_like(hidden[:, :, 0]) if mask is None else mask[:, 0].diagonal(dim1=-2, dim2=-1)
            state = encoder.conv(hidden, state, real.long())
        return state

    def _relative_positions(self, hidden: Tensor) -> Tensor | None:
        """Return buckets of the tokens' distances, int64 [1, T, T]; None where a model knows no distances."""
        encoder, tokens = self.model.encoder, hidden.shape[1]
        if not encoder.relative_attention:
            return None
        table: Tensor = self._tables.get("distance", hidden, lambda n, like: encoder.get_rel_pos(like.new_empty(n, 1)))
        return table[:, :tokens, :tokens]

    def embed_macs(self, tokens: int) -> int:
        """Return T·E·H where embeddings are projected, and T·k·H²/groups for layer 1's convolution."""
        config, macs = self.model.config, 0
        if self.model.embeddings.embed_proj is not None:
            macs += tokens * int(config.embedding_size * config.hidden_size)
        if self.model.encoder.conv is not None:
            macs += tokens * int(self.model.encoder.conv.conv.weight.numel())
        return macs

    def layer_macs(self, tokens: int) -> int:
        """Return the multiply-accumulates of one layer for one sample of ``tokens`` tokens, run alone.

        On top of the usual layer, with R rows in the table of positions: R·H² for each projection of the table, and
        T·R·H for each of c2p and p2c. The projections cost the same for any T and any batch; here the one sample
        pays for them.
        """
        config, attention = self.model.config, self.model.encoder.layer[0].attention.self
        macs = count_layer_macs(config, tokens)
        if not attention.relative_attention:
            return macs
        hidden, rows = int(config.hidden_size), 2 * int(attention.pos_ebd_size)
        terms = sum(term in attention.pos_att_type for term in ("c2p", "p2c"))
        projections = 2 if attention.share_att_key else terms
        return macs + projections * rows * hidden * hidden + terms * tokens * rows * hidden

"""ModernBERT: rotary positions, gated feed-forwards, and local attention in most layers (Warner et al., 2024)."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import ModernBertModel, PreTrainedModel

from backbones.base import Batch, ByLength, LayeredEncoder, count_layer_macs


def _lowest(dtype: torch.dtype) -> float:
    """Return what hides a score from eager attention, whose soft-max is in float32 whatever the model is in.

    The stock model takes float64's lowest, which is -inf there: padding with nothing real in its window gets NaN.
    """
    return max(torch.finfo(dtype).min, torch.finfo(torch.float32).min)


class ModernBertEncoder(LayeredEncoder):
    """ModernBERT, stepped on padded batches; it has no segments.

    Layers are pre-norm. As the stock model reports them, the states of all layers but the last are the residual
    stream, and the last has passed the final norm.

    The layers' mask is [B, 2, T, T]: what layers of global attention take, then what those of local attention take.
    """

    model_type = "modernbert"
    model_class = ModernBertModel

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__(model)
        self._layers = tuple(self.model.layers)
        self._kinds: tuple[str, ...] = tuple(layer.attention_type for layer in self._layers)
        self._tables = ByLength()

    def embed(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Return word embeddings [B, T, H], normed, and the mask [B, 2, T, T] that the layers take."""
        embedded = self.model.embeddings(batch.input_ids)
        mask = self.padding_mask(embedded, batch)
        return embedded, None if mask is None else self._both(mask, embedded)

    def layer_mask(self, attention: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the mask that the layers take, [B, 2, T, T], from an attention mask [B, T]."""
        like = torch.empty(*attention.shape, 0, device=attention.device, dtype=dtype)
        return self._both(super().layer_mask(attention, dtype), like)

    def _both(self, mask: Tensor, hidden: Tensor) -> Tensor:
        if mask.dtype != torch.bool:
            mask = mask.clamp(min=_lowest(mask.dtype))
        # the lower of two additive masks as of two Boolean ones: hidden if either hides
        local = torch.minimum(mask, self._window(hidden))
        return torch.cat([mask.expand_as(local), local], dim=1)

    def _window(self, hidden: Tensor) -> Tensor:
        """Return the mask [1, 1, T, T] of local attention where nothing is padded, for hidden states [B, T, H]."""
        tokens = hidden.shape[1]
        return self._tables.get("window", hidden, self._make_window)[..., :tokens, :tokens]

    def _make_window(self, tokens: int, like: Tensor) -> Tensor:
        at = torch.arange(tokens, device=like.device)
        near = (at[:, None] - at).abs() <= self.model.config.sliding_window
        if self.model.config._attn_implementation == "sdpa":
            return near[None, None]
        return like.new_zeros(1, 1, tokens, tokens).masked_fill(~near, _lowest(like.dtype))

    def layer(self, index: int, hidden: Tensor, mask: Tensor | None) -> Tensor:
        """Apply layer ``index`` (1-based), the last with the final norm: [B, T, H] -> [B, T, H]."""
        kind = self._kinds[index - 1]
        state: Tensor = self._layers[index - 1](
            hidden, attention_mask=self._mask_of(kind, hidden, mask), position_embeddings=self._rotations(kind, hidden)
        )
        return self.model.final_norm(state) if index == self.num_layers else state

    def _mask_of(self, kind: str, hidden: Tensor, mask: Tensor | None) -> Tensor | None:
        local = kind == "sliding_attention"
        if mask is not None:
            return mask[:, 1:] if local else mask[:, :1]
        # the stock model takes the fastest kernel where the window spans the text
        return self._window(hidden) if local and hidden.shape[1] >= self.model.config.sliding_window else None

    def _rotations(self, kind: str, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return cosines and sines [1, T, H / heads] of the positions' angles, which differ between kinds of layer."""

        def make(tokens: int, like: Tensor) -> tuple[Tensor, Tensor]:
            positions = torch.arange(tokens, device=like.device)[None]
            made: tuple[Tensor, Tensor] = self.model.rotary_emb(like, positions, kind)
            return made

        cos, sin = self._tables.get(kind, hidden, make)
        return cos[:, : hidden.shape[1]], sin[:, : hidden.shape[1]]

    def layer_macs(self, tokens: int) -> int:
        """Return the multiply-accumulates of one layer for one sample: T·(4H² + 3HF) + 2T²H, the third HF for the gate.

        The same for local attention, which computes all scores and masks the distant ones.
        """
        config = self.model.config
        return count_layer_macs(config, tokens) + tokens * int(config.hidden_size * config.intermediate_size)

"""The encoder protocol: embed once, then one layer at a time.

A backbone wraps a stock transformers encoder and calls that model's own sub-modules in that
model's own order, so stepping through it gives the stock hidden states bit for bit. Nothing here
knows about exits.
"""

from __future__ import annotations

import copy
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

if TYPE_CHECKING:  # criteria are replayed over recorded logits without transformers, which takes seconds to import
    from transformers import PreTrainedConfig, PreTrainedModel

Made = TypeVar("Made")


@dataclass(frozen=True)
class Batch:
    """Token ids of B samples padded to T tokens.

    ``input_ids`` int64 [B, T]; ``token_type_ids`` int64 [B, T] or None for models that have none;
    ``attention_mask`` int64 [B, T] with 1 for real tokens, or None when nothing is padded (a None
    mask lets attention take its fastest kernel).
    """

    input_ids: Tensor
    attention_mask: Tensor | None = None
    token_type_ids: Tensor | None = None

    def __len__(self) -> int:
        return int(self.input_ids.shape[0])

    def to(self, device: torch.device | str) -> Batch:
        """Return the same batch on ``device``."""
        move = [None if t is None else t.to(device) for t in (self.attention_mask, self.token_type_ids)]
        return Batch(self.input_ids.to(device), move[0], move[1])


def count_layer_macs(config: PreTrainedConfig, tokens: int, inner: int | None = None) -> int:
    """Return the multiply-accumulates of one transformer layer for one sample of T tokens.

    T·(4H² + 2HF) for the projections and the feed-forward, 2T²H for queries on keys and weights on
    values. Matmuls only: biases, soft-max, layer norms and activations are left out. ``inner`` is F where the
    configuration does not call it intermediate_size.
    """
    hidden, inner = int(config.hidden_size), int(config.intermediate_size) if inner is None else inner
    return tokens * (4 * hidden * hidden + 2 * hidden * inner) + 2 * tokens * tokens * hidden


class LayeredEncoder(nn.Module, ABC):
    """A transformer encoder taken apart: :meth:`embed`, then :meth:`layer` for 1..``num_layers``.

    ``model`` is the stock transformers encoder (no task head). Sub-classes say how to embed and, in ``_layers``, which
    modules the layers are; and where they are not like BERT, how one is applied and what these cost. They own no
    weights of their own.
    """

    model_type: ClassVar[str]
    model_class: ClassVar[type[PreTrainedModel]]
    # a PreTrainedModel; Any, because torch types every sub-module of one as Tensor | Module
    model: Any
    _layers: tuple[Any, ...]
    """The stock module that serves each layer; called as ``module(hidden, mask)``."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    @classmethod
    def stock(cls, config: PreTrainedConfig, pooler: bool = False) -> PreTrainedModel:
        """Return a stock model with random weights; with its pooler only where asked and where the type has one."""
        knows = "add_pooling_layer" in inspect.signature(cls.model_class).parameters
        return cls.model_class(config, **({"add_pooling_layer": pooler} if knows else {}))

    @property
    def num_layers(self) -> int:
        """Number of encoder layers L, hence of exits."""
        return int(self.model.config.num_hidden_layers)

    @property
    def hidden_size(self) -> int:
        """Width H of the hidden states."""
        return int(self.model.config.hidden_size)

    @property
    def initializer_range(self) -> float:
        """Standard deviation of the weights that transformers gives a linear layer of this model to begin with."""
        return float(getattr(self.model.config, "initializer_range", 0.02))

    @property
    def head_dropout(self) -> float:
        """Dropout that the stock classifier of this model type applies before its last linear layer."""
        config = self.model.config
        value = getattr(config, "classifier_dropout_prob", None)
        if value is None:
            value = getattr(config, "classifier_dropout", None)
        return float(config.hidden_dropout_prob if value is None else value)

    @abstractmethod
    def embed(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Embed tokens: return the hidden states [B, T, H] before layer 1 and the mask that the layers take."""

    def padding_mask(self, embedded: Tensor, batch: Batch) -> Tensor | None:
        """Return the stock model's mask over real tokens for states ``embedded`` [B, T, H]; None if all are real."""
        mask: Any = batch.attention_mask
        if mask is not None:
            from transformers.masking_utils import create_bidirectional_mask

            mask = create_bidirectional_mask(self.model.config, embedded, mask)
        return mask

    def layer(self, index: int, hidden: Tensor, mask: Tensor | None) -> Tensor:
        """Apply encoder layer ``index`` (1-based): [B, T, H] -> [B, T, H]. ``mask`` is what embed gave."""
        return self._layers[index - 1](hidden, mask)

    def shrink(self, mask: Tensor | None, rows: Tensor, tokens: int) -> Tensor | None:
        """Cut the mask that :meth:`embed` gave, [B, any, T or 1, T], to some samples and the first ``tokens`` tokens.

        ``rows`` is int64 [n] on the mask's device.
        """
        return None if mask is None else mask[rows][..., :tokens, :tokens]

    def layer_mask(self, attention: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the layers' mask, [B, 1, 1, T], from an attention mask [B, T], always and without waiting.

        :meth:`embed` looks at the mask's values, for which the host must wait for the device; this does not, so
        that it can be recorded in a CUDA graph. ``dtype`` is the hidden states'.
        """
        keep = attention[:, None, None, :] != 0
        if self.model.config._attn_implementation == "sdpa":
            return keep
        return torch.zeros_like(keep, dtype=dtype).masked_fill(~keep, torch.finfo(dtype).min)

    def with_layers(self, change: Callable[[nn.Module], Any]) -> LayeredEncoder:
        """Return the encoder, weights shared, with ``change(module)`` for every layer's module: to compile them.

        A module that serves several layers is changed once.
        """
        changed = {id(layer): change(layer) for layer in dict.fromkeys(self._layers)}
        other = copy.copy(self)
        other._layers = tuple(changed[id(layer)] for layer in self._layers)
        return other

    def pretrained_pooler(self) -> nn.Linear | None:
        """Return the stock pooler's Linear(H, H), or None where the model type or checkpoint has none.

        Heads copy its weights; the backbone itself never applies it.
        """
        pooler = getattr(self.model, "pooler", None)
        return getattr(pooler, "dense", pooler)  # ALBERT's is the Linear itself

    def embed_macs(self, tokens: int) -> int:
        """Return the multiply-accumulates of :meth:`embed` for one sample: matmuls only, none in look-ups."""
        return 0

    def layer_macs(self, tokens: int) -> int:
        """Return the multiply-accumulates of one layer for one sample of ``tokens`` tokens (matmuls only)."""
        return count_layer_macs(self.model.config, tokens)

    def forward(self, batch: Batch) -> list[Tensor]:
        """Return hidden states after every layer, [B, T, H] each, in order of layers 1..L."""
        hidden, mask = self.embed(batch)
        states = []
        for index in range(1, self.num_layers + 1):
            hidden = self.layer(index, hidden, mask)
            states.append(hidden)
        return states


class ByLength:
    """Tensors that depend on the number of tokens alone, made for the next power of two, which callers cut to theirs.

    A stock model makes such tables once a pass, and layers that are stepped would each make theirs again. None is ever
    dropped: recorded CUDA graphs go on reading from the same memory. Powers of two keep all of them together below
    twice the largest.
    """

    def __init__(self) -> None:
        self._made: dict[tuple[str, int, torch.device, torch.dtype], object] = {}

    def get(self, name: str, hidden: Tensor, make: Callable[[int, Tensor], Made]) -> Made:
        """Return the table ``name`` for hidden states [B, T, H] of this device and floating-point format.

        Where there is none, ``make(n, like)`` makes it for n >= T tokens; ``like`` is an empty tensor of the device
        and format.
        """
        if torch.compiler.is_exporting():  # the length is a symbol: the table becomes a part of the graph
            return make(hidden.shape[1], hidden.new_empty(0))
        size = 1 << (hidden.shape[1] - 1).bit_length()
        key = (name, size, hidden.device, hidden.dtype)
        if key not in self._made:
            # ordinary tensors even where the first pass is inference: a later one may be training
            with torch.inference_mode(False), torch.no_grad():
                self._made[key] = make(size, torch.empty(0, device=hidden.device, dtype=hidden.dtype))
        return self._made[key]  # type: ignore[return-value]

"""Attention rollout: how much of each token's input reaches another token through several layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


def roll_out_attention(attentions: Sequence[Tensor]) -> Tensor:
    """Return cumulative attention after each layer: [L, T, T] from L attention maps [heads, T, T]; rows sum to 1.

    Abnar & Zuidema (ACL 2020, "Quantifying Attention Flow in Transformers", sec. 3): heads averaged, the residual
    connection as half the identity, A_l = 0.5 W_l + 0.5 I with rows normalised, and R_l = A_l R_{l-1}, R_0 = I. Row i
    is what token i's state after layer l is made of. Computed in float64. Raises ValueError for no maps.
    """
    if not attentions:
        raise ValueError("Rollout needs the attention of at least one layer.")
    tokens = attentions[0].shape[-1]
    identity = torch.eye(tokens, dtype=torch.float64)
    reached, found = identity, []
    for attention in attentions:
        mixed = 0.5 * attention.detach().cpu().double().mean(dim=0) + 0.5 * identity
        reached = mixed / mixed.sum(dim=-1, keepdim=True) @ reached
        found.append(reached)
    return torch.stack(found)


@contextmanager
def record_attention(model: PreTrainedModel) -> Iterator[list[Tensor]]:
    """Yield a list that fills with the attention maps [B, heads, T, T] of every layer that runs inside the block.

    Works for any model whose modules return ``(output, weights)``, as transformers' do with eager attention (DeBERTa's
    only where its configuration asks for them). Modules that hand the same tensor on are counted once; a module that
    serves several layers is counted at each call.
    """
    found: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, tuple) and len(output) > 1 and isinstance(output[1], Tensor):
            weights = output[1]
            square = weights.ndim == 4 and weights.shape[-1] == weights.shape[-2]
            if square and not (found and found[-1] is weights):
                found.append(weights)

    handles = [module.register_forward_hook(keep) for module in model.modules()]
    asked = model.config.output_attentions
    model.config.output_attentions = True
    try:
        yield found
    finally:
        model.config.output_attentions = asked
        for handle in handles:
            handle.remove()

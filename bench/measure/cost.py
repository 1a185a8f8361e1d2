"""What a decision costs in FLOPs, analytically, at every exit and for every sequence length.

Convention: FLOPs = 2 × MACs, matrix multiplications only. Embedding look-ups, biases, layer norms,
soft-max and activations are not counted; they are the same O(T·H) in every method and below 1 % of a
layer. Counted are the projection of factorised embeddings, the layers, the head at *every* exit
that the sample visits (not only the one it leaves by), and the criterion's own head and probe where it has them.
The numbers equal what torch's FlopCounterMode counts with eager attention.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from backbones.base import LayeredEncoder
from bench.measure.curve import Int
from strategies.base import Criterion, Head


@dataclass(frozen=True, eq=False)
class CostModel:
    """FLOPs of one encoder with exit heads and a criterion; the criterion may be None where heads alone decide.

    A criterion with ``uses_early_exits`` False runs no early head at all, so it costs what the plain
    model does. The last exit always answers and is asked by no criterion.
    """

    encoder: LayeredEncoder
    head: Head
    criterion: Criterion | None = None

    def flops_table(self, lengths: Int) -> Int:
        """Return the FLOPs of sample i of ``lengths[i]`` tokens when it leaves at exit l: int64 [N] -> int64 [N, L].

        Raises ValueError for lengths below 1.
        """
        return _by_length(lengths, self._to_each_exit)

    def plain(self, lengths: Int) -> Int:
        """Return the FLOPs of the model without early exits, all layers and the last head: int64 [N] -> int64 [N]."""
        encoder, last = self.encoder, self.encoder.num_layers

        def count(tokens: int) -> Int:
            passed = sum(self.head.skip_macs(tokens, layer) for layer in range(1, last))
            macs = encoder.embed_macs(tokens) + last * encoder.layer_macs(tokens) + passed
            macs += self.head.macs(tokens, last)
            return np.array(2 * macs, dtype=np.int64)

        return _by_length(lengths, count)

    def _to_each_exit(self, tokens: int) -> Int:
        """FLOPs up to and with exit l, int64 [L]."""
        last = self.encoder.num_layers
        early = self.criterion is None or self.criterion.uses_early_exits
        visited, flops = 0, []
        for layer in range(1, last + 1):
            visited += self.encoder.layer_macs(tokens)
            answer = self.head.macs(tokens, layer)
            if early and layer < last and self.criterion is not None:
                outputs, probe = self.head.num_outputs, self.criterion.probe
                answer += self.criterion.macs(outputs, layer)
                answer += 0 if probe is None else probe.macs(self.encoder.hidden_size, outputs, layer)
            flops.append(2 * (self.encoder.embed_macs(tokens) + visited + answer))
            visited += answer if early else self.head.skip_macs(tokens, layer)
        return np.array(flops, dtype=np.int64)


def _by_length(lengths: Int, cost: Callable[[int], Int]) -> Int:
    """``cost`` of each sample's length, worked out once per distinct length: int64 [N, ...]."""
    distinct, which = np.unique(np.asarray(lengths, dtype=np.int64), return_inverse=True)
    if not len(distinct) or distinct[0] < 1:
        raise ValueError("FLOPs need at least one sample, and every sample at least one token.")
    return np.stack([cost(int(tokens)) for tokens in distinct])[which]

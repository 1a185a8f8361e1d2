"""GPFEE: a global past-future early exit method (Liao et al., NAACL 2021).

An exit that is asked early has not seen the layers behind it, but has learned to imitate what they would say; and it
remembers all that was said before. Its answer is the sum of both, weighed by a gate.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backbones.base import LayeredEncoder
from strategies.base import (
    Head,
    MemoryHead,
    Pooling,
    Recipe,
    Stage,
    State,
    Strategy,
    apply_linear,
    compute_task_loss,
    make_linear,
    pool,
)
from strategies.deebert import SCRIPTS, NatsEntropy
from strategies.pooler import make_pooler


class PastFutureHead(MemoryHead):
    """Exits that add up what was said so far and imitations of what will be, weighed by a gate.

    z_i = 2 g past_i + 2 (1 - g) future_i. Every layer j has a pooler, a projection V_j to C logits and C gates, and,
    but for the first, an imitator of its pooled state from an earlier one's; one gate serves all exits. A projection
    of the past stays what it was, so that the memory is its sum, [B, 2C]. While training it holds the states besides.

    All of it starts from N(0, the backbone's initializer_range), as transformers starts a model's own layers: from
    N(0, 0.02) a narrow model from scratch, whose own is larger, does not learn the demo task beside the imitations.
    """

    version = 2  # 1: from N(0, 0.02) on every backbone
    shares_parameters = True  # the gate, and the projections behind an exit
    last_remembers = True

    def __init__(self, encoder: LayeredEncoder, num_outputs: int, *, pooling: Pooling = "cls") -> None:
        super().__init__(encoder, num_outputs, pooling=pooling)
        layers, width = self.num_layers, self.hidden_size
        std = encoder.initializer_range
        self._poolers = tuple(make_pooler(encoder, std) for _ in range(layers))
        self._imitators = tuple(make_linear(width, width, std) for _ in range(layers - 1))  # of layers 2, 3, ...
        self._projections = tuple(make_linear(width, 2 * num_outputs, std) for _ in range(layers))
        self.poolers, self.imitators = nn.ModuleList(self._poolers), nn.ModuleList(self._imitators)  # slow to index
        self.projections = nn.ModuleList(self._projections)
        self.gate = make_linear(num_outputs, num_outputs, std)

    def start(self, samples: int, dtype: torch.dtype, device: torch.device | str) -> State:
        memory = {"past": torch.zeros(samples, 2 * self.num_outputs, dtype=dtype, device=device)}
        if self.training:
            memory["states"] = torch.zeros(samples, 0, self.hidden_size, dtype=dtype, device=device)
        return memory

    def step(self, memory: State, hidden: Tensor, mask: Tensor | None, layer: int) -> tuple[State, Tensor]:
        return self.step_from(memory, self.read_state(hidden, mask, layer), layer)

    def step_from(self, memory: State, state: Tensor, layer: int) -> tuple[State, Tensor]:
        """Return the memory after exit ``layer`` and its logits from the pooled state there, [B, H].

        Exits behind it send no gradient into the state.
        """
        own = self.project(state, layer)
        after = {"past": memory["past"] + (self.project(state.detach(), layer) if self.training else own)}
        if self.training:
            after["states"] = torch.cat([memory["states"], state.unsqueeze(1)], dim=1)
        return after, self.merge(memory["past"] + own, state, layer)

    def skip(self, memory: State, hidden: Tensor, mask: Tensor | None, layer: int) -> State:
        return {**memory, "past": memory["past"] + self.project(self.read_state(hidden, mask, layer).detach(), layer)}

    def read_state(self, hidden: Tensor, mask: Tensor | None, layer: int) -> Tensor:
        """Return the pooled state s_i [B, H] of exit ``layer``."""
        return torch.tanh(apply_linear(self._poolers[layer - 1], pool(hidden, mask, self.pooling)))

    def imitate(self, state: Tensor, layer: int) -> list[Tensor]:
        """Return what ``state`` s_i [B, H] of exit ``layer`` makes of those behind it, one for each of them."""
        return [torch.tanh(apply_linear(linear, state)) for linear in self._imitators[layer - 1 :]]

    def project(self, state: Tensor, layer: int) -> Tensor:
        """Return logits and gates [B, 2C] of layer ``layer`` from its pooled state or an imitation [B, H]."""
        return apply_linear(self._projections[layer - 1], self.dropped(state))

    def merge(self, past: Tensor, state: Tensor, layer: int) -> Tensor:
        """Return the logits of exit ``layer`` from the sum of projections [B, 2C] up to it, and its pooled state."""
        classes, ahead = self.num_outputs, self.imitate(state, layer)
        future = sum((self.project(s, j) for j, s in enumerate(ahead, start=layer + 1)), torch.zeros_like(past))
        gate = torch.sigmoid(apply_linear(self.gate, torch.tanh(past[:, classes:] / layer)))
        return 2 * gate * past[:, :classes] + 2 * (1 - gate) * future[:, :classes]

    def exit_parameters(self, layer: int) -> Iterable[nn.Parameter]:
        own = [self.poolers[layer - 1], *self.imitators[layer - 1 :], *self.projections[layer - 1 :], self.gate]
        return [parameter for linear in own for parameter in linear.parameters()]

    def macs(self, tokens: int, layer: int) -> int:
        width, classes, ahead = self.hidden_size, self.num_outputs, self.num_layers - layer
        return (1 + ahead) * width * (width + 2 * classes) + classes * classes

    def skip_macs(self, tokens: int, layer: int) -> int:
        return self.hidden_size * (self.hidden_size + 2 * self.num_outputs)


class PastFutureRecipe(Recipe):
    """All exits at once, exit i with weight i, and the imitations drawn to what they imitate; half of each.

    Imitations need a head that makes them; on others this is ``patience``'s loss, halved.
    """

    head: PastFutureHead | None = None

    def adapt_to(self, head: Head) -> None:
        early = getattr(head, "early", head)
        object.__setattr__(self, "head", early if isinstance(early, PastFutureHead) else None)  # no part of the recipe

    def losses(self, stage: Stage, logits: Sequence[Tensor], labels: Tensor, step: int) -> tuple[Tensor, ...]:
        total = len(logits) * (len(logits) + 1)
        return tuple(i / total * compute_task_loss(z, labels) for i, z in enumerate(logits, start=1))

    def memory_losses(self, stage: Stage, memory: State, labels: Tensor) -> tuple[Tensor, ...]:
        if self.head is None or memory["states"].shape[1] < 2:
            return ()
        return (measure_imitation(self.head, memory["states"].float()) / 2,)


def measure_imitation(head: PastFutureHead, states: Tensor) -> Tensor:
    """Return the mean over i < L of the mean over samples and j > i of 1 - cos(s_j, imitation of s_j from s_i).

    ``states`` [B, L, H] are the pooled ones; what is imitated gets no gradient.
    """
    wanted, losses = states.detach(), []
    for layer in range(1, states.shape[1]):
        ahead = torch.stack(head.imitate(states[:, layer - 1], layer)[: states.shape[1] - layer], dim=1)
        losses.append((1 - F.cosine_similarity(ahead, wanted[:, layer:], dim=-1)).mean())
    return torch.stack(losses).mean()


class GlobalPastFuture(Strategy):
    """GPFEE: exits that remember what was said and imagine what will be, left at a low entropy (Liao et al., 2021)."""

    name = "gpfee"
    head, recipe, criterion = PastFutureHead, PastFutureRecipe, NatsEntropy
    citation = (
        "Kaiyuan Liao, Yi Zhang, Xuancheng Ren, Qi Su, Xu Sun, Bin He: A Global Past-Future Early Exit Method for "
        "Accelerating Inference of Pre-trained Language Models. NAACL 2021."
    )
    equations = (
        "s_j = tanh(pooler_j(h_j)); imitation of s_j from s_i: tanh(A_j s_i + a_j), j > i",
        "[a_j; g_j] = V_j t_j + v_j, t_j = s_j for j <= i, its imitation behind",
        "gate = sigmoid(G tanh(mean_{j<=i} g_j)), z_i = 2 gate * sum_{j<=i} a_j + 2 (1 - gate) * sum_{j>i} a_j",
        "L = (sum_i i * CE(z_i, y) / sum_i i + mean_{i<L} mean_{j>i} (1 - cos(s_j, its imitation from s_i))) / 2",
        "leave at the first i with H(p_i) < threshold, H in nats (strict)",
    )
    sources = {
        "threshold": "0.1, our choice; the released argument is called patience, and every threshold is on the curve",
        "head": "the released BERT model; weights start as transformers starts the backbone's own, from N(0, 0.02) on "
        "the published ones and N(0, 0.05) on the demo ones",
        "train.lr": "2e-5, the released script for MRPC and RTE; 1e-5 for SST-2 and QNLI, 3e-5 MNLI, 5e-5 QQP",
        "train.batch_size": "16, the released scripts; 32 in 4 parts for MNLI and QQP",
        "train.epochs": "5, the released scripts for MRPC, RTE and MNLI; 3 for the others",
    }
    differences = (
        "A state of the past has one dropout mask; the released code draws another for every exit behind it.",
        "The released scripts cut the gradient to the first one to three layers at random early in training, by a "
        "counter that mixes up two kinds of steps; that is left out.",
        "The released ALBERT model shares one pooler; here every layer has its own on every backbone.",
        "The released code leaves with a whole batch only when all of it is below the threshold; here every sample for "
        "itself, which is the same for a batch of one.",
        "Projections of the past are summed up once; the released code makes all of them anew at each exit, and "
        "imitations of layers that have been passed.",
        "A model without early exits keeps the poolers and projections on its way, which its last exit reads.",
        "Written from the released code; the merging is said to differ from the paper's description.",
    )
    presets = {
        "*": {**SCRIPTS, "train.batch_size": 16, "train.epochs": 5},
        "sst2": {**SCRIPTS, "train.batch_size": 16, "train.lr": 1e-5},
        "qnli": {**SCRIPTS, "train.batch_size": 16, "train.lr": 1e-5},
        "mnli": {**SCRIPTS, "train.batch_size": 32, "train.accumulate": 4, "train.lr": 3e-5, "train.epochs": 5},
        "qqp": {**SCRIPTS, "train.batch_size": 32, "train.accumulate": 4, "train.lr": 5e-5},
    }

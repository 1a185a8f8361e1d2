"""Zero Time Waste: recycling predictions in early exit networks (Wołczyk et al., NeurIPS 2021, arXiv 2106.05409).

An exit that does not let a sample go has not worked for nothing: the next exit reads what it said, and the answer is an
ensemble of all that was said so far.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from backbones.base import LayeredEncoder
from strategies.base import (
    Head,
    MemoryHead,
    Pooling,
    Recipe,
    Stage,
    State,
    Strategy,
    StrategyError,
    apply_linear,
    compute_task_loss,
    make_linear,
    pool,
)
from strategies.confidence import MaxProbability
from strategies.pooler import make_pooler

LOG_FLOOR = 1e-40
"""Added to a probability before its logarithm, as released; a denormal number in float32."""


class Ensemble(nn.Module):
    """The answer of exit j from the logits z_1 .. z_j of all exits so far.

    ``geometric``: (1/j) sum_k exp(w_k) log softmax(z_k) + b. ``arithmetic``: the logarithm of
    sum_k exp(w_k) softmax(z_k) + exp(b), normalised.
    """

    def __init__(self, exits: int, num_outputs: int, kind: Literal["geometric", "arithmetic"]) -> None:
        super().__init__()
        self.log_weight = nn.Parameter(torch.randn(exits) * 0.01)
        self.bias = nn.Parameter(torch.zeros(num_outputs))
        self.kind = kind

    def forward(self, logits: Tensor) -> Tensor:
        """Return log-probabilities [B, C], not normalised where geometric, from logits [B, j, C]."""
        weights = self.log_weight.exp().unsqueeze(-1)
        if self.kind == "geometric":
            return (weights * torch.log_softmax(logits, dim=-1)).sum(dim=1) / logits.shape[1] + self.bias
        mixed = (weights * torch.softmax(logits, dim=-1)).sum(dim=1) + self.bias.exp()
        return (mixed / mixed.sum(dim=-1, keepdim=True) + LOG_FLOOR).log()


class CascadeHead(MemoryHead):
    """Linear exits, each of which reads the logits of the one before; ensembles of them answer.

    The last exit is the model's own pooler and classifier, and neither reads nor joins an ensemble. The memory holds
    the logits of all exits so far, which no gradient of the next exit enters.
    """

    def __init__(
        self,
        encoder: LayeredEncoder,
        num_outputs: int,
        *,
        pooling: Pooling = "cls",
        ensemble: Literal["geometric", "arithmetic"] = "geometric",
    ) -> None:
        super().__init__(encoder, num_outputs, pooling=pooling)
        if ensemble not in ("geometric", "arithmetic"):
            raise StrategyError(f"ensemble must be 'geometric' or 'arithmetic', not '{ensemble}'.")
        early, width = range(1, self.num_layers), self.hidden_size
        self.exits = nn.ModuleList(make_linear(width + num_outputs * (j > 1), num_outputs) for j in early)
        self.norms = nn.ModuleList(nn.LayerNorm(num_outputs) for _ in early[1:])
        self.ensembles = nn.ModuleList(Ensemble(j, num_outputs, ensemble) for j in early)
        self.pooler, self.classifier = make_pooler(encoder), make_linear(width, num_outputs)

    def start(self, samples: int, dtype: torch.dtype, device: torch.device | str) -> State:
        return {"said": torch.zeros(samples, self.num_layers - 1, self.num_outputs, dtype=dtype, device=device)}

    def step(self, memory: State, hidden: Tensor, mask: Tensor | None, layer: int) -> tuple[State, Tensor]:
        pooled, said = pool(hidden, mask, self.pooling), memory["said"]
        if layer == self.num_layers:
            return memory, apply_linear(self.classifier, self.dropped(torch.tanh(apply_linear(self.pooler, pooled))))
        if layer > 1:
            pooled = torch.cat([pooled, self.norms[layer - 2](said[:, layer - 2].detach())], dim=-1)
        logits = self.exits[layer - 1](pooled)
        said = torch.cat([said[:, : layer - 1], logits.unsqueeze(1).to(said.dtype), said[:, layer:]], dim=1)
        return {"said": said}, self.ask_ensemble(said, layer)

    def ask_ensemble(self, said: Tensor, layer: int) -> Tensor:
        """Return the answer [B, C] of exit ``layer`` from the logits [B, L - 1, C] of exits, the later unheard."""
        answer: Tensor = self.ensembles[layer - 1](said[:, :layer])
        return answer

    def exit_parameters(self, layer: int) -> Iterable[nn.Parameter]:
        if layer == self.num_layers:
            return [*self.pooler.parameters(), *self.classifier.parameters()]
        norm = self.norms[layer - 2 : layer - 1] if layer > 1 else nn.ModuleList()
        return [p for part in (self.exits[layer - 1], norm, self.ensembles[layer - 1]) for p in part.parameters()]

    def macs(self, tokens: int, layer: int) -> int:
        if layer == self.num_layers:
            return self.hidden_size * (self.hidden_size + self.num_outputs)
        return (self.hidden_size + self.num_outputs * (layer > 1)) * self.num_outputs


class ZeroTimeRecipe(Recipe):
    """Three stages: ordinary fine-tuning; the exits, on the frozen model; their ensembles, on the frozen exits.

    The losses are plain means. On a head without ensembles the second stage is ``deebert``'s, and the third goes on
    with it. Rates of the last two stages are ``exits_lr_scale`` and ``ensembles_lr_scale`` times the first's.
    """

    head: CascadeHead | None = None

    def __init__(
        self,
        num_layers: int,
        *,
        exits_lr_scale: float = 10.0,
        ensembles_lr_scale: float = 10.0,
        exits_epochs: int | None = 5,
    ) -> None:
        super().__init__(num_layers)
        self.stages = (
            Stage("fine-tune", exits="last"),
            Stage("exits", backbone=False, exits="early", lr_scale=exits_lr_scale, epochs=exits_epochs),
            Stage("ensembles", backbone=False, exits="early", lr_scale=ensembles_lr_scale, epochs=exits_epochs),
        )

    def adapt_to(self, head: Head) -> None:
        early = getattr(head, "early", head)
        object.__setattr__(self, "head", early if isinstance(early, CascadeHead) else None)  # no part of the recipe

    def losses(self, stage: Stage, logits: Sequence[Tensor], labels: Tensor, step: int) -> tuple[Tensor, ...]:
        if stage.exits == "last":
            return (compute_task_loss(logits[-1], labels),)
        return () if self.head is not None else average_losses(logits[:-1], labels)

    def memory_losses(self, stage: Stage, memory: State, labels: Tensor) -> tuple[Tensor, ...]:
        if self.head is None or stage.exits == "last":
            return ()
        said = memory["said"]
        if stage.name == "exits":
            return average_losses(said.unbind(dim=1), labels)
        heard, layers = said.detach(), range(1, self.num_layers)
        return average_losses([self.head.ask_ensemble(heard, layer) for layer in layers], labels)


def average_losses(logits: Sequence[Tensor], labels: Tensor) -> tuple[Tensor, ...]:
    """Return the terms of the mean task loss of several exits' logits [B, C]."""
    return tuple(compute_task_loss(z, labels) / len(logits) for z in logits)


SCRIPT: Mapping[str, object] = {"train.batch_size": 16, "train.weight_decay": 5e-4}
"""The settings of the released script's first stage, but for rate and epochs."""


def scale_rates(lr: float, epochs: int) -> dict[str, object]:
    """Return the settings of a first stage at ``lr``, whose exits learn at 0.01 and ensembles at 0.001, as released."""
    scales = {"recipe.exits_lr_scale": 0.01 / lr, "recipe.ensembles_lr_scale": 0.001 / lr}
    return {"train.lr": lr, "train.epochs": epochs, **scales}


class ZeroTimeWaste(Strategy):
    """Zero Time Waste: exits that read one another and answer together, left when sure (Wolczyk et al., 2021)."""

    name = "zero-time-waste"
    head, recipe, criterion = CascadeHead, ZeroTimeRecipe, MaxProbability
    citation = (
        "Maciej Wołczyk, Bartosz Wójcik, Klaudia Bałazy, Igor T. Podolak, Jacek Tabor, Marek Śmieja, Tomasz "
        "Trzciński: Zero Time Waste: Recycling Predictions in Early Exit Neural Networks. NeurIPS 2021, "
        "arXiv 2106.05409."
    )
    equations = (
        "z_1 = W_1 h_1 + c_1, z_j = W_j [h_j; LN(z_{j-1})] + c_j, no gradient into z_{j-1}",
        "answer_j = (1/j) sum_{k<=j} exp(w_{j,k}) log softmax(z_k) + b_j, the model's own classifier at exit L",
        "stage 1: CE of exit L; stage 2: mean_j CE(z_j, y), model frozen; stage 3: mean_j CE(answer_j, y), exits too",
        "leave at the first j < L with 1 - max softmax(answer_j) < threshold (strict)",
    )
    sources = {
        "threshold": "0.1, our choice; the released evaluation has max p > 0 .. 1, and every threshold is on the curve",
        "head": "the released port to language models; ensemble=geometric is the method, arithmetic its comparison",
        "recipe.exits_lr_scale": "10, our choice, as FastBERT's; the released script has 500 (0.01)",
        "recipe.ensembles_lr_scale": "10, our choice; the released script has 50 (0.001)",
        "recipe.exits_epochs": "5, the released script",
        "train.lr": "2e-5, the released script for RTE and MRPC; 1e-5 for SST-2 and QNLI, 5e-5 for QQP",
        "train.batch_size": "16, the released script's first stage; its others have 32",
        "train.epochs": "5, the released script for RTE and MRPC; 3 for the others",
    }
    differences = (
        "With other recipes exits and ensembles learn together from the ensembles' answers.",
        "The released schedules fall along a cosine, here along a line; the weight decay is one for all stages.",
        "The released mean has the frozen last exit's loss as one more term, which scales the gradient.",
        "The released live forward fails on its own assertion; its curves, and the vectors, come from stored outputs.",
        "With two classes the layer norm of two logits says no more than which is larger, as in the method.",
    )
    presets = {
        "*": {**SCRIPT, **scale_rates(2e-5, 5)},
        "sst2": {**SCRIPT, **scale_rates(1e-5, 3)},
        "qnli": {**SCRIPT, **scale_rates(1e-5, 3)},
        "qqp": {**SCRIPT, **scale_rates(5e-5, 3), "train.batch_size": 32},
    }

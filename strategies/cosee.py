"""COSEE: consistency-oriented signal-based early exiting (He et al., AAAI 2025, arXiv 2412.13236).

The criterion is a normalised energy of the logits. The recipe plays early exit while it trains: where a sample would
have left at a random threshold, the exits there learn it most, and the signal learns to tell easy from hard.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from strategies.base import Criterion, Recipe, Seen, Stage, State, Strategy, StrategyError
from strategies.deebert import SCRIPTS
from strategies.entropy import normalised_entropy
from strategies.patience import SharedPoolerHead

NOTHING_MET = (torch.inf, -torch.inf)
Signal = Literal["energy", "entropy", "labelscore"]


def measure_signal(logits: Tensor, signal: Signal, temperature: float = 1.0) -> Tensor:
    """Return the exiting signal of logits [..., C] -> [...], in [0, 1]; low is easy, but for the label score.

    The energy 1 / (1 + (sum_c exp(z_c / T))^T) is the second part of softmax(T ln sum_c exp(z_c / T), 0): no overflow,
    and row by row, so that a sample's does not depend on its batch, as torch's sigmoid does by a last bit.
    """
    scaled = logits / temperature
    if signal == "energy":
        free = temperature * torch.logsumexp(scaled, dim=-1)
        return torch.softmax(torch.stack([free, torch.zeros_like(free)], dim=-1), dim=-1)[..., 1]
    if signal == "entropy":
        return normalised_entropy(scaled)
    return torch.softmax(scaled, dim=-1).amax(dim=-1)


def check_signal(signal: str, temperature: float) -> None:
    """Raise StrategyError for a signal that does not exist or a temperature that is not positive."""
    if signal not in get_args(Signal):
        raise StrategyError(f"signal must be one of {', '.join(get_args(Signal))}, not '{signal}'.")
    if not temperature > 0:
        raise StrategyError(f"temperature must be positive, not {temperature}.")


class LowEnergy(Criterion):
    """S_i < threshold, S_i = 1 / (1 + (sum_c exp(z_i(c) / T))^T) in [0, 1]: 1 / (1 + C) where all logits are 0."""

    def __init__(self, *, temperature: float = 1.0) -> None:
        check_signal("energy", temperature)
        self.temperature = temperature

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        return state, measure_signal(seen.logits, "energy", self.temperature)


class CoseeRecipe(Recipe):
    """All exits at once, those near where a sample would leave most; the signal learns to tell easy from hard.

    ``samples`` thresholds are drawn for each batch between the least and the largest signal of the epoch before (0 and
    1 in the first). For each, w = softmax_i(-beta |i - exit of the sample|) weights the exits' cross-entropies; beta
    grows from 0 to ``beta`` over training. ``alpha`` times the mean hinge, over the early exits that are right on some
    samples of the batch and wrong on others, of the signal's mean on the former minus the latter plus ``margin``.
    """

    regression = False
    drawn: Tensor
    """Least and largest signal of the epoch before, between which thresholds are drawn."""
    met: Tensor
    """The same of this epoch so far."""
    epoch: Tensor

    def __init__(
        self,
        num_layers: int,
        *,
        alpha: float = 0.1,
        beta: float = 10.0,
        margin: float = 0.3,
        samples: int = 5,
        signal: Signal = "energy",
        temperature: float = 1.0,
    ) -> None:
        super().__init__(num_layers)
        check_signal(signal, temperature)
        if samples < 1 or not (alpha >= 0 and beta >= 0):
            raise StrategyError("samples must be at least 1, alpha and beta not negative.")
        self.alpha, self.beta, self.margin, self.samples = alpha, beta, margin, samples
        self.signal, self.temperature = signal, temperature
        self.sign = -1 if signal == "labelscore" else 1
        self.steps, self.per_epoch = 1, 1
        self.register_buffer("drawn", torch.tensor([0.0, 1.0]))
        self.register_buffer("met", torch.tensor(NOTHING_MET))
        self.register_buffer("epoch", torch.zeros((), dtype=torch.long))

    def take_schedule(self, stage: Stage, steps: int, per_epoch: int) -> None:
        self.steps, self.per_epoch = steps, per_epoch

    def losses(self, stage: Stage, logits: Sequence[Tensor], labels: Tensor, step: int) -> tuple[Tensor, ...]:
        z = torch.stack([exit_logits.float() for exit_logits in logits], dim=1)
        signals = self.measure(z[:, :-1])
        thresholds = self.draw_thresholds(signals.detach(), step)
        labelled = self.weigh_exits(z, signals.detach(), labels, thresholds, step)
        return labelled, self.alpha * self.separate_signals(z, signals, labels)

    def measure(self, logits: Tensor) -> Tensor:
        """Return the signal of logits [..., C] -> [...]."""
        return measure_signal(logits, self.signal, self.temperature)

    def draw_thresholds(self, signals: Tensor, step: int) -> Tensor:
        """Return the thresholds for a batch with ``signals`` [B, L - 1], float [samples]."""
        if step // self.per_epoch != int(self.epoch):
            self.epoch.fill_(step // self.per_epoch)
            self.drawn.copy_(self.met)
            self.met.copy_(torch.tensor(NOTHING_MET))
        if signals.numel():
            self.met.copy_(torch.stack([self.met[0].minimum(signals.amin()), self.met[1].maximum(signals.amax())]))
        low, high = self.drawn
        return low + (high - low) * torch.rand(self.samples).to(signals.device)

    def find_exits(self, signals: Tensor, threshold: Tensor) -> Tensor:
        """Return the exit, 1..L, at which samples with ``signals`` [B, L - 1] leave at ``threshold``, int64 [B]."""
        leaves = self.sign * signals < self.sign * threshold
        last = leaves.new_ones(len(leaves), 1)
        return torch.cat([leaves, last], dim=1).int().argmax(dim=1) + 1

    def weigh_exits(self, z: Tensor, signals: Tensor, labels: Tensor, thresholds: Tensor, step: int) -> Tensor:
        """Return the mean over ``thresholds`` of the exits' cross-entropies, weighted by how near the sample's exit is.

        ``z`` [B, L, C], ``signals`` [B, L - 1] without gradient.
        """
        exits = z.shape[1]
        each = F.cross_entropy(z.transpose(1, 2), labels[:, None].expand(-1, exits), reduction="none")
        layers, beta = torch.arange(1, exits + 1, device=z.device), self.beta * step / self.steps
        left = torch.stack([self.find_exits(signals, one) for one in thresholds])
        weights = torch.softmax(-beta * (layers - left[..., None]).abs().to(z.dtype), dim=-1)
        return (weights * each).sum(dim=-1).mean()

    def separate_signals(self, z: Tensor, signals: Tensor, labels: Tensor) -> Tensor:
        """Return the mean hinge between the signals of right and of wrong answers, over the exits that have both."""
        right = z[:, :-1].argmax(dim=-1) == labels[:, None]
        hinges = []
        for mine, good in zip(signals.unbind(dim=1), right.unbind(dim=1), strict=True):
            if bool(good.any()) and not bool(good.all()):
                gap = self.sign * (mine[good].mean() - mine[~good].mean()) + self.margin
                hinges.append(torch.maximum(gap, torch.zeros_like(gap)))
        return torch.stack(hinges).mean() if hinges else z.new_zeros(())


class Cosee(Strategy):
    """COSEE: leave at a low normalised energy; exits are trained where samples would leave (He et al., AAAI 2025)."""

    name = "cosee"
    head, recipe, criterion = SharedPoolerHead, CoseeRecipe, LowEnergy
    citation = (
        "Jianing He, Qi Zhang, Hongyun Zhang, Xuanjing Huang, Usman Naseem, Duoqian Miao: COSEE: Consistency-Oriented "
        "Signal-Based Early Exiting via Calibrated Sample Weighting Mechanism. AAAI 2025, arXiv 2412.13236."
    )
    equations = (
        "S_i = 1 / (1 + sum_c exp z_i(c))",
        "w_{n,i} = softmax_i(-beta_t |i - exit of n at tau|), beta_t = beta * t / T, tau drawn at random",
        "L_CE = mean over tau of mean_n sum_i w_{n,i} CE(z_{n,i}, y_n)",
        "L_OSC = mean_{i<L} max(0, mean S_i of right answers - mean S_i of wrong ones + margin)",
        "L = L_CE + alpha L_OSC",
        "leave at the first i < L with S_i < threshold (strict)",
    )
    sources = {
        "threshold": "0.1, the released scripts' grid is 0, 0.1 .. 1; the paper tunes it to about 2x",
        "temperature": "1, the released scripts",
        "recipe.alpha": "0.1, the released script; the paper searches 0.001 to 1",
        "recipe.beta": "10, the released script; the paper searches 0.05 to 10",
        "recipe.margin": "0.3, paper and released script",
        "recipe.samples": "5, paper and released script",
        "recipe.signal": "energy, the paper's; entropy and labelscore are its comparisons",
        "recipe.temperature": "1, the released scripts",
        "train.lr": "2e-5, the released script (SST-2, BERT-base)",
        "train.batch_size": "128, the released script: 64 on each of two GPUs",
        "train.epochs": "10, the released script",
    }
    differences = (
        "The energy is computed from the logarithm of the sum: the released form overflows for logits beyond 88, where "
        "its gradient is NaN.",
        "The released entropy is NaN where a probability underflows and then never leaves; `entropy` is 0 there.",
        "Exits that are right, or wrong, on the whole batch are left out of L_OSC's mean, as released; the paper "
        "divides by L - 1.",
        "With micro-batches thresholds are drawn, and right and wrong are told apart, in each of them.",
        "The released training keeps the checkpoint that is best on the development set; here the last is kept.",
        "The paper compares with two other signals: its entropy is `entropy`, its label score `max-probability`.",
        "The order of samples is that of the free energy (`energy`): on one checkpoint both have the same curve.",
    )
    presets = {"*": {**SCRIPTS, "train.batch_size": 128, "train.epochs": 10}}

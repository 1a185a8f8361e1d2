"""PALBERT: teaching ALBERT to ponder (Balagansky & Gavrilov, NeurIPS 2022, arXiv 2204.03276).

A small network says at every exit how likely it is to stop there. PonderNet draws at random; Q-exit leaves once the
probability of having stopped by now exceeds a quantile.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from strategies.base import Criterion, Seen, Start, State, Strategy, StrategyError
from strategies.elbert import SharedHead
from strategies.entropy import JointRecipe
from strategies.probe import Probe


def find_stop_probability(exit_logits: Tensor) -> Tensor:
    """Return lambda = sigmoid(e) of exit logits of any shape, as a softmax, whose last bit no batch changes."""
    return torch.softmax(torch.stack([exit_logits, torch.zeros_like(exit_logits)], dim=-1), dim=-1)[..., 0]


def measure_each_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the loss of every sample at every exit, [N, L, C] -> [N, L]: cross-entropy, squared error where C = 1."""
    exits = logits.shape[1]
    if logits.shape[-1] == 1:
        return (logits.squeeze(-1) - labels[:, None].to(logits.dtype)).square()
    return F.cross_entropy(logits.transpose(1, 2), labels[:, None].expand(-1, exits), reduction="none")


def measure_ponder_losses(
    exit_logits: Tensor, losses: Tensor, prior: float = 0.1, epsilon: float = 0.05
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the task loss, the regulariser KL(prior || p), and p [N, L], from exit logits and losses [N, L].

    p_i = lambda_i prod_{j<i} (1 - lambda_j), and a constant epsilon / L once a sample has stopped but for
    ``epsilon``; when all samples have, the task is not learned from further exits. The prior is geometric with
    probability ``prior``, the last exit taking what is left.
    """
    exits = exit_logits.shape[1]
    stop = find_stop_probability(exit_logits)
    left, stopped = torch.ones_like(stop[:, 0]), torch.zeros_like(stop[:, 0])
    rest = torch.full_like(left, epsilon / exits)
    parts, task = [], losses.new_zeros(())
    for i in range(exits):
        done = stopped > 1 - epsilon
        probability = stop[:, i] * left
        stopped, left = (stopped + probability).detach(), left * (1 - stop[:, i])
        parts.append(torch.where(done, rest, probability))
        if not bool(done.all()):
            task = task + (parts[-1] * losses[:, i]).mean()
    p = torch.stack(parts, dim=1)
    geometric = prior * (1 - prior) ** torch.arange(exits, device=p.device, dtype=p.dtype)
    geometric = torch.cat([geometric[:-1], 1 - geometric[:-1].sum(dim=0, keepdim=True)])
    divergence = (geometric * (geometric.log() - p.log())).sum(dim=1).mean()
    return task, divergence, p


class LambdaLayer(Probe):
    """e_i = MLP([h_i; h_{i-1}]), h_0 = 0, the same at every exit: ``depth`` layers, tanh between them.

    Fitted with the model frozen, by the paper's loss: what exits cost where they are taken, plus ``beta`` times the
    divergence from a geometric prior. Adam, in an order that depends on the number of samples alone.
    """

    LR, EPOCHS, BATCH = 1e-3, 5, 128

    def __init__(self, depth: int, beta: float) -> None:
        super().__init__()
        self.depth, self.beta = depth, beta
        self.settings = {"depth": depth, "beta": beta}

    def width(self, num_outputs: int) -> int:
        return 1

    def fit(self, features: Tensor, logits: Tensor, labels: Tensor) -> dict[str, list[float]]:
        generator = torch.Generator().manual_seed(0)
        wide = 2 * features.shape[-1]
        shapes = [(wide, wide)] * (self.depth - 1) + [(1, wide)]
        weights = [torch.randn(shape, generator=generator).div(wide**0.5).requires_grad_() for shape in shapes]
        biases = [torch.zeros(shape[0], requires_grad=True) for shape in shapes]
        before = torch.cat([torch.zeros_like(features[:, :1]), features[:, :-1]], dim=1)
        losses = measure_each_loss(logits, labels).float()
        optimizer, means = torch.optim.Adam([*weights, *biases], lr=self.LR), []
        for _ in range(self.EPOCHS):
            total = 0.0
            for rows in torch.randperm(len(features), generator=generator).split(self.BATCH):
                pairs = torch.cat([features[rows], before[rows]], dim=-1)
                task, divergence, _ = measure_ponder_losses(run_layers(pairs, weights, biases), losses[rows])
                loss = task + self.beta * divergence
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item() * len(rows) / len(features)
            means.append(total)
        for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            self.register_buffer(f"weight_{i}", weight.detach())
            self.register_buffer(f"bias_{i}", bias.detach())
        return {"loss": means}

    def start(self, samples: int, hidden_size: int, dtype: torch.dtype, device: torch.device | str) -> State:
        return {"previous": torch.zeros(samples, hidden_size, dtype=dtype, device=device)}

    def read(self, memory: State, features: Tensor, layer: int) -> tuple[State, Tensor]:
        buffers = dict(self.named_buffers())
        weights, biases = ([buffers[f"{name}_{i}"] for i in range(self.depth)] for name in ("weight", "bias"))
        pairs = torch.cat([features, memory["previous"]], dim=-1)
        return {"previous": features}, run_layers(pairs, weights, biases).unsqueeze(-1)

    def macs(self, hidden_size: int, num_outputs: int, layer: int) -> int:
        wide = 2 * hidden_size
        return (self.depth - 1) * wide * wide + wide


def run_layers(x: Tensor, weights: list[Tensor], biases: list[Tensor]) -> Tensor:
    """Return the one output [...] of linear layers with tanh between them, from [..., W]."""
    *hidden, last = zip(weights, biases, strict=True)
    for weight, bias in hidden:
        x = torch.tanh(F.linear(x, weight, bias))
    return F.linear(x, *last).squeeze(-1)


class QExit(Criterion):
    """F_i > threshold, F_i = 1 - prod_{j<=i} (1 - lambda_j): the probability of having stopped at exit i or before."""

    threshold_name = "q"
    default_threshold = 0.5
    regression = True
    loosest = 0.0

    def __init__(self, *, depth: int = 3, beta: float = 0.5) -> None:
        if depth < 1 or not beta >= 0:
            raise StrategyError("depth must be at least 1, and beta not negative.")
        self.probe = LambdaLayer(depth, beta)

    def cut(self, threshold: float) -> float:
        return -threshold

    def threshold(self, cut: float) -> float:
        return -cut

    def start(self, start: Start) -> State:
        ones = torch.ones(start.samples, dtype=torch.float64, device=start.device)
        return {"left": ones, "stopped": torch.zeros_like(ones)}

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        assert seen.observed is not None
        stop = find_stop_probability(seen.observed[:, 0]).double()
        stopped = state["stopped"] + stop * state["left"]
        return {"left": state["left"] * (1 - stop), "stopped": stopped}, -stopped.to(seen.logits.dtype)


class Palbert(Strategy):
    """PALBERT's Q-exit: leave when a learned process has probably stopped by now (Balagansky & Gavrilov, 2022)."""

    name = "palbert"
    head, recipe, criterion = SharedHead, JointRecipe, QExit
    family = "learned"
    citation = "Nikita Balagansky, Daniil Gavrilov: PALBERT: Teaching ALBERT to Ponder. NeurIPS 2022, arXiv 2204.03276."
    equations = (
        "lambda_i = sigmoid(MLP([h_i; h_{i-1}])), h_0 = 0",
        "p_i = lambda_i prod_{j<i} (1 - lambda_j), F_i = sum_{j<=i} p_j",
        "J = sum_i mean(p_i CE_i) + beta KL(g || p), g geometric with 0.1",
        "leave at the first i with F_i > q (strict)",
    )
    sources = {
        "q": "0.5, paper and released code",
        "depth": "3, the released default",
        "beta": "0.5, the README; the released default 0 switches the process off",
        "head": "one pooler and one classifier for all exits, as released",
        "train.lr": "1e-5, the released code",
        "train.batch_size": "32, the released code",
        "train.epochs": "25 at most, the released code, which stops earlier where nothing is gained",
    }
    differences = (
        "The paper trains model and process together; here the process is fitted afterwards, on the frozen model and "
        "at most 4,096 training samples, so that any checkpoint can be given one. The model learns by `joint`.",
        "The process reads the states that the head pools; the released one reads them after pooler and tanh.",
        "The regulariser is KL(prior || p), as released, with p replaced by epsilon / L once all but epsilon has "
        "stopped, epsilon 0.05.",
        "The released mixture of all exits' answers runs every layer and saves nothing; it is left out, as are the "
        "random exits of PonderNet.",
        "The released rule decides for a batch of one only; here every sample has its own process.",
    )
    presets = {
        "*": {
            "train.lr": 1e-5,
            "train.batch_size": 32,
            "train.epochs": 25,
            "train.warmup": 0.0,
            "train.weight_decay": 0.0,
        }
    }

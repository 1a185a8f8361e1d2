"""ConsistentEE: a consistent and hardness-guided early exiting method (Zeng et al., AAAI 2024, arXiv 2312.11882).

Other methods ask every exit to be right on every sample; here a sample needs to be right where it leaves. A policy at
each exit decides that, and learns from the loss there, and from how late it is for a sample so easy.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from strategies.base import Criterion, Seen, State, Strategy, StrategyError, predict
from strategies.palbert import find_stop_probability, measure_each_loss
from strategies.patience import PatienceRecipe, SharedPoolerHead
from strategies.probe import Probe

POLICY_WIDTH = 32


def find_memorised_layer(answers: Tensor, labels: Tensor) -> Tensor:
    """Return the first exit from which a sample's answers [N, L] are right to the last, 1..L, int64 [N]; L if none."""
    right_on = (answers == labels[:, None]).flip(1).int().cumprod(dim=1).sum(dim=1)
    return (answers.shape[1] - right_on + 1).clamp(max=answers.shape[1])


def measure_rewards(logits: Tensor, labels: Tensor, alpha: float) -> Tensor:
    """Return what leaving each sample at each exit is worth, [N, L, C] -> [N, L].

    R = -loss_i - ``alpha`` i (1 - m / L), m the memorised layer: late exits are worth less, the more so for samples
    that were learned by an early one. Values (C = 1) are all of the middling hardness m = L / 2.
    """
    exits = logits.shape[1]
    if logits.shape[-1] == 1:
        hardness = torch.full((len(logits),), 0.5, dtype=logits.dtype)
    else:
        hardness = find_memorised_layer(predict(logits), labels).to(logits.dtype) / exits
    late = torch.arange(1, exits + 1, dtype=logits.dtype)
    return -measure_each_loss(logits, labels) - alpha * late * (1 - hardness)[:, None]


def expect_rewards(policy_logits: Tensor, rewards: Tensor) -> Tensor:
    """Return the expected reward of each sample under policies that stop with probability pi_i, both [N, L] -> [N].

    Exit L takes what is left, whatever its policy says.
    """
    stop = find_stop_probability(policy_logits[:, :-1])
    left = torch.cat([torch.ones_like(stop[:, :1]), (1 - stop).cumprod(dim=1)], dim=1)
    taken = torch.cat([stop * left[:, :-1], left[:, -1:]], dim=1)
    return (taken * rewards).sum(dim=1)


class ExitPolicy(Probe):
    """o_i of pi_i = sigmoid(o_i), o_i = v.gelu(A_i h_i + a_i) + b_i, 32 wide, one at each exit.

    Fitted with the model frozen, by the gradient of the expected reward, which is worked out over all exits instead of
    drawn. All samples at once: 300 steps of Adam.
    """

    STEPS, LR = 300, 3e-3

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self.alpha = alpha
        self.settings = {"alpha": alpha}

    def width(self, num_outputs: int) -> int:
        return 1

    def fit(self, features: Tensor, logits: Tensor, labels: Tensor) -> dict[str, list[float]]:
        generator = torch.Generator().manual_seed(0)
        _, exits, hidden = features.shape
        shapes = {
            "inner": (exits, POLICY_WIDTH, hidden), "inner_bias": (exits, POLICY_WIDTH),
            "outer": (exits, POLICY_WIDTH), "outer_bias": (exits,),
        }  # fmt: skip
        start = {name: torch.zeros(shape) for name, shape in shapes.items()}
        start["inner"] = torch.randn(shapes["inner"], generator=generator) / hidden**0.5
        start["outer"] = torch.randn(shapes["outer"], generator=generator) / POLICY_WIDTH**0.5
        learned = {name: tensor.requires_grad_() for name, tensor in start.items()}
        rewards = measure_rewards(logits, labels, self.alpha)
        optimizer, numbers = torch.optim.Adam(learned.values(), lr=self.LR), []
        for step in range(self.STEPS):
            inside = F.gelu(torch.einsum("nlh,lkh->nlk", features, learned["inner"]) + learned["inner_bias"])
            policy = (inside * learned["outer"]).sum(dim=-1) + learned["outer_bias"]
            reward = expect_rewards(policy, rewards).mean()
            optimizer.zero_grad()
            (-reward).backward()
            optimizer.step()
            if step % 100 == 0:
                numbers.append(reward.item())
        for name, tensor in learned.items():
            self.register_buffer(name, tensor.detach())
        return {"reward": [*numbers, reward.item()]}

    def read(self, memory: State, features: Tensor, layer: int) -> tuple[State, Tensor]:
        at = layer - 1
        buffers = dict(self.named_buffers())
        inside = F.gelu(F.linear(features, buffers["inner"][at], buffers["inner_bias"][at]))
        return memory, ((inside * buffers["outer"][at]).sum(dim=-1) + buffers["outer_bias"][at]).unsqueeze(-1)

    def macs(self, hidden_size: int, num_outputs: int, layer: int) -> int:
        return POLICY_WIDTH * (hidden_size + 1)


class PolicyStops(Criterion):
    """pi_i > threshold: the policy would rather leave. The method's threshold is 1/2; others are on its curve."""

    default_threshold = 0.5
    regression = True
    loosest = 0.0

    def __init__(self, *, alpha: float = 0.04) -> None:
        if not alpha >= 0:
            raise StrategyError(f"alpha must not be negative, not {alpha}.")
        self.probe = ExitPolicy(alpha)

    def cut(self, threshold: float) -> float:
        return -threshold

    def threshold(self, cut: float) -> float:
        return -cut

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        assert seen.observed is not None
        return state, -find_stop_probability(seen.observed[:, 0]).to(seen.logits.dtype)


class ConsistentExit(Strategy):
    """ConsistentEE: leave where a policy, rewarded for being right early enough, says so (Zeng et al., AAAI 2024)."""

    name = "consistent-ee"
    head, recipe, criterion = SharedPoolerHead, PatienceRecipe, PolicyStops
    family = "learned"
    citation = (
        "Ziqian Zeng, Yihuai Hong, Hongliang Dai, Huiping Zhuang, Cen Chen: ConsistentEE: A Consistent and "
        "Hardness-Guided Early Exiting Method for Accelerating Language Models Inference. AAAI 2024, arXiv 2312.11882."
    )
    equations = (
        "stage 1: L = sum_i i * CE(z_i, y) / sum_i i",
        "pi_i = sigmoid(v_i.gelu(A_i h_i + a_i) + b_i)",
        "R_i = -CE(z_i, y) - alpha i (1 - m / L), m the first exit from which the sample is answered right",
        "stage 2: maximise E_n sum_i pi_i prod_{j<i} (1 - pi_j) R_i, model frozen",
        "leave at the first i with pi_i > threshold (strict)",
    )
    sources = {
        "threshold": "0.5, released code, where it is fixed",
        "alpha": "0.04, our choice from the constants in the released code, 0.01 to 0.08",
        "head": "PABEE's, as released",
        "train.lr": "1e-5, the released script of stage 1",
        "train.batch_size": "16, the released script of stage 1",
        "train.epochs": "5, the released script of stage 1",
    }
    differences = (
        "The released code draws exits and weighs log-probabilities by the reward above a baseline, which is 0 with "
        "its own settings; here the expectation is worked out over all exits, which needs neither.",
        "The term for late exits is commented out in the released code; alpha=0 is that.",
        "The paper goes on to train exits on the samples that leave there, with the backbone; here the policy alone is "
        "fitted after stage 1, on at most 4,096 training samples, so that any checkpoint can be given one.",
        "The memorised layer is taken from the trained exits' answers on these samples; the released code reads it "
        "from a file that is not with it.",
        "The policy reads the state that the head pools; the released one reads it after pooler and tanh.",
    )
    presets = {
        "*": {
            "train.lr": 1e-5,
            "train.batch_size": 16,
            "train.epochs": 5,
            "train.warmup": 0.0,
            "train.weight_decay": 0.0,
            "max_length": 128,
        }
    }

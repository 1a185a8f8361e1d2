"""Controls: what every early-exit method must be compared with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from strategies.base import Criterion, ScoreEstimate, Seen, Stage, Start, State, Strategy, StrategyError
from strategies.elbert import SharedHead
from strategies.entropy import JointRecipe, LinearHead


class FinetuneRecipe(JointRecipe):
    """Ordinary fine-tuning: the loss of the last exit alone."""

    stages = (Stage("train", exits="last"),)


class NeverLeave(Criterion):
    """No early exit: every sample passes all layers."""

    regression = True
    uses_early_exits = False
    default_threshold = 0.0

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        return state, torch.full_like(seen.logits[:, 0], math.inf)


class Full(Strategy):
    """The original model: all layers, fine-tuned on its last exit only."""

    name = "full"
    head, recipe, criterion = SharedHead, FinetuneRecipe, NeverLeave
    family = "controls"
    equations = ("L = CE(z_L, y)", "leave at exit L")


class NeverLeaveShort(NeverLeave):
    """No early exit, on a backbone of its first ``layers`` layers only."""

    def __init__(self, *, layers: int = 3) -> None:
        if layers < 1:
            raise StrategyError(f"layers must be at least 1, not {layers}.")
        self.layers = layers


class Truncated(Strategy):
    """Plain compression: the first ``layers`` layers alone, fine-tuned like any model."""

    name = "truncated"
    head, recipe, criterion = SharedHead, FinetuneRecipe, NeverLeaveShort
    family = "controls"
    equations = ("L = CE(z_k, y) on a backbone of k layers", "leave at exit k")
    sources = {"layers": "3, our choice: half of a 6-layer model, a quarter of a 12-layer one"}
    differences = (
        "ELBERT's plain compression is a shallower ALBERT-large; here the named backbone loses its upper layers before "
        "training. Costs are to be compared with the whole backbone's.",
    )

    @classmethod
    def backbone_overrides(cls, arguments: Mapping[str, object]) -> dict[str, object]:
        return {"num_hidden_layers": arguments["layers"]}


class AtLayer(Criterion):
    """Every sample leaves at exit ``layer``, whatever the threshold (but at -inf, which means never)."""

    regression = True
    default_threshold = 0.0

    def __init__(self, *, layer: int = 3) -> None:
        if layer < 1:
            raise StrategyError(f"layer must be at least 1, not {layer}.")
        self.layer = layer

    def warnings(self, num_layers: int) -> list[str]:
        if self.layer >= num_layers:
            return [f"exit {self.layer} is not before the last of the backbone's {num_layers} layers: nothing is saved"]
        return []

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        score = -math.inf if seen.layer == self.layer else math.inf
        return state, torch.full_like(seen.logits[:, 0], score)


class FixedExit(Strategy):
    """Always exit k of a model whose exits are trained jointly."""

    name = "fixed-exit"
    head, recipe, criterion = LinearHead, JointRecipe, AtLayer
    family = "controls"
    equations = ("L = sum_i CE(z_i, y)", "leave at exit k")
    sources = {"layer": "3, our choice: half of a 6-layer model, a quarter of a 12-layer one"}


class ForcedExits(Criterion):
    """A criterion that is asked, at its full cost, and overruled: for measuring what leaving somewhere costs.

    Sample ``key`` leaves at ``exits[key]`` (threshold 0); without ``exits`` all leave at the exit that is the
    threshold, so that what an executor records serves all depths. What is said is a score, so that it is said in a
    replayed CUDA graph too, where no Python runs. ``inner`` None asks nothing.
    """

    threshold_name = "exit"
    default_threshold = 0.0
    regression = True

    def __init__(self, inner: Criterion | None = None, exits: Sequence[int] = ()) -> None:
        self.inner: Criterion = NeverLeave() if inner is None else inner
        self.exits, self.probe = tuple(exits), self.inner.probe
        self._table = torch.tensor(self.exits)

    def cut(self, threshold: float) -> float:
        return 0.5 - threshold

    def threshold(self, cut: float) -> float:
        return 0.5 - cut

    def start(self, start: Start) -> State:
        state = self.inner.start(start)
        if not self.exits:
            return state
        if start.keys is None:
            raise ValueError("Prescribed exits need the samples' keys.")
        self._table = self._table.to(start.keys.device)  # moved once: the way there cannot be recorded in a graph
        return {**state, "exit": self._table[start.keys].to(start.dtype)}

    def estimates(self, num_outputs: int) -> bool:
        return not self.exits and self.inner.estimates(num_outputs)

    def estimate(self, exits: Sequence[Sequence[float]], num_layers: int) -> ScoreEstimate:
        asked = self.inner.estimate(exits, num_layers)
        return asked if asked.error == math.inf else ScoreEstimate(-len(exits))

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        after, score = self.inner.step(state, seen)
        if not self.exits:
            return after, torch.full_like(score, -seen.layer)
        return {**after, "exit": state["exit"]}, state["exit"] - seen.layer


# SplitMix64 (Steele et al., OOPSLA 2014): increment, shifts and multipliers, as the signed numbers that int64 takes
GAMMA = -0x61C8864680B583EB
MIX = ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15))


def scramble(x: Tensor) -> Tensor:
    """Return a well mixed int64 [n] from int64 [n]: SplitMix64 in wrapping arithmetic, the same on every device."""
    x = x + GAMMA
    for shift, factor in MIX:
        x = (x ^ _shifted(x, shift)) * factor
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Logical right shift: int64's own one copies the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


class Chance(Criterion):
    """Leave at each exit with probability ``threshold``.

    The draw is a function of (sample, exit, ``seed``) alone: the same alone, in any batch, live and in replay.
    """

    regression = True
    default_threshold = 0.2

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = seed

    def start(self, start: Start) -> State:
        if start.keys is None:
            raise StrategyError("Random exits are drawn from the samples' stable numbers, and none were given.")
        return {"keys": start.keys}

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        place = scramble(torch.full_like(state["keys"], seen.layer + (self.seed << 16)))
        bits = _shifted(scramble(state["keys"] ^ place), 40)  # 24 bits: exact in float32, and never 1
        return state, bits.to(torch.float32) / (1 << 24)


class Random(Strategy):
    """Leave at random: what a criterion must beat at the same cost."""

    name = "random"
    head, recipe, criterion = LinearHead, JointRecipe, Chance
    family = "controls"
    equations = ("L = sum_i CE(z_i, y)", "leave at exit i with probability = threshold, independently of all else")
    sources = {"threshold": "0.2, our choice; every threshold, hence every budget, is on the exact curve"}


class Oracle(Criterion):
    """An upper bound: it picks each sample's exit with all exits before its eyes, and cannot run live."""

    causal = False
    default_threshold = 0.0

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        raise StrategyError("This criterion looks at later exits: it can be replayed, but it cannot run live.")

    def mark_exits(self, answers: Tensor, labels: Tensor | None) -> Tensor:
        """Return which exits would do, bool [N, L], from the answers int64 [N, L] of all of them."""
        raise NotImplementedError

    def acausal_scores(self, logits: Tensor, labels: Tensor | None) -> Tensor:
        if self.needs_labels and labels is None:
            raise StrategyError("This criterion knows the labels, and none were given.")
        good = self.mark_exits(logits.argmax(dim=-1), labels)
        return torch.where(good, -math.inf, math.inf).to(logits.dtype)


class EarliestCorrect(Oracle):
    """The earliest exit that is right; exit 1 where none is, since no other exit is better and none is cheaper."""

    needs_labels = True

    def mark_exits(self, answers: Tensor, labels: Tensor | None) -> Tensor:
        assert labels is not None
        right = answers == labels[:, None]
        return right | ~right.any(dim=1, keepdim=True)


class EarliestConsistent(Oracle):
    """The earliest exit that says what the last one says: the full model's answers at the least cost."""

    def mark_exits(self, answers: Tensor, labels: Tensor | None) -> Tensor:
        return answers == answers[:, -1:]


class OracleCorrect(Strategy):
    """Upper bound: the earliest exit that is right, exit 1 where none is."""

    name = "oracle-correct"
    head, recipe, criterion = LinearHead, JointRecipe, EarliestCorrect
    family = "controls"
    upper_bound = True
    equations = ("L = sum_i CE(z_i, y)", "leave at the first i with argmax z_i = y, at 1 where there is none")
    differences = (
        "Oracles in the literature run the samples that no exit gets right to the last exit; here they leave at exit "
        "1, without which the bound on cost would not be one.",
    )


class OracleConsistent(Strategy):
    """Upper bound: the earliest exit that agrees with the last."""

    name = "oracle-consistent"
    head, recipe, criterion = LinearHead, JointRecipe, EarliestConsistent
    family = "controls"
    upper_bound = True
    equations = ("L = sum_i CE(z_i, y)", "leave at the first i with argmax z_i = argmax z_L")

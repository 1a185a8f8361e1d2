"""ELBERT: fast ALBERT with confidence-window based early exit (Xie et al., ICASSP 2021, arXiv 2107.00175).

One classifier shared by all layers, exits trained together with learned weights, and a two-stage
decision: leave when the prediction is not puzzling (normalised entropy below the threshold), or when the
last N exits agree in one of three ways: the confidence never drops, it stays within a range, or the
label stays the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from strategies.base import (
    Criterion,
    Recipe,
    ScoreEstimate,
    Seen,
    Stage,
    Start,
    State,
    Strategy,
    StrategyError,
    compute_task_loss,
)
from strategies.entropy import normalised_entropy
from strategies.plain_numbers import UNSURE, compute_first_probability, estimate_entropy, estimate_least, weigh
from strategies.pooler import PoolerHead


class SharedHead(PoolerHead):
    """ELBERT's head: one pooler and one classifier, shared by all exits (paper sec. 2.1)."""

    shares_parameters = True


class ElbertRecipe(Recipe):
    """Weighted sum of the exits' losses with learned weights (paper eq. 1-3).

    w_i = sigmoid(t_i) for i < L and w_L = L - sum of the others, so the weights sum to L. ``weights="equal"`` sets
    them all to 1: the learned ones tend to collapse onto the last exit on long runs.
    """

    def __init__(self, num_layers: int, *, weights: str = "learned", initial: float = 4.0, lr: float = 1e-2) -> None:
        super().__init__(num_layers)
        if weights not in ("learned", "equal"):
            raise StrategyError(f"weights must be 'learned' or 'equal', not '{weights}'.")
        self.own_lr = lr  # type: ignore[misc]
        self.t = nn.Parameter(torch.full((num_layers - 1,), initial)) if weights == "learned" else None

    def weights(self) -> Tensor:
        """Return the exits' weights [L], which sum to L."""
        if self.t is None:
            return torch.ones(self.num_layers)
        early = torch.sigmoid(self.t)
        return torch.cat([early, (self.num_layers - early.sum()).reshape(1)])

    def losses(self, stage: Stage, logits: Sequence[Tensor], labels: Tensor, step: int) -> tuple[Tensor, ...]:
        weights = self.weights().to(logits[-1].device)
        return tuple(w * compute_task_loss(z, labels) for w, z in zip(weights, logits, strict=True))

    def report(self) -> dict[str, list[float]]:
        return {"exit_weights": [round(float(w), 4) for w in self.weights().detach()]}


def log_odds(logits: Tensor, index: Tensor) -> Tensor:
    """Return ln p / (1 - p) of one class, [n, N], for logits [n, N, C] and the class's ``index`` [n, N, 1].

    It grows with p and, unlike p, tells 1 - 1e-8 from 1 - 1e-9 in any floating-point format.
    """
    log_p = torch.log_softmax(logits, dim=-1)
    others = log_p.scatter(2, index, -math.inf).logsumexp(dim=-1)
    return log_p.gather(2, index).squeeze(2) - others


def find_clear_label(p: Tensor, margin: float) -> Tensor:
    """Return the predicted class [...] of probabilities [..., C], C > 2, or -1 where none stands out by the margin.

    The best leads the second by more than 2 * margin, which for two classes would be p > 0.5 + margin, as released.
    Exact ties have no label.
    """
    best, label = p.topk(2, dim=-1)
    return torch.where(best[..., 0] - best[..., 1] > 2 * margin, label[..., 0], -1)


def choose_window(num_layers: int) -> int:
    """Return the default window: the paper's share of the depth, 8 of 24 layers, and at least 2."""
    return max(2, num_layers // 3)


class Window(Criterion):
    """ELBERT's two stages: a test on this exit alone, else a test on the last ``window`` exits (paper sec. 2.3).

    The first stage is normalised entropy < threshold (``first="entropy"``), the released code's undocumented
    ``logits`` (``first="least"``: the smallest class probability < threshold), or nothing (``first="none"``).
    The score is the first stage's, and -inf where the window test holds: a window fires at every threshold.
    ``window=None`` follows the backbone's depth (:func:`choose_window`), ``window=0`` switches the second stage off.
    """

    def __init__(self, *, window: int | None = None, margin: float = 0.0, first: str = "entropy") -> None:
        if window is not None and window < 0:
            raise StrategyError(f"window must not be negative, not {window}.")
        if not 0 <= margin < 0.5:
            raise StrategyError(f"margin must be in [0, 0.5), not {margin}.")
        if first not in ("entropy", "least", "none"):
            raise StrategyError(f"first must be 'entropy', 'least' or 'none', not '{first}'.")
        self.window, self.margin, self.first = window, margin, first

    def find_window(self, num_layers: int) -> int:
        """Return the number of exits that the second stage looks at, on a backbone of ``num_layers``."""
        return choose_window(num_layers) if self.window is None else self.window

    def follow_depth(self, num_layers: int) -> dict[str, object]:
        return {"window": choose_window(num_layers)} if self.window is None else {}

    def warnings(self, num_layers: int) -> list[str]:
        window = self.find_window(num_layers)
        if window > num_layers:
            return [f"window {window} is longer than the backbone's {num_layers} layers and can never fire"]
        if window == num_layers:
            return [f"window {window} can fire at the last of the backbone's layers only, where it saves nothing"]
        return []

    def start(self, start: Start) -> State:
        window = self.find_window(start.num_layers)
        if not 0 < window <= start.num_layers:
            return {}
        # the exits before this one; before there are as many, what is not there yet is never looked at
        shape = (start.samples, window - 1, start.num_outputs)
        return {"history": torch.zeros(shape, dtype=start.dtype, device=start.device)}

    def fires(self, window: Tensor) -> Tensor:
        """Return whether the test holds, bool [n], over the logits [n, N, C] of the last N exits."""
        raise NotImplementedError

    def weigh_window(self, first: Sequence[float]) -> int:
        """Return whether the test holds over p(class 0) [N] of one sample, two classes: 1, -1 where not, 0 if close."""
        raise NotImplementedError

    def estimates(self, num_outputs: int) -> bool:
        # p(class 0) is a window's whole story of two classes alone
        return super().estimates(num_outputs) and (num_outputs == 2 or self.window == 0)

    def estimate_score(self, exits: Sequence[Sequence[float]], num_layers: int) -> ScoreEstimate:
        """Return the score of one sample in plain numbers: what :meth:`estimate` of every window is."""
        window, outputs = self.find_window(num_layers), len(exits[-1])
        if 0 < window <= min(len(exits), num_layers):
            holds = self.weigh_window(list(map(compute_first_probability, exits[-window:])))
            if holds >= 0:
                return ScoreEstimate(-math.inf) if holds else UNSURE
        if self.first == "entropy":
            return estimate_entropy(exits[-1], math.log(outputs))
        return estimate_least(exits[-1]) if self.first == "least" else ScoreEstimate(math.inf)

    def first_stage(self, logits: Tensor) -> Tensor:
        """Return the score [n] of this exit alone."""
        if self.first == "entropy":
            return normalised_entropy(logits)
        if self.first == "least":
            return torch.softmax(logits, dim=-1).amin(dim=-1)
        return torch.full_like(logits[:, 0], math.inf)

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        score = self.first_stage(seen.logits)
        if "history" not in state:
            return state, score
        window = torch.cat([state["history"], seen.logits.unsqueeze(1)], dim=1)
        if seen.layer >= window.shape[1]:  # before that there are no N exits to look at
            score = score.masked_fill(self.fires(window), -math.inf)
        return {"history": window[:, 1:]}, score


class MonotoneWindow(Window):
    """Criterion 1: over the window, the confidence in the class predicted at its start never drops, and
    that class is still the prediction (released as ``bias_2``)."""

    def fires(self, window: Tensor) -> Tensor:
        p = torch.softmax(window, dim=-1)
        if p.shape[-1] == 2:
            return self.fires_for_two(p[..., 0])
        label = window[:, -1].argmax(dim=-1)
        index = label[:, None, None].expand(-1, p.shape[1], 1)
        confidence = log_odds(window, index)
        never_drops = (confidence[:, 1:] >= confidence[:, :-1]).all(dim=1)
        return (find_clear_label(p[:, 0], self.margin) == label) & never_drops

    def fires_for_two(self, first: Tensor) -> Tensor:
        """Return whether the test holds over p(class 0) [n, N]: clear at its start, and no step back from there.

        The prediction at the end is then that at the start without being asked for: what never falls from above a
        half ends above it. As p(class 0) tells all, this is half of the operations that any number of classes takes.
        """
        begin, before, after = first[:, 0], first[:, :-1], first[:, 1:]
        rises = (after >= before).all(dim=1) & (begin > 0.5 + self.margin)
        return rises | ((after <= before).all(dim=1) & (begin < 0.5 - self.margin))

    def weigh_window(self, first: Sequence[float]) -> int:
        steps = [weigh(after - before) for before, after in pairwise(first)]
        return max(min([weigh(way * (first[0] - 0.5) - self.margin), *(way * s for s in steps)]) for way in (1, -1))

    estimate = Window.estimate_score


class RangeWindow(Window):
    """Criterion 2: over the window the label is constant and its confidence varies by at most ``range``
    (released as ``bias_3``)."""

    def __init__(
        self, *, window: int | None = None, range: float = 0.1, margin: float = 0.0, first: str = "entropy"
    ) -> None:
        super().__init__(window=window, margin=margin, first=first)
        if range < 0:
            raise StrategyError(f"range must not be negative, not {range}.")
        self.range = range

    def fires(self, window: Tensor) -> Tensor:
        p = torch.softmax(window, dim=-1)
        # of two classes p(class 0), as released: a change of p(class 1) near 1 is too small for its own format
        best = p[..., 0] if p.shape[-1] == 2 else p.amax(dim=-1)
        return has_same_label(p, self.margin) & (best.amax(dim=1) - best.amin(dim=1) <= self.range)

    def weigh_window(self, first: Sequence[float]) -> int:
        return min(weigh_label(first, self.margin), weigh(self.range - (max(first) - min(first))))

    estimate = Window.estimate_score


class LabelWindow(Window):
    """Criterion 3: over the window the predicted label is the same (released as ``bias_1``, the shipped setting)."""

    def fires(self, window: Tensor) -> Tensor:
        return has_same_label(torch.softmax(window, dim=-1), self.margin)

    def weigh_window(self, first: Sequence[float]) -> int:
        return weigh_label(first, self.margin)

    estimate = Window.estimate_score


def weigh_label(first: Sequence[float], margin: float) -> int:
    """Return :func:`has_same_label` of p(class 0) [N] of one sample: 1, -1 where not, 0 where it is too close."""
    return max(min(weigh(way * (p - 0.5) - margin) for p in first) for way in (1, -1))


def has_same_label(p: Tensor, margin: float) -> Tensor:
    """Return whether one class is clearly predicted throughout a window of probabilities [n, N, C], bool [n]."""
    if p.shape[-1] == 2:  # on p(class 0) alone: p(class 1) rounds differently
        first = p[..., 0]
        return (first > 0.5 + margin).all(dim=1) | (first < 0.5 - margin).all(dim=1)
    labels = find_clear_label(p, margin)
    return (labels[:, 0] >= 0) & (labels == labels[:, :1]).all(dim=1)


_PAPER: dict[str, object] = {"window": 8}


def _albert(lr: float, batch: int, dropout: float, steps: int, warmup: int) -> dict[str, object]:
    return {
        **_PAPER,
        "train.lr": lr,
        "train.batch_size": batch,
        "train.steps": steps,
        "train.warmup_steps": warmup,
        "train.weight_decay": 0.0,
        "max_length": 512,
        "backbone.hidden_dropout_prob": dropout,
        "backbone.attention_probs_dropout_prob": dropout,
    }


class _Elbert(Strategy):
    head, recipe = SharedHead, ElbertRecipe
    family = "windows and patience"
    citation = (
        "Keli Xie, Siyuan Lu, Meiqi Wang, Zhongfeng Wang: ELBERT: Fast ALBERT with Confidence-Window Based "
        "Early Exit. ICASSP 2021, arXiv 2107.00175."
    )
    sources = {
        "window": "a third of the backbone's layers, at least 2: the paper's 8 (sec. 3 and the released script) is a "
        "third of 24; --preset paper takes 8",
        "threshold": "0.1, the released configuration; the paper sweeps 0.1..1.0",
        "margin": "0, the released configuration",
        "recipe.initial": "4.0, the released configuration: every weight starts at sigmoid(4) = 0.982",
        "recipe.lr": "0.01, the released training script",
        "presets": "the ALBERT paper's Table 14, to which the paper refers; the released RTE script has 3 epochs at "
        "length 128 without warm-up or dropout instead",
    }
    differences = (
        "The released windows read p(class 0) of the batch's first sample; here every sample has its own window over "
        "the class predicted at the window's first exit, which is the same for two classes and batch 1.",
        "The released layer weights are never zeroed between steps, so their gradient accumulates over the run; here "
        "they are a parameter like any other, with the released learning rate.",
        "Saturated logits give entropy 0 and leave; the released formula gives NaN, which never leaves.",
        "The released configuration ships criterion 3 under the name bias_1; the paper's default is criterion 1.",
    )

    # The ALBERT paper's Table 14, which this paper refers to for GLUE; its own sec. 3 for AG News and IMDB.
    # (learning rate, batch size, dropout, steps, warm-up steps)
    presets = {
        "cola": _albert(1e-5, 16, 0.0, 5336, 320),
        "stsb": _albert(2e-5, 16, 0.0, 3598, 214),
        "sst2": _albert(1e-5, 32, 0.0, 20935, 1256),
        "mnli": _albert(3e-5, 128, 0.0, 10000, 1000),
        "qnli": _albert(1e-5, 32, 0.0, 33112, 1986),
        "qqp": _albert(5e-5, 128, 0.1, 14000, 1000),
        "rte": _albert(3e-5, 32, 0.1, 800, 200),
        "mrpc": _albert(2e-5, 32, 0.0, 800, 200),
        "wnli": _albert(2e-5, 16, 0.1, 2000, 250),
        "ag_news": {**_PAPER, "train.lr": 3e-5, "train.batch_size": 32},
        "imdb": {**_PAPER, "train.lr": 3e-5, "train.batch_size": 32},
    }


class ElbertMono(_Elbert):
    """ELBERT with the paper's default window: confidence that never drops (Xie et al., ICASSP 2021)."""

    name = "elbert-mono"
    version = 2
    criterion = MonotoneWindow
    equations = (
        "L = sum_i w_i CE(z_i, y), w_i = sigmoid(t_i), w_L = L - sum_{i<L} w_i (eq. 1-3)",
        "leave at the first i with H(p_i) / ln C < threshold",
        "or p_j(c) <= p_{j+1}(c) for all j in i-N+1..i-1, c the class predicted at i-N+1 and still at i (criterion 1)",
    )

    @classmethod
    def version_for(cls, outputs: int) -> int:
        # in version 1 drops near p = 1 that float32 cannot tell were no drops, with three classes or more
        return cls.version if outputs > 2 else 1


class ElbertRange(_Elbert):
    """ELBERT with the range window: constant label, confidence within a range (Xie et al., ICASSP 2021)."""

    name = "elbert-range"
    criterion = RangeWindow
    equations = (
        *ElbertMono.equations[:2],
        "or constant label and max p - min p <= range over exits i-N+1..i (criterion 2)",
    )
    sources = {
        **_Elbert.sources,
        "range": "0.1, our choice: the paper says 'a set value' and the released code has none",
    }


class ElbertLabel(_Elbert):
    """ELBERT with the label window: the same label N times in a row (Xie et al., ICASSP 2021)."""

    name = "elbert-label"
    criterion = LabelWindow
    equations = (*ElbertMono.equations[:2], "or constant label over exits i-N+1..i (criterion 3)")

"""DeeBERT: dynamic early exiting for accelerating BERT inference (Xin et al., ACL 2020, arXiv 2004.12993).

Every exit has a pooler and classifier of its own. The model is fine-tuned first as if it had no exits; then the
early exits are fitted with everything else frozen. A sample leaves when its entropy, in nats, is below the threshold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from strategies.base import Criterion, ScoreEstimate, Seen, Stage, State, Strategy
from strategies.entropy import JointRecipe, entropy
from strategies.plain_numbers import estimate_entropy
from strategies.pooler import PoolerHead

SCRIPTS: Mapping[str, object] = {
    "train.lr": 2e-5,
    "train.batch_size": 8,
    "train.epochs": 3,
    "train.warmup": 0.0,
    "train.weight_decay": 0.0,
    "max_length": 128,
}
"""The settings of the released training scripts, which RomeBERT's and BERxiT's took over, and PABEE's but for two."""


class HighwayHead(PoolerHead):
    """DeeBERT's "highway": every exit has a pooler and a classifier of its own (paper sec. 3.1).

    All poolers start from the pretrained one, as released. Exit L is the model's own pooler and classifier.
    """

    shares_pooler = shares_classifier = False


class DeeBertRecipe(JointRecipe):
    """Two stages: ordinary fine-tuning, then the plain sum of the early exits' losses (paper eq. 1-2)."""

    stages = (Stage("fine-tune", exits="last"), Stage("exits", backbone=False, exits="early"))

    def losses(self, stage: Stage, logits: Sequence[Tensor], labels: Tensor, step: int) -> tuple[Tensor, ...]:
        return super().losses(stage, logits if stage.exits == "last" else logits[:-1], labels, step)


class NatsEntropy(Criterion):
    """H(p) < threshold in nats, not normalised: at most ln C, so 0.693 for two classes and 1.099 for three."""

    def step(self, state: State, seen: Seen) -> tuple[State, Tensor]:
        return state, entropy(seen.logits)

    def estimate(self, exits: Sequence[Sequence[float]], num_layers: int) -> ScoreEstimate:
        return estimate_entropy(exits[-1])


class DeeBert(Strategy):
    """DeeBERT: a pooler and classifier per exit, fitted on a frozen fine-tuned model (Xin et al., ACL 2020)."""

    name = "deebert"
    head, recipe, criterion = HighwayHead, DeeBertRecipe, NatsEntropy
    citation = (
        "Ji Xin, Raphael Tang, Jaejun Lee, Yaoliang Yu, Jimmy Lin: DeeBERT: Dynamic Early Exiting for Accelerating "
        "BERT Inference. ACL 2020, arXiv 2004.12993."
    )
    equations = (
        "stage 1: L = CE(z_L, y), backbone and exit L",
        "stage 2: L = sum_{i<L} CE(z_i, y), exits 1..L-1 only, all else frozen",
        "leave at the first i < L with H(p_i) < threshold, H in nats (strict)",
    )
    sources = {
        "threshold": "0.1, from the released sweep 0..0.7; the released default -1 switches early exit off",
        "head": "poolers start from the pretrained pooler, classifiers from N(0, 0.02), as released",
        "train.lr": "2e-5 in both stages, the released scripts",
        "train.batch_size": "8, the released scripts",
        "train.epochs": "3 a stage for BERT (10 for RoBERTa), the released scripts",
    }
    differences = (
        "The released last highway is never trained but may answer; here exit L is the model's own classifier and the "
        "only one that answers there (the authors' own correction in BERxiT).",
        "The released second stage keeps the backbone's dropout on, back-propagates through it and counts its unused "
        "gradients in the clipping norm; here the frozen part runs in evaluation mode and without gradient.",
        "Entropy is computed through log-softmax: saturated logits give exactly 0 and leave at any positive threshold; "
        "the released formulas give NaN, which never leaves, or -inf, which leaves even with early exit switched off.",
    )
    presets = {"*": SCRIPTS}

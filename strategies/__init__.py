"""The table of contents: name -> "module:Name", and names that stand for one or several of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from backbones.names import Registry

if TYPE_CHECKING:
    from strategies.base import Head, Recipe, Strategy

STRATEGIES: Registry[type[Strategy]] = Registry(
    "strategy",
    {
        "beem": "strategies.beem:Beem",
        "budget": "strategies.budget:BudgetedBatch",
        "consistent-ee": "strategies.consistent:ConsistentExit",
        "cosee": "strategies.cosee:Cosee",
        "de3-bert": "strategies.distance_ratio:De3Bert",
        "deebert": "strategies.deebert:DeeBert",
        "divergence-patience": "strategies.divergence:FlexiblePatience",
        "elbert-label": "strategies.elbert:ElbertLabel",
        "elbert-mono": "strategies.elbert:ElbertMono",
        "elbert-range": "strategies.elbert:ElbertRange",
        "energy": "strategies.energy:Energy",
        "entropy": "strategies.entropy:Entropy",
        "fastbert": "strategies.fastbert:FastBert",
        "fixed-exit": "strategies.controls:FixedExit",
        "full": "strategies.controls:Full",
        "gpfee": "strategies.past_future:GlobalPastFuture",
        "learned-exit": "strategies.learned:Berxit",
        "margin": "strategies.margin:Margin",
        "max-probability": "strategies.confidence:MaximumProbability",
        "nsp": "strategies.null_space:NullSpace",
        "oracle-consistent": "strategies.controls:OracleConsistent",
        "oracle-correct": "strategies.controls:OracleCorrect",
        "palbert": "strategies.palbert:Palbert",
        "patience": "strategies.patience:Pabee",
        "patient-and-confident": "strategies.patient:PatientAndConfident",
        "perfcontrol": "strategies.performance:PerformanceControl",
        "prototypes": "strategies.prototypes:Prototypes",
        "random": "strategies.controls:Random",
        "romebert": "strategies.romebert:RomeBert",
        "saturation": "strategies.saturation:Saturation",
        "sweet": "strategies.sweet:Sweet",
        "temperature": "strategies.temperature:Temperature",
        "truncated": "strategies.controls:Truncated",
        "voting": "strategies.voting:Voting",
        "zero-time-waste": "strategies.zero_time:ZeroTimeWaste",
    },
    base="strategies.base:Strategy",
    group="exitbench.strategies",
    aliases={
        "elbert": "elbert-mono",
        "pabee": "patience",
        "f-pabee": "divergence-patience",
        "pcee-bert": "patient-and-confident",
        "berxit": "learned-exit",
        "msp": "max-probability",
        "cap": "nsp",
        "q-exit": "palbert",
        "consistentee": "consistent-ee",
        "ztw": "zero-time-waste",
    },
)

PUBLISHED = ("elbert-mono", "deebert", "fastbert", "patience", "romebert")
"""The published systems whose claims `bench reproduce` checks, ELBERT with its paper's default window."""
STRATEGY_GROUPS: Mapping[str, str] = {
    "all": "every strategy that is listed",
    "paper": f"the five published systems: {', '.join(PUBLISHED)}",
}
"""Names that stand for several strategies, and for which."""


def list_group(name: str) -> tuple[str, ...]:
    """Return the strategies that a name of :data:`STRATEGY_GROUPS` stands for."""
    return PUBLISHED if name == "paper" else tuple(STRATEGIES)


HEADS: Registry[type[Head]] = Registry(
    "head",
    {
        "cascade": "strategies.zero_time:CascadeHead",
        "highway": "strategies.deebert:HighwayHead",
        "linear": "strategies.entropy:LinearHead",
        "past-future": "strategies.past_future:PastFutureHead",
        "shared": "strategies.elbert:SharedHead",
        "shared-pooler": "strategies.patience:SharedPoolerHead",
        "student": "strategies.fastbert:StudentHead",
    },
    base="strategies.base:Head",
    group="exitbench.heads",
)

RECIPES: Registry[type[Recipe]] = Registry(
    "recipe",
    {
        "berxit": "strategies.learned:BerxitRecipe",
        "cosee": "strategies.cosee:CoseeRecipe",
        "deebert": "strategies.deebert:DeeBertRecipe",
        "elbert": "strategies.elbert:ElbertRecipe",
        "exits-only": "strategies.exits_only:ExitsOnlyRecipe",
        "fastbert": "strategies.fastbert:FastBertRecipe",
        "finetune": "strategies.controls:FinetuneRecipe",
        "gradient-equilibrium": "strategies.equilibrium:GradientEquilibriumRecipe",
        "joint": "strategies.entropy:JointRecipe",
        "mixed": "strategies.mixed:MixedRecipe",
        "neighbour-distillation": "strategies.neighbours:NeighbourDistillationRecipe",
        "past-future": "strategies.past_future:PastFutureRecipe",
        "patience": "strategies.patience:PatienceRecipe",
        "romebert": "strategies.romebert:RomeBertRecipe",
        "sweet": "strategies.sweet:SweetRecipe",
        "zero-time-waste": "strategies.zero_time:ZeroTimeRecipe",
    },
    base="strategies.base:Recipe",
    group="exitbench.recipes",
)

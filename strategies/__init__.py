"""The table of contents: name -> "module:Name", and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backbones.names import Registry

if TYPE_CHECKING:
    from strategies.base import Head, Recipe, Strategy

STRATEGIES: Registry[type[Strategy]] = Registry(
    "strategy",
    {
        "budget": "strategies.budget:BudgetedBatch",
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
        "learned-exit": "strategies.learned:Berxit",
        "margin": "strategies.margin:Margin",
        "max-probability": "strategies.confidence:MaximumProbability",
        "oracle-consistent": "strategies.controls:OracleConsistent",
        "oracle-correct": "strategies.controls:OracleCorrect",
        "patience": "strategies.patience:Pabee",
        "patient-and-confident": "strategies.patient:PatientAndConfident",
        "prototypes": "strategies.prototypes:Prototypes",
        "random": "strategies.controls:Random",
        "romebert": "strategies.romebert:RomeBert",
        "saturation": "strategies.saturation:Saturation",
        "temperature": "strategies.temperature:Temperature",
        "truncated": "strategies.controls:Truncated",
        "voting": "strategies.voting:Voting",
    },
    base="strategies.base:Strategy",
    group="exitbench.strategies",
)

HEADS: Registry[type[Head]] = Registry(
    "head",
    {
        "highway": "strategies.deebert:HighwayHead",
        "linear": "strategies.entropy:LinearHead",
        "shared": "strategies.elbert:SharedHead",
        "shared-pooler": "strategies.patience:SharedPoolerHead",
        "student": "strategies.fastbert:StudentHead",
    },
    base="strategies.base:Head",
)

RECIPES: Registry[type[Recipe]] = Registry(
    "recipe",
    {
        "berxit": "strategies.learned:BerxitRecipe",
        "deebert": "strategies.deebert:DeeBertRecipe",
        "elbert": "strategies.elbert:ElbertRecipe",
        "exits-only": "strategies.exits_only:ExitsOnlyRecipe",
        "fastbert": "strategies.fastbert:FastBertRecipe",
        "finetune": "strategies.controls:FinetuneRecipe",
        "gradient-equilibrium": "strategies.equilibrium:GradientEquilibriumRecipe",
        "joint": "strategies.entropy:JointRecipe",
        "mixed": "strategies.mixed:MixedRecipe",
        "neighbour-distillation": "strategies.neighbours:NeighbourDistillationRecipe",
        "patience": "strategies.patience:PatienceRecipe",
        "romebert": "strategies.romebert:RomeBertRecipe",
    },
    base="strategies.base:Recipe",
)

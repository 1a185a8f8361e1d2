"""A made-up store with every published system on two tasks, plain compression, criteria and windows."""

from __future__ import annotations

from pathlib import Path

from bench.report.plots.systems import SYSTEMS
from tests.helpers.report_store import make_cell


def make_systems(root: Path) -> Path:
    """Every system as published on sst2 and mrpc, two seeds of the first; criteria and windows on one checkpoint."""
    for task in ("sst2", "mrpc"):
        for system in SYSTEMS:
            own = {"recipe": system.recipe, "head": system.head}
            for seed in (0, 1) if system.name == "ELBERT" else (0,):
                window = {"window": 2} if system.name == "ELBERT" else {}
                make_cell(root, system.strategies[0], task, seed=seed, criterion=window, spec=own, samples=160,
                          latency="valid", depth=seed == 0)  # fmt: skip
        plain = {"recipe": "finetune", "head": "shared"}
        make_cell(root, "full", task, early=False, samples=160, spec=plain)
        for layers in (2, 3):
            cut = {**plain, "backbone_args": {"num_hidden_layers": layers}}
            make_cell(root, "truncated", task, early=False, layers=layers, whole=6, samples=160, spec=cut)
    joint = {"recipe": "joint", "head": "linear"}
    for strategy in ("margin", "max-probability", "oracle-correct"):
        make_cell(root, strategy, "sst2", spec=joint, checkpoint="c", samples=160, upper_bound="oracle" in strategy)
    for window in (1, 2, 3):
        make_cell(root, "elbert-mono", "sst2", criterion={"window": window}, spec=joint, checkpoint="c", samples=160)
    return root

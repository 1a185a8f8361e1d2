"""What is asked of the runner: the question of one cell, and everything around it that cannot change the answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from backbones.catalog import Init, find_backbone_name
from bench.inference.placement import Dtype
from bench.progress import Progress
from bench.results.store import Store
from bench.tasks import find_task_name
from bench.training.args import SAVE_EVERY
from strategies import HEADS, RECIPES, STRATEGIES

Overwrite = Literal["missing", "always", "never"]


@dataclass(frozen=True)
class Request:
    """What `bench run` was given for one cell; None means "choose for me".

    Names may be in any case or other names for what is listed; the request has the listed ones.
    """

    strategy: str
    task: str
    backbone: str | None = None
    recipe: str | None = None
    head: str | None = None
    init: Init | None = None
    seed: int = 0
    settings: Mapping[str, object] = field(default_factory=dict)
    preset: str | None = None
    thresholds: tuple[float, ...] | None = None
    select: tuple[str, ...] = ()
    limit: int | None = None
    device: str = "auto"
    dtype: Dtype = "fp32"
    latency: bool = True

    def __post_init__(self) -> None:
        listed = {"strategy": STRATEGIES.find_name(self.strategy), "task": find_task_name(self.task)}
        if self.backbone is not None:
            listed["backbone"] = find_backbone_name(self.backbone)
        for part, registry in (("recipe", RECIPES), ("head", HEADS)):
            if (name := getattr(self, part)) is not None:
                own = registry.find_name(name)  # or a strategy's, whose own part is meant
                listed[part] = own if own in registry else STRATEGIES.find_name(name)
        for name, value in listed.items():
            object.__setattr__(self, name, value)


@dataclass(frozen=True)
class Context:
    """Where results are kept, where data and weights come from, what is said; ``command`` goes into the record.

    ``overwrite`` says when a recorded cell is measured again: where something of what is asked is missing, always, or
    never. ``save_every`` is the seconds between two progress checkpoints of a training; ``wait_quiet`` those to wait at
    most for a quiet machine before anything is timed.
    """

    store: Store
    progress: Progress
    hub_root: Path | None = None
    offline: bool = False
    overwrite: Overwrite = "missing"
    command: str = ""
    save_every: float = SAVE_EVERY
    wait_quiet: float = 0.0

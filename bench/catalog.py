"""The registries of the harness: what there is, by name, imported on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import strategies
from bench.registry import Registry

if TYPE_CHECKING:
    from strategies.base import Head, Recipe, Strategy

STRATEGIES: Registry[type[Strategy]] = Registry("strategy", strategies.STRATEGIES, group="exitbench.strategies")
HEADS: Registry[type[Head]] = Registry("head", strategies.HEADS)
RECIPES: Registry[type[Recipe]] = Registry("recipe", strategies.RECIPES)

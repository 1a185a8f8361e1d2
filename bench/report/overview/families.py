"""Families of strategies, by what a criterion goes by: what the page's filter offers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from strategies import STRATEGIES

CONTROL_FAMILY, OWN_FAMILY = "controls", "own"
"""What is no criterion; what is none of our strategies."""
FAMILY_ORDER = ("confidence", "windows and patience", "learned", OWN_FAMILY, CONTROL_FAMILY)


@cache
def list_families() -> Mapping[str, tuple[str, ...]]:
    """Return each family's strategies, as they say in their files; torch, which they need, is not imported."""
    said = {name: STRATEGIES.read_value(name, "family") for name in STRATEGIES.builtin}
    return {family: tuple(name for name, found in said.items() if found == family) for family in FAMILY_ORDER}


def find_family(strategy: str) -> str:
    """Return the family of a strategy; of one that is not ours ``own``."""
    return next((family for family, names in list_families().items() if strategy in names), OWN_FAMILY)

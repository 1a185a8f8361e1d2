"""The named checks that the claims of papers refer to."""

from __future__ import annotations

from collections.abc import Mapping

from backbones.names import Registry
from bench.reproduce.base import Check
from bench.settings import bind

CHECKS: Registry[type[Check]] = Registry(
    "check",
    {
        "quality-at-speedup": "bench.reproduce.curves:QualityAtSpeedup",
        "curve-above": "bench.reproduce.curves:CurveAbove",
        "quality-at-cost-of": "bench.reproduce.curves:QualityAtCostOf",
        "overthinking-recovered": "bench.reproduce.curves:OverthinkingRecovered",
        "ordered-by-speedup": "bench.reproduce.ordering:OrderedBySpeedup",
        "values-at": "bench.reproduce.values:ValuesAt",
    },
    base="bench.reproduce.base:Check",
)


def make_check(name: str, arguments: Mapping[str, object]) -> Check:
    """The check of a claim. Raises UsageError for an unknown one, or arguments that it does not take."""
    kind = CHECKS.load(name)
    return kind(**bind(kind, arguments, f"check '{name}'"))

"""Families of strategies, by what a criterion looks at: what the page's filter offers."""

from __future__ import annotations

_CONFIDENCE, _AGREEMENT, _LEARNED = "confidence", "windows and patience", "learned"
CONTROL_FAMILY, OWN_FAMILY = "controls", "own"
"""How sure one exit is; whether several agree; a rule fitted on held-out samples; what is no criterion; others."""

STRATEGY_FAMILIES = {
    _CONFIDENCE: (
        "budget", "cosee", "deebert", "energy", "entropy", "fastbert", "gpfee", "margin", "max-probability", "romebert",
        "sweet", "temperature",
        "zero-time-waste",
    ),
    _AGREEMENT: (
        "beem", "divergence-patience", "elbert-label", "elbert-mono", "elbert-range", "patience",
        "patient-and-confident", "saturation", "voting",
    ),
    _LEARNED: ("consistent-ee", "de3-bert", "learned-exit", "nsp", "palbert", "perfcontrol", "prototypes"),
    OWN_FAMILY: (),
    CONTROL_FAMILY: ("fixed-exit", "full", "oracle-consistent", "oracle-correct", "random", "truncated"),
}  # fmt: skip


def find_family(strategy: str) -> str:
    """Return the family of a strategy; of one that is not ours ``own``."""
    return next((family for family, names in STRATEGY_FAMILIES.items() if strategy in names), OWN_FAMILY)

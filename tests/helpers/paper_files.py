"""A paper of made-up claims that is sound, to be spoilt or run."""

from __future__ import annotations

from typing import Any

GOOD: dict[str, Any] = {
    "name": "mine", "title": "Mine", "citation": "Me.", "conventions": "None.",
    "claims": [{"id": "a", "says": "So", "source": "sec. 1", "evidence": "paper", "split": "dev",
                "check": {"name": "quality-at-speedup", "strategy": "entropy", "speedup": 2}}],
    "full": {"says": "All.", "blocks": [{"name": "A", "matrix": {"strategy": "entropy", "task": "demo"}}]},
}  # fmt: skip

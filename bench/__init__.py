"""ExitBench: early exit in encoder transformers, measured side by side.

``bench.replay(strategy, logits, threshold=..., **arguments)`` decides for anybody's logits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.inference.replay import Decisions, replay

__version__ = "0.1.0"
__all__ = ["Decisions", "__version__", "replay"]


def __getattr__(name: str) -> Any:
    if name in ("Decisions", "replay"):  # on first use: they need torch, and `bench list` does not
        from bench.inference import replay as module

        return getattr(module, name)
    raise AttributeError(f"module 'bench' has no attribute '{name}'")

"""ExitBench: early exit in encoder transformers, measured side by side.

``bench.replay(strategy, logits, threshold=..., **arguments)`` decides for anybody's logits.
"""

# No import here runs before `python -m bench` has taken the current folder off the front of the path: a typing.py there
# would be run. Type checkers take this name for the library's.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from bench.inference.replay import Decisions, replay

__version__ = "0.1.0"
__all__ = ["Decisions", "__version__", "replay"]


def __getattr__(name: str) -> "Any":
    if name in ("Decisions", "replay"):  # on first use: they need torch, and `bench list` does not
        from bench.inference import replay as module

        return getattr(module, name)
    raise AttributeError(f"module 'bench' has no attribute '{name}'")

"""ExitBench: early exit in encoder transformers, measured side by side.

    run = bench.run("elbert-mono", task="demo", settings={"window": 4})   # train, measure, record; or what is recorded
    run.points, run.curve                                                 # data frames
    results = bench.load("results")                                       # all recorded runs
    results.table(), results.criteria()                                   # side by side at matched cost
    bench.replay("entropy", logits, labels=labels).curve                  # anybody's logits [samples, exits, classes]

Whatever a user can get wrong is raised as a :class:`UserError`, which says it in one line.
"""

# No import here runs before `python -m bench` has taken the current folder off the front of the path: a typing.py there
# would be run. Type checkers take this name for the library's.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from bench.api.results import Results, load
    from bench.api.run import run
    from bench.api.view import RunView
    from bench.errors import UserError
    from bench.inference.replay import Decisions, replay

__version__ = "0.1.0"
__all__ = ["Decisions", "Results", "RunView", "UserError", "__version__", "load", "replay", "run"]

_PLACES = {
    "Decisions": "bench.inference.replay",
    "Results": "bench.api.results",
    "RunView": "bench.api.view",
    "UserError": "bench.errors",
    "load": "bench.api.results",
    "replay": "bench.inference.replay",
    "run": "bench.api.run",
}
# each is imported on first use: some need torch, and `bench list` does not


def __getattr__(name: str) -> "Any":
    if name in _PLACES:
        from importlib import import_module

        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'bench' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__

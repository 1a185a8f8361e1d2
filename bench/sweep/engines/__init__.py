"""The engines by name: each is imported when it is asked for."""

from __future__ import annotations

from backbones.names import make_unknown_error
from bench.environment import check_threads
from bench.errors import UsageError
from bench.sweep.engines.base import Engine


def make_engine(name: str = "local", workers: int | None = None, threads: int | None = None) -> Engine:
    """Return the engine ``local``, ``ray`` or ``ray:ADDRESS``. Raises UsageError for others, or if not installed."""
    kind, _, address = name.partition(":")
    for option, value in (("--workers", workers), ("--threads", threads)):
        if value is not None and value < 1:
            raise UsageError(f"{option} must be at least 1, not {value}.")
    if kind == "local" and not address:
        from bench.sweep.engines.local import LocalEngine

        check_threads(threads, "--threads")
        return LocalEngine(workers, threads)
    if kind == "ray":
        from bench.sweep.engines.ray import RayEngine

        return RayEngine(address, workers, threads)
    raise make_unknown_error("engine", name, ("local", "ray", "ray:ADDRESS"))

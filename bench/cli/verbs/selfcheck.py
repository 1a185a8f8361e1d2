"""`bench selfcheck`: the harness's own speed, as ratios taken in one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from backbones.names import unknown_name
from bench.cli.display import print_json
from bench.cli.options import Executor
from bench.cli.session import Session, with_session
from bench.errors import OK, UsageError
from bench.files import write_json
from bench.inference.placement import EXECUTORS, check_placement, find_device
from bench.progress import Progress


@dataclass(frozen=True)
class How:
    """On what the engine is measured: torch's threads, seconds a measurement, executor, device and number format."""

    threads: int | None
    seconds: float
    executor: str
    device: str
    dtype: str

    def check(self) -> str:
        """The device. Raises UsageError for what makes no sense or is not there."""
        if self.executor not in EXECUTORS:
            raise unknown_name("executor", self.executor, EXECUTORS)
        if self.seconds <= 0 or (self.threads is not None and self.threads < 1):
            raise UsageError("--seconds and --threads must be positive.")
        device = find_device(self.device)
        check_placement(device, self.dtype, self.executor)
        return device


@with_session("json")
def selfcheck(
    session: Session,
    only: Annotated[str | None, typer.Option(help="One part: curve, sweep or engine.")] = None,
    threads: Annotated[int | None, typer.Option(help="torch's threads; default what torch chooses.")] = None,
    seconds: Annotated[float, typer.Option(help="Time limit of each of the engine's eight measurements.")] = 60.0,
    executor: Executor = "eager",
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N; for the engine.")] = "cpu",
    dtype: Annotated[Literal["fp32", "bf16", "fp16"], typer.Option(help="For the engine.")] = "fp32",
    out: Annotated[Path | None, typer.Option(help="Write the figures as JSON.")] = None,
) -> int:
    """The harness's own speed as ratios taken in one run."""
    how = How(threads, seconds, executor, device, dtype)
    known = ("curve", "engine", "sweep")
    if only is not None and only not in known:
        raise unknown_name("part", only, known)
    device = how.check()
    progress = Progress()
    found: dict[str, Mapping[str, Any]] = {}
    for name, title, run, describe in _parts(how, device):
        if only in (None, name):
            progress.say(f"{title} ...")
            found[name] = run()
            if out is not None:
                write_json(out, found)
            if not session.json:
                print(f"{title}\n{describe(found[name])}\n", flush=True)
    if session.json:
        print_json(found)
    return OK


def _parts(how: How, device: str) -> list[tuple[str, str, Callable[[], Any], Callable[[Any], str]]]:
    from bench.inference.exits import DTYPES
    from bench.selfcheck import curve as selfbench
    from bench.selfcheck import engine as enginebench
    from bench.selfcheck import sweep as sweepbench

    return [
        (
            "curve",
            "Exact curves and bootstraps (MNLI size: 9,815 x 12)",
            selfbench.time_curves,
            selfbench.describe_curves,
        ),
        ("sweep", "A whole sweep against one plain pass", sweepbench.sweep_benchmark, sweepbench.describe),
        (
            "engine",
            "Early exit against the plain model",
            lambda: enginebench.engine_benchmark(
                threads=how.threads, seconds=how.seconds, executor=how.executor, device=device, dtype=DTYPES[how.dtype]
            ),
            enginebench.describe,
        ),
    ]

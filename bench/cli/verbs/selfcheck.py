"""`bench selfcheck`: the harness's own speed, as ratios taken in one run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from backbones.names import unknown_name
from bench.cli.display import print_json
from bench.cli.options import ExecutorName
from bench.cli.session import Session, with_session
from bench.errors import OK, UsageError
from bench.files import write_json
from bench.inference.placement import check_placement, find_device

PARTS = ("curve", "engine", "judges", "sweep")


@with_session("json")
def selfcheck(
    session: Session,
    only: Annotated[str | None, typer.Option(help="One part: curve, sweep, engine or judges.")] = None,
    threads: Annotated[int | None, typer.Option(help="torch's threads; default what torch chooses.")] = None,
    seconds: Annotated[float, typer.Option(help="Time limit of each measurement of the engine and of judges.")] = 60.0,
    executor: ExecutorName = "eager",
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N; for the engine.")] = "cpu",
    dtype: Annotated[Literal["fp32", "bf16", "fp16"], typer.Option(help="For the engine.")] = "fp32",
    out: Annotated[Path | None, typer.Option(help="Write the figures as JSON.")] = None,
) -> int:
    """The harness's own speed as ratios taken in one run."""
    if only is not None and only not in PARTS:
        raise unknown_name("part", only, PARTS)
    if seconds <= 0 or (threads is not None and threads < 1):
        raise UsageError("--seconds and --threads must be positive.")
    place = find_device(device)
    check_placement(place, dtype, executor)
    from bench.inference.exits import DTYPES
    from bench.selfcheck import curve, engine, judges, sweep

    def measure_engine() -> dict[str, Any]:
        return engine.engine_benchmark(
            threads=threads, seconds=seconds, executor=executor, device=place, dtype=DTYPES[dtype]
        )

    def measure_judges() -> dict[str, Any]:
        return judges.measure_judges(seconds=seconds, threads=threads)

    parts: list[tuple[str, str, Callable[[], Any], Callable[[Any], str]]] = [
        ("curve", "Exact curves and bootstraps (MNLI size: 9,815 x 12)", curve.time_curves, curve.describe_curves),
        ("sweep", "A whole sweep against one plain pass", sweep.sweep_benchmark, sweep.describe),
        ("engine", "Early exit against the plain model", measure_engine, engine.describe),
        ("judges", "Judging in plain numbers against tensors", measure_judges, judges.describe_judges),
    ]
    found: dict[str, Any] = {}
    for name, title, measure, describe in parts:
        if only in (None, name):
            session.progress.say(f"{title} ...")
            found[name] = measure()
            if out is not None:
                write_json(out, found)
            if not session.json:
                print(f"{title}\n{describe(found[name])}\n", flush=True)
    if session.json:
        print_json(found)
    return OK

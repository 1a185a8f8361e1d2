"""`bench selfcheck`: the harness's own speed, as ratios taken in one run; what waits for a GPU; the demo's promise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from backbones.names import make_unknown_error
from bench.cli.display import make_console, print_json
from bench.cli.session import ExecutorName, Session, split_names, split_seeds, with_session
from bench.environment import check_threads
from bench.errors import UsageError
from bench.files import write_json
from bench.inference.placement import Dtype, check_placement, find_device

MEASUREMENTS = ("curve", "engine", "exits-only", "sweep", "tables", "trainer")


@with_session("results_dir", "json")
def selfcheck(
    session: Session,
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[gpu|demo]",
            help="gpu: everything that waits for an NVIDIA card, in less than ten minutes; demo: the demo over seeds, "
            "threads and instruction sets, a minute and more each.",
        ),
    ] = None,
    only: Annotated[
        str | None, typer.Option(help="One part: curve, sweep, engine, exits-only, trainer, tables.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="torch's threads; default what torch chooses.")] = None,
    seconds: Annotated[float, typer.Option(help="Time limit of each of the engine's measurements.")] = 60.0,
    executor: ExecutorName = "eager",
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N; for the engine.")] = "cpu",
    dtype: Annotated[Dtype, typer.Option(help="For the engine: fp32, bf16, fp16 or fp64.")] = "fp32",
    out: Annotated[Path | None, typer.Option(help="Write the figures as JSON; of gpu, a folder.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Rehearse gpu on the CPU, with tiny models.")] = False,
    seed: Annotated[str, typer.Option(help="Seeds of demo, separated by commas.")] = "0,1,2",
    instructions: Annotated[
        str, typer.Option(help="Instruction sets of demo, separated by commas: sse, avx2, native.")
    ] = "sse,avx2",
) -> None:
    """Measure the harness's own speed, as ratios in one run.

    $ bench selfcheck --only curve
    $ bench selfcheck demo --seed 0
    $ bench selfcheck gpu --out gpu-check
    """
    if what == "same":  # not in the help: it is for those who doubt the clock
        check_clock(session, out)
        return
    if what == "demo":
        check_demo_runs(session, seed, instructions, out)
        return
    if what is not None or dry_run:
        check_card(session, what, out, dry_run)
        return
    if only is not None and only not in MEASUREMENTS:
        raise make_unknown_error("part", only, MEASUREMENTS)
    if seconds <= 0:
        raise UsageError(f"--seconds must be positive, not {seconds:g}.")
    check_threads(threads, "--threads")
    place = find_device(device)
    check_placement(place, dtype, executor)
    from bench.inference.exits import DTYPES
    from bench.selfcheck import engine, frozen, sweep, tables, training

    setup = engine.Setup(place, DTYPES[dtype], executor)
    say = session.progress.say
    parts: list[tuple[str, str, Callable[[], Any], Callable[[Any], str]]] = [
        ("curve", "Exact curves and bootstraps (MNLI size: 9,815 x 12)", sweep.time_curves, sweep.describe_curves),
        ("sweep", "A whole sweep against one plain pass", sweep.time_sweep, sweep.describe_sweep),
        ("engine", "Early exit against the plain model",
         lambda: engine.measure_engine(setup, say=say, seconds=seconds, threads=threads), engine.describe_engine),
        ("exits-only", "Exits fitted on kept states against joint training",
         lambda: frozen.time_exit_fits(say=say, threads=threads), frozen.describe_exit_fits),
        ("trainer", "Our trainer against a plain fine-tuning loop",
         lambda: training.time_trainer(say=say, threads=threads), training.describe_trainer),
        ("tables", "Reading hundreds of runs, copies of those in the results folder",
         lambda: tables.time_reading(session.results_dir), tables.describe_reading),
    ]  # fmt: skip
    found: dict[str, Any] = {}
    for name, title, measure, describe in parts:
        if only == name or (only is None and name != "tables"):  # which needs runs
            say(f"{title} ...")
            found[name] = measure()
            if out is not None:
                write_json(out, found)
            if not session.json:
                print(f"{title}\n{describe(found[name])}\n", flush=True)
    if session.json:
        print_json(found)


def check_card(session: Session, what: str | None, out: Path | None, dry_run: bool) -> None:
    """Measure everything that waits for an NVIDIA card, or rehearse it."""
    if what != "gpu":
        wrong = UsageError("--dry-run is of `bench selfcheck gpu`.")
        raise wrong if what is None else make_unknown_error("part", what, ["demo", "gpu"])
    if out is None:
        raise UsageError("bench selfcheck gpu keeps its parts in a folder: give it with --out.")
    device = "cpu" if dry_run else find_device("cuda")
    from bench.selfcheck.gpu import check_gpu, describe_gpu

    found = check_gpu(out, device, rehearsal=dry_run, say=session.progress.say)
    if session.json:
        print_json(found)
    else:
        print(describe_gpu(found))


def check_clock(session: Session, out: Path | None) -> None:
    """Measure the plain model against itself, 200 times, and print how often the clock's interval excludes 1."""
    from bench.selfcheck.same import check_same, describe_same

    found = check_same(session.progress.say)
    if out is not None:
        write_json(out, found.to_plain())
    if session.json:
        print_json(found.to_plain())
    else:
        make_console().print(describe_same(found))


def check_demo_runs(session: Session, seeds: str, instructions: str, out: Path | None) -> None:
    """Run the demo with every seed, number of threads and instruction set, and print what each says."""
    from bench.selfcheck.demo import INSTRUCTIONS, check_demo, describe_demo

    names = split_names(instructions, "--instructions")
    for name in names:
        if name not in INSTRUCTIONS:
            raise make_unknown_error("instruction set", name, INSTRUCTIONS)
    found = check_demo(split_seeds(seeds), names, session.progress.say)
    plain = [asdict(one) for one in found]
    if out is not None:
        write_json(out, plain)
    if session.json:
        print_json(plain)
    else:
        print(describe_demo(found))

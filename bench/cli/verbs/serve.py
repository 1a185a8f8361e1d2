"""`bench serve`: a recorded run's model under load: single stream, batches, and Poisson arrivals with a target."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.cli.display import make_console, print_json
from bench.cli.session import ExecutorName, RunName, Session, with_session
from bench.environment import check_threads
from bench.errors import UsageError
from bench.files import write_json
from bench.inference.placement import Dtype, check_placement, find_device
from bench.text import build_table


@with_session()
def serve(
    session: Session,
    run: RunName,
    points: Annotated[str, typer.Option(help="Operating points, such as 2x,no-loss.")] = "no-loss",
    target_ms: Annotated[float | None, typer.Option(help="Latency to hold; default four times the plain mean.")] = None,
    percentile: Annotated[int, typer.Option(help="Of the latency: 50, 95 or 99.")] = 99,
    queries: Annotated[
        int, typer.Option(help="Arrivals in each run; the percentile's own least number at least.")
    ] = 700,
    searches: Annotated[
        int, typer.Option(help="How often the highest rate is searched, with other arrivals each time.")
    ] = 3,
    batch_size: Annotated[int, typer.Option(help="Of the offline scenario.")] = 32,
    seconds: Annotated[float, typer.Option(help="Time limit of single stream and offline, each.")] = 20.0,
    executor: ExecutorName = "eager",
    dtype: Annotated[Dtype, typer.Option(help="Of inference: fp32, bf16, fp16 or fp64.")] = "fp32",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    energy: Annotated[float, typer.Option(help="Seconds of an energy pass for each configuration; 0: none.")] = 0.0,
    threads: Annotated[int | None, typer.Option(help="torch's threads.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write everything measured as JSON.")
    ] = None,
) -> None:
    """Put a recorded run's model under load.

    One text after another, batches, and the highest rate of random arrivals within a latency target.

    $ bench serve last --points 2x,no-loss --target-ms 20
    """
    asked = session.find_run(run).finished()
    if percentile not in (50, 95, 99):
        raise UsageError(f"--percentile must be 50, 95 or 99, not {percentile}.")
    if (
        min(queries, searches, batch_size) < 1
        or seconds <= 0
        or (target_ms is not None and target_ms <= 0)
        or energy < 0
    ):
        raise UsageError("--queries, --searches, --batch-size, --seconds and --target-ms must be positive.")
    check_threads(threads, "--threads")
    session.progress.say("Loading torch, transformers and the model.")
    from bench.analysis.serve import choose_cuts, serve_run
    from bench.latency.result import LatencyOptions
    from bench.latency.scenarios import ServingOptions

    cuts = choose_cuts(asked, points)
    where = find_device(device)
    check_placement(where, dtype, executor)
    target = None if target_ms is None else target_ms / 1e3
    load = ServingOptions(target, percentile, queries, searches=searches, energy=energy, batch_size=batch_size)
    options = LatencyOptions(samples=64, seconds=seconds, executor=executor, threads=threads)
    found = serve_run(asked, session.context(of=asked), cuts, device=where, dtype=dtype, load=load, options=options)
    if out is not None:
        write_json(out, found, compact=True)
    if session.json:
        print_json(found)
    else:
        print_scenarios(found)


def print_scenarios(found: Mapping[str, Any]) -> None:
    """Print one row a configuration, then what a reader needs to judge them."""
    serving, single, offline = found["serving"], found["single"], found["offline"]
    first = next(iter(serving.values()))
    rate = f"queries/s, p{first['percentile']} ≤ {first['target'] * 1e3:.4g} ms"
    columns = [
        "configuration",
        "single ms",
        "batched samples/s",
        rate,
        "predicted",
        "mean ms there",
        "tail there",
        "busy",
    ]
    rows = []
    for label, held in serving.items():
        batch = offline["baseline"] if label == single["baseline"] else label
        tail = [f"{at} {value * 1e3:.2f}{write_tail_interval(at, held)}" for at, value in (held["tail"] or {}).items()]
        rows.append((
            label,
            f"{single['summary'][label]['mean'] * 1e3:.2f}",
            f"{offline['summary'][batch]['samples_per_second']:.0f}",
            write_rate(held),
            write_rate(held["predicted"]),
            "-" if held["mean"] is None else f"{held['mean'] * 1e3:.2f}",
            ", ".join(tail) or "-",
            "-" if held["busy"] is None else f"{held['busy']:.0%}",
        ))  # fmt: skip
    out = make_console()
    out.print(build_table(f"{found['run']}: {found['split']}", columns, rows, right=columns[1:]))
    out.print("\n".join(describe_judgement(found)))


def write_rate(held: Mapping[str, Any]) -> str:
    """Return ``41.2 [38.0, 44.6]``: a rate, with the interval over searches where there are several."""
    if held["rate"] is None:
        return "none"
    interval = "" if held["rate_low"] is None else f" [{held['rate_low']:.1f}, {held['rate_high']:.1f}]"
    return f"{held['rate']:.1f}{interval}"


def write_tail_interval(name: str, held: Mapping[str, Any]) -> str:
    """Return the interval of the percentile that is held, in milliseconds; nothing for others."""
    if name != f"p{held['percentile']}" or held["tail_low"] is None:
        return ""
    return f" [{held['tail_low'] * 1e3:.2f}, {held['tail_high'] * 1e3:.2f}]"


def describe_judgement(found: Mapping[str, Any]) -> list[str]:
    """Return what is doubted of the run, executor and machine, what made a part invalid, and the energy or why none."""
    single = found["single"]
    lines = [f"{doubt['said']}." for doubt in found["doubts"]]
    lines += [
        f"{single['options']['executor']}, {single['device']}, {single['dtype']}, {single['threads']} threads; queries "
        "arrive at random (Poisson) and are answered one after another; latency is from arrival to answer. Brackets: "
        "95 % over searches with other arrivals; the tail is that of further ones at that rate. Predicted: the same "
        "arrivals at a server with the times of the depth table."
    ]
    for label, figures in single["summary"].items():
        timer, samples = figures["timer"], figures["sampling"]
        if timer is not None:
            clock = f"{timer['estimate']:.2f}x [{timer['low']:.2f}, {timer['high']:.2f}] over rounds"
            stands = f"[{samples['low']:.2f}, {samples['high']:.2f}] over samples"
            lines.append(f"Single stream, {label}: {clock}, {stands}.")
    for part in ("single", "offline", "depth"):
        if found[part]["reasons"]:
            lines.append(f"{part} is INVALID: " + "; ".join(found[part]["reasons"]) + ".")
        lines += [f"{part}: {note}." for note in found[part].get("notes", ())]
    if found["serving_reasons"]:
        lines.append("serving is INVALID: " + "; ".join(found["serving_reasons"]) + ".")
    for label, energy in found["energy"].items():
        known = energy["joules"] is not None and math.isfinite(energy["joules"])
        lines.append(f"Energy, {label}: " + (f"{energy['joules']:.4g} J a sample." if known else energy["note"] + "."))
    return lines

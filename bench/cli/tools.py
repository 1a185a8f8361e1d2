"""The verbs that look into runs, judge them and the machine; as short as those in `app.py`, and as light."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from bench.cli.options import HubRoot, Json, Offline, Quiet, ResultsDir

EXECUTOR_HELP = "eager, compile; on a GPU graph, conditional."

tools = typer.Typer()


@tools.command()
def explain(
    run: Annotated[str, typer.Argument(help="RUN: folder, name, key or 'last'.")],
    text: Annotated[str | None, typer.Option(help="Explain this text.")] = None,
    second: Annotated[str | None, typer.Option(help="The second text, for tasks with two.")] = None,
    sample: Annotated[str | None, typer.Option(help="Explain the sample with this id.")] = None,
    cases: Annotated[bool, typer.Option("--cases", help="Find simple and overthinking samples.")] = False,
    point: Annotated[str | None, typer.Option(help="Operating point, such as 2x; default no-loss.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page.")] = None,
    png: Annotated[Path | None, typer.Option(help="Write a picture.")] = None,
    results_dir: ResultsDir = Path("results"),
    hub_root: HubRoot = None,
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """One input, exit by exit: probabilities, the criterion's state, attention; or a run's typical cases."""
    from bench.cli.verbs.explain import explain_run

    return explain_run(
        run, text=text, second=second, sample=sample, cases=cases, point=point, html=html, png=png,
        results_dir=results_dir, hub_root=hub_root, offline=offline, json=json, quiet=quiet,
    )  # fmt: skip


@tools.command()
def diagnose(
    run: Annotated[str, typer.Argument(help="RUN: folder, name, key or 'last'.")],
    point: Annotated[
        str | None, typer.Option(help="Operating points, separated by commas; default no-loss and 2x.")
    ] = None,
    on: Annotated[str | None, typer.Option(help="Read another task's texts too: its name, or a folder.")] = None,
    stored: Annotated[
        bool, typer.Option("--stored", help="Only what the stored exits tell: no model, no texts changed.")
    ] = False,
    limit: Annotated[int, typer.Option(help="Texts to change, and to read of the other task, at most.")] = 200,
    edits: Annotated[int, typer.Option(help="Changes of words in each text.")] = 3,
    candidates: Annotated[int, typer.Option(help="Changes to choose from, in the targeted case.")] = 8,
    seed: Annotated[int, typer.Option(help="Seed of the changes.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for JSON, CSV and the figure of the shift.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the tables to this file too.")] = None,
    results_dir: ResultsDir = Path("results"),
    hub_root: HubRoot = None,
    offline: Offline = False,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Do a run's exits know when they are right, can small changes slow it down, what happens on other texts?"""
    from bench.cli.verbs.diagnose import Asked, diagnose_run

    return diagnose_run(
        Asked(run, point, on, stored, limit, edits, candidates, seed), out=out, markdown=markdown,
        results_dir=results_dir, hub_root=hub_root, offline=offline, json=json, quiet=quiet,
    )  # fmt: skip


@tools.command()
def serve(
    run: Annotated[str, typer.Argument(help="RUN: folder, name, key or 'last'.")],
    points: Annotated[str, typer.Option(help="Operating points, such as 2x,no-loss.")] = "no-loss",
    target_ms: Annotated[float | None, typer.Option(help="Latency to hold; default four times the plain mean.")] = None,
    percentile: Annotated[int, typer.Option(help="Of the latency: 50, 95 or 99.")] = 99,
    queries: Annotated[
        int, typer.Option(help="Arrivals in each run; the percentile's own least number at least.")
    ] = 700,
    batch_size: Annotated[int, typer.Option(help="Of the offline scenario.")] = 32,
    seconds: Annotated[float, typer.Option(help="Time limit of single stream and offline, each.")] = 20.0,
    executor: Annotated[str, typer.Option(help=EXECUTOR_HELP)] = "eager",
    dtype: Annotated[str, typer.Option(help="fp32, bf16 or fp16.")] = "fp32",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    energy: Annotated[float, typer.Option(help="Seconds of an energy pass for each configuration; 0: none.")] = 0.0,
    threads: Annotated[int | None, typer.Option(help="torch's threads.")] = None,
    results_dir: ResultsDir = Path("results"),
    hub_root: HubRoot = None,
    offline: Offline = False,
    out: Annotated[Path | None, typer.Option(help="Write everything measured as JSON.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """A run under load: single stream, batches, and the highest rate of random arrivals within a latency target."""
    from bench.cli.verbs.serve import serve_run

    return serve_run(
        run, points=points, target_ms=target_ms, percentile=percentile, queries=queries, batch_size=batch_size,
        seconds=seconds, executor=executor, dtype=dtype, device=device, energy=energy, threads=threads,
        results_dir=results_dir, hub_root=hub_root, offline=offline, out=out, json=json, quiet=quiet,
    )  # fmt: skip


@tools.command()
def doctor(hub_root: HubRoot = None, results_dir: ResultsDir = Path("results"), json: Json = False) -> int:
    """What this machine has, which packages and hub access, and what would go wrong."""
    from bench.cli.verbs.doctor import diagnose

    return diagnose(hub_root, results_dir, json)


@tools.command("bench-engine")
def bench_engine(
    json: Json = False,
    only: Annotated[str | None, typer.Option(help="One part: curve, sweep or engine.")] = None,
    threads: Annotated[int | None, typer.Option(help="torch's threads; default what torch chooses.")] = None,
    seconds: Annotated[float, typer.Option(help="Time limit of each of the engine's eight measurements.")] = 60.0,
    executor: Annotated[str, typer.Option(help=EXECUTOR_HELP)] = "eager",
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N; for the engine.")] = "cpu",
    dtype: Annotated[Literal["fp32", "bf16", "fp16"], typer.Option(help="For the engine.")] = "fp32",
    out: Annotated[Path | None, typer.Option(help="Write the figures as JSON.")] = None,
) -> int:
    """The harness's own speed as ratios taken in one run."""
    from bench.cli.verbs.engine import How, run_benchmarks

    return run_benchmarks(only, json, out, How(threads, seconds, executor, device, dtype))


@tools.command()
def compare(
    base: Annotated[str, typer.Argument(help="Results folder, run's folder, or git revision (REV:results).")],
    candidate: Annotated[str, typer.Argument(help="The same for what is judged.")],
    fail_on: Annotated[
        str, typer.Option(help="Verdicts for exit code 3: worse,inconclusive,not-comparable; or none.")
    ] = "worse",
    across: Annotated[str, typer.Option(help="Settings that may differ, such as dtype,seed,train.")] = "",
    margin: Annotated[float, typer.Option(help="Quality differences up to so many points are no regression.")] = 0.5,
    cost_margin: Annotated[float, typer.Option(help="The same for FLOPs at operating points, in percent.")] = 1.0,
    latency_factor: Annotated[float, typer.Option(help="The same for latency, in percent.")] = 5.0,
    markdown: Annotated[Path | None, typer.Option(help="Append a Markdown report, as for a job summary.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML.")] = None,
    tracker: Annotated[
        Path | None, typer.Option(help="Write the candidate's quality and speed-ups as customBiggerIsBetter JSON.")
    ] = None,
    tracker_costs: Annotated[
        Path | None, typer.Option(help="Write its FLOPs and latency as customSmallerIsBetter JSON.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Show what is the same too.")] = False,
    json: Json = False,
) -> int:
    """What got better, worse or stayed the same; exit code 3 for a regression, 4 where nothing compares."""
    from bench.cli.verbs.compare import compare_results

    return compare_results(
        base, candidate, fail_on=fail_on, across=across, margin=margin, cost_margin=cost_margin,
        latency_factor=latency_factor, markdown=markdown, junit=junit, tracker=tracker, tracker_costs=tracker_costs,
        everything=everything, json=json,
    )  # fmt: skip


@tools.command()
def simulate(
    scale: Annotated[float, typer.Option(help="Multiplies the numbers of experiments; 1 takes a minute or two.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of all experiments.")] = 0,
    json: Json = False,
) -> int:
    """Do intervals cover, tests not cry wolf, certified thresholds keep their risk? Worlds with a known truth."""
    from bench.cli.verbs.simulate import print_simulation

    return print_simulation(scale, seed, json)


@tools.command()
def gate(
    accept: Annotated[bool, typer.Option("--accept", help="Rewrite the baseline and say what moved.")] = False,
    baseline: Annotated[Path, typer.Option(help="Where the baseline is.")] = Path("results/baseline"),
    rules_only: Annotated[
        bool, typer.Option("--rules-only", help="Rules and FLOPs on stored logits only: seconds, no training.")
    ] = False,
    work_dir: Annotated[Path | None, typer.Option(help="Keep the runs here, to go on after an interruption.")] = None,
    fail_on: Annotated[str, typer.Option(help="Verdicts for exit code 3.")] = "worse,not-comparable",
    markdown: Annotated[Path | None, typer.Option(help="Append a Markdown report.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Show what is the same too.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Small seeded runs of every strategy against the committed baseline; exit code 3 where something moved."""
    from bench.cli.verbs.gate import run_gate

    return run_gate(
        baseline_dir=baseline, accept=accept, rules_only=rules_only, work_dir=work_dir, fail_on=fail_on,
        markdown=markdown, junit=junit, everything=everything, json=json, quiet=quiet,
    )  # fmt: skip


@tools.command()
def history(
    results_dir: ResultsDir = Path("results"),
    record: Annotated[bool, typer.Option("--record", help="First add the results that are there.")] = False,
    revisions: Annotated[int, typer.Option(help="First add the results of so many past commits.")] = 0,
    svg: Annotated[Path | None, typer.Option(help="Draw it as SVG.")] = None,
    json: Json = False,
) -> int:
    """Results over commits, with the steps they took; kept in history.jsonl, which only grows."""
    from bench.cli.verbs.history import show_history

    return show_history(results_dir, record=record, revisions=revisions, svg=svg, json=json)

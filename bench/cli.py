"""The command line: one short function per verb. Imports neither torch nor transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from bench.errors import OK, USAGE

app = typer.Typer(
    name="bench",
    help="Early exit in encoder transformers, measured side by side: accuracy, FLOPs and honest latency.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of tables.")]
ResultsDir = Annotated[Path, typer.Option(help="Where results are kept.")]
HubRoot = Annotated[Path | None, typer.Option(help="Local mirror with datasets/ and models/ (or EXITBENCH_HUB).")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="key=value: the criterion's arguments, or backbone., head., recipe., train., latency. ones."
    ),
]


@app.command()
def run(
    strategy: Annotated[str | None, typer.Option(help="Strategies, separated by commas.")] = None,
    task: Annotated[
        str | None, typer.Option(help="Tasks, separated by commas: names, or a folder with your own files.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A sweep in YAML instead of strategies and tasks.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would run, and what it would take.")
    ] = False,
    engine: Annotated[str, typer.Option(help="local, ray, or ray:ADDRESS.")] = "local",
    workers: Annotated[int | None, typer.Option(help="Cells at once; default by GPUs, else by cores.")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads of each untimed cell.")] = None,
    sync: Annotated[str | None, typer.Option(help="Copy finished cells to this URL (s3://...), and from it.")] = None,
    backbone: Annotated[str | None, typer.Option(help="A name, a hub id or a local folder.")] = None,
    recipe: Annotated[str | None, typer.Option(help="Train with another recipe than the strategy's own.")] = None,
    head: Annotated[str | None, typer.Option(help="Use another head than the strategy's own.")] = None,
    init: Annotated[Literal["pretrained", "scratch"] | None, typer.Option(help="Weights of the backbone.")] = None,
    seed: Annotated[str, typer.Option(help="Seeds, separated by commas.")] = "0",
    settings: Settings = None,
    preset: Annotated[str | None, typer.Option(help="'paper': the published hyper-parameters.")] = None,
    thresholds: Annotated[str, typer.Option(help="auto, or thresholds separated by commas.")] = "auto",
    select: Annotated[
        list[str] | None,
        typer.Option(help="One more point: max_loss=0.01, speedup=2, budget=0.5, risk=0.02@0.95, gap=0.01@0.95."),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Use at most this many samples of each split.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    dtype: Annotated[Literal["fp32", "bf16", "fp16", "fp64"], typer.Option(help="Precision of inference.")] = "fp32",
    latency: Annotated[bool, typer.Option(help="Measure wall-clock time.")] = True,
    results_dir: ResultsDir = Path("results"),
    hub_root: HubRoot = None,
    offline: Annotated[bool, typer.Option(help="Never use the network.")] = False,
    overwrite: Annotated[
        Literal["missing", "always", "never"], typer.Option(help="When a result is already there.")
    ] = "missing",
    json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress on stderr.")] = False,
) -> int:
    """Train (or reuse), measure and record strategies on tasks; ends with the table of operating points."""
    from bench.commands.run import run_cells

    return run_cells(
        config=config,
        dry_run=dry_run,
        engine=engine,
        workers=workers,
        threads=threads,
        sync=sync,
        strategies=strategy,
        tasks=task,
        seeds=seed,
        settings=settings or [],
        thresholds=thresholds,
        select=tuple(select or ()),
        backbone=backbone,
        recipe=recipe,
        head=head,
        init=init,
        preset=preset,
        limit=limit,
        device=device,
        dtype=dtype,
        latency=latency,
        results_dir=results_dir,
        hub_root=hub_root,
        offline=offline,
        overwrite=overwrite,
        json=json,
        quiet=quiet,
    )


@app.command()
def replay(
    logits: Annotated[
        Path, typer.Argument(help=".npz with logits (samples, exits, classes), labels, ids, observed; or .parquet.")
    ],
    strategy: Annotated[str, typer.Option(help="The strategy whose criterion decides.")],
    threshold: Annotated[float | None, typer.Option(help="Show this threshold's decisions too.")] = None,
    settings: Settings = None,
    metric: Annotated[
        str | None, typer.Option(help="Metrics, separated by commas; default accuracy or pearson.")
    ] = None,
    fit_on: Annotated[
        Path | None, typer.Option(help="Held-out logits with labels, for criteria that are fitted.")
    ] = None,
    json: Json = False,
) -> int:
    """Decisions and trade-off curve of a criterion on anybody's recorded logits."""
    from bench.commands.replay import replay_file

    return replay_file(logits, strategy, threshold, settings or [], metric, json, fit_on)


@app.command()
def show(
    what: Annotated[list[str], typer.Argument(help="RUN (folder, name, key or 'last'), or 'strategy NAME'.")],
    results_dir: ResultsDir = Path("results"),
    json: Json = False,
) -> int:
    """One recorded run, or everything about a strategy."""
    from bench.commands.show import show_run, show_strategy

    if what[0] == "strategy" and len(what) == 2:
        return show_strategy(what[1], json)
    if len(what) == 1:
        return show_run(what[0], results_dir, json)
    typer.echo("Error: bench show takes a run, or 'strategy NAME'.", err=True)
    return USAGE


@app.command("list")
def list_(
    kind: Annotated[str, typer.Argument(help="strategies, heads, recipes, backbones, tasks or runs.")],
    results_dir: ResultsDir = Path("results"),
    json: Json = False,
) -> int:
    """What there is, a line each."""
    from bench.commands.listing import list_kind

    list_kind(kind, results_dir, json)
    return OK


@app.command()
def report(
    results_dir: ResultsDir = Path("results"),
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("reports"),
    formats: Annotated[
        str, typer.Option("--format", help="html, md, latex, csv, figures; separated by commas.")
    ] = "html,md,latex,csv,figures",
    json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress on stderr.")] = False,
) -> int:
    """The recorded results as one HTML page, tables and figures; reads the store only."""
    from bench.commands.report import report_results

    return report_results(results_dir, out, formats, json, quiet)


@app.command()
def table(
    task: Annotated[str | None, typer.Option(help="Only these tasks, separated by commas.")] = None,
    backbone: Annotated[str | None, typer.Option(help="Only these backbones, separated by commas.")] = None,
    at: Annotated[
        str, typer.Option(help="Operating points to show, separated by commas.")
    ] = "default,no-loss,1.5x,2x,3x",
    results_dir: ResultsDir = Path("results"),
    markdown: Annotated[Path | None, typer.Option(help="Write the table to this file too.")] = None,
    json: Json = False,
) -> int:
    """Recorded runs side by side at matched cost."""
    from bench.commands.table import compare_cells

    return compare_cells(results_dir, task, backbone, at, markdown, json)


@app.command()
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
    offline: Annotated[bool, typer.Option(help="Never use the network.")] = False,
    json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress on stderr.")] = False,
) -> int:
    """One input, exit by exit: probabilities, the criterion's state, attention; or a run's typical cases."""
    from bench.commands.explain import explain_run

    return explain_run(
        run, text=text, second=second, sample=sample, cases=cases, point=point, html=html, png=png,
        results_dir=results_dir, hub_root=hub_root, offline=offline, json=json, quiet=quiet,
    )  # fmt: skip


@app.command()
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
    offline: Annotated[bool, typer.Option(help="Never use the network.")] = False,
    json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress on stderr.")] = False,
) -> int:
    """Do a run's exits know when they are right, can small changes slow it down, what happens on other texts?"""
    from bench.commands.diagnose import Asked, diagnose_run

    return diagnose_run(
        Asked(run, point, on, stored, limit, edits, candidates, seed), out=out, markdown=markdown,
        results_dir=results_dir, hub_root=hub_root, offline=offline, json=json, quiet=quiet,
    )  # fmt: skip


@app.command()
def doctor(hub_root: HubRoot = None, results_dir: ResultsDir = Path("results"), json: Json = False) -> int:
    """What this machine has, which packages and hub access, and what would go wrong."""
    from bench.commands.doctor import diagnose

    return diagnose(hub_root, results_dir, json)


@app.command("bench-engine")
def bench_engine(
    json: Json = False,
    only: Annotated[str | None, typer.Option(help="One part: curve, sweep or engine.")] = None,
    threads: Annotated[int | None, typer.Option(help="torch's threads; default what torch chooses.")] = None,
    seconds: Annotated[float, typer.Option(help="Time limit of each of the engine's eight measurements.")] = 60.0,
) -> int:
    """The harness's own speed as ratios taken in one run."""
    from bench.commands.engine import run_benchmarks

    return run_benchmarks(only, json, threads, seconds)


@app.command()
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
    from bench.commands.compare import compare_results

    return compare_results(
        base, candidate, fail_on=fail_on, across=across, margin=margin, cost_margin=cost_margin,
        latency_factor=latency_factor, markdown=markdown, junit=junit, tracker=tracker, tracker_costs=tracker_costs,
        everything=everything, json=json,
    )  # fmt: skip


@app.command()
def simulate(
    scale: Annotated[float, typer.Option(help="Multiplies the numbers of experiments; 1 takes a minute or two.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of all experiments.")] = 0,
    json: Json = False,
) -> int:
    """Do intervals cover, tests not cry wolf, certified thresholds keep their risk? Worlds with a known truth."""
    from bench.commands.simulate import print_simulation

    return print_simulation(scale, seed, json)


@app.command()
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
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress on stderr.")] = False,
) -> int:
    """Small seeded runs of every strategy against the committed baseline; exit code 3 where something moved."""
    from bench.commands.gate import run_gate

    return run_gate(
        baseline_dir=baseline, accept=accept, rules_only=rules_only, work_dir=work_dir, fail_on=fail_on,
        markdown=markdown, junit=junit, everything=everything, json=json, quiet=quiet,
    )  # fmt: skip


@app.command()
def history(
    results_dir: ResultsDir = Path("results"),
    record: Annotated[bool, typer.Option("--record", help="First add the results that are there.")] = False,
    revisions: Annotated[int, typer.Option(help="First add the results of so many past commits.")] = 0,
    svg: Annotated[Path | None, typer.Option(help="Draw it as SVG.")] = None,
    json: Json = False,
) -> int:
    """Results over commits, with the steps they took; kept in history.jsonl, which only grows."""
    from bench.commands.history import show_history

    return show_history(results_dir, record=record, revisions=revisions, svg=svg, json=json)


@app.command()
def reproduce(
    paper: Annotated[str, typer.Argument(help="A paper: `bench list papers`.")],
    scale: Annotated[Literal["full", "small"], typer.Option(help="The paper's own runs, or scaled down.")] = "full",
    plan: Annotated[bool, typer.Option("--plan", help="Only print the plan.")] = False,
    seed: Annotated[str | None, typer.Option(help="Other seeds than the plan's, separated by commas.")] = None,
    results_dir: ResultsDir = Path("results"),
    hub_root: HubRoot = None,
    offline: Annotated[bool, typer.Option(help="Never use the network.")] = False,
    markdown: Annotated[Path | None, typer.Option(help="Write the claims to this file too.")] = None,
    json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress on stderr.")] = False,
) -> int:
    """Published claims, each with ours, an interval and a verdict; what is missing is run first."""
    from bench.commands.reproduce import reproduce_paper

    return reproduce_paper(
        paper, scale=scale, plan_only=plan, seeds=seed, results_dir=results_dir, hub_root=hub_root, offline=offline,
        markdown=markdown, json=json, quiet=quiet,
    )  # fmt: skip


@app.callback(invoke_without_command=True)
def main(version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False) -> None:
    """Early exit in encoder transformers, measured side by side."""
    if version:
        from bench import __version__

        typer.echo(__version__)
        raise typer.Exit(OK)

"""How near the engine comes to its limit: latency speed-up over FLOPs speed-up, in one run, with spread.

Exits are prescribed, so that the FLOPs speed-up is known; real criteria are executed and overruled at every exit, so
that their cost is real. Weights are random: how long a matrix product takes does not depend on what is in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain, cycle, islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AlbertConfig, BertConfig

from backbones import ENCODERS
from backbones.base import Batch
from bench.inference.executors import Executor, make_executor
from bench.latency import OFFLINE_BATCH
from bench.latency.depth import measure_depth_table
from bench.latency.machine import compute_share_of_others, read_machine
from bench.latency.queries import PlainCall, make_baselines, make_exit_query, measure_interleaved, number_samples
from bench.latency.result import LatencyOptions
from bench.latency.rounds import Query
from bench.measure.cost import CostModel
from bench.measure.scores import score_exits
from bench.measure.stats import Interval
from bench.selfcheck.tapes import record_tapes
from bench.selfcheck.tiny import make_random_batch
from strategies.base import Criterion, ExitModel
from strategies.controls import ForcedExits
from strategies.elbert import LabelWindow, MonotoneWindow, SharedHead
from strategies.entropy import LinearHead, NormalisedEntropy

CLASSES = 2
HeadType = type[SharedHead] | type[LinearHead]


@dataclass(frozen=True)
class Setup:
    """Where models run and how: torch's device, number format, executor.

    ``rehearsal`` plays the CUDA graphs of the executors that record them as tapes, on any device.
    """

    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    executor: str = "eager"
    rehearsal: bool = False

    def make_executor(self, model: ExitModel) -> Executor:
        """Make the executor on ``model``."""
        if not self.rehearsal:
            return make_executor(model, self.executor)
        record, program = record_tapes(model)
        return make_executor(model, self.executor, record=record, program=program, backend="eager")

    def make_baselines(self, model: ExitModel) -> dict[str, PlainCall]:
        """Make the plain models to stand against, all but the compiled one, whose compilation takes too long here."""
        made = make_baselines(model, self.make_executor(model))
        return {name: call for name, call in made.items() if name != "plain-compile" or self.executor == "compile"}


CPU = Setup()

TIMED_CRITERIA: Mapping[str, tuple[Criterion, HeadType]] = {
    "elbert-mono": (MonotoneWindow(window=8), SharedHead),
    "entropy": (NormalisedEntropy(), LinearHead),
}
"""The criteria and heads whose cost is paid: the costliest and the cheapest of the common ones."""

SIZES: Mapping[str, BertConfig | AlbertConfig] = {
    "tiny": BertConfig(hidden_size=32, num_attention_heads=4, intermediate_size=64, num_hidden_layers=4),
    "bert-base": BertConfig(),
    "albert-base": AlbertConfig(hidden_size=768, num_attention_heads=12, intermediate_size=3072, num_hidden_layers=12),
    "bert 6x384": BertConfig(hidden_size=384, num_attention_heads=12, intermediate_size=1536, num_hidden_layers=6),
}
"""The models by name: one for rehearsals, two of the field's, and where all but matrix products weighs most."""

TIMED_SIZES = ("bert-base", "albert-base", "bert 6x384")
"""Those that figures are of."""

TOKENS = 64
"""Length of the samples at batch 1."""


def build_sized_model(size: str, setup: Setup = CPU, head: HeadType = SharedHead) -> ExitModel:
    """Build a model of one of :data:`SIZES` with random weights, which time like trained ones."""
    torch.manual_seed(0)
    kind = ENCODERS.load(SIZES[size].model_type)
    encoder = kind(kind.stock(SIZES[size]))
    return ExitModel(encoder, head(encoder, CLASSES)).to(device=setup.device, dtype=setup.dtype).eval()


def measure_engine(
    setup: Setup,
    *,
    say: Callable[[str], None],
    sizes: Sequence[str] = TIMED_SIZES,
    batch_sizes: Sequence[str] = ("bert-base", "bert 6x384"),
    predictions: bool = True,
    seconds: float = 60.0,
    threads: int | None = None,
) -> dict[str, Any]:
    """Measure realisation at batch 1 (``sizes``) and batch 32 (``batch_sizes``), and prediction against measurement.

    ``seconds`` is the time limit of each of the runs; ``say`` is told which begins.
    Returns plain data: ``ratios`` (:func:`measure_ratios`), ``predictions``, ``machine``, for :func:`describe_engine`.
    """
    options = LatencyOptions(samples=8, seconds=seconds, threads=threads, executor=setup.executor, streak=4)
    gpu = (torch.device(setup.device).index or 0) if setup.device.startswith("cuda") else None
    before = read_machine(gpu)
    ratios = []
    for size, batch in [*((size, 1) for size in sizes), *((size, 32) for size in batch_sizes)]:
        say(f"{size}, batch {batch}")
        ratios += measure_ratios(size, build_sized_model(size, setup), batch, options, setup)
    tested: dict[str, Any] = {}
    if predictions:
        say("prediction against measurement")
        tested = check_predictions(options, setup)
    after = read_machine(gpu)
    share = compute_share_of_others(before, after)
    used = "" if share is None else f", other processes used {share:.0%} of them"
    return {
        "device": setup.device,
        "dtype": str(setup.dtype).removeprefix("torch."),
        "executor": setup.executor,
        "clock": "perf_counter_ns",
        "threads": threads or torch.get_num_threads(),
        "tokens": TOKENS,
        "ratios": ratios,
        "predictions": tested,
        "machine": f"{after.cores} cores{used}" + ("" if after.gpu is None else f"; {after.gpu.name}"),
    }


def measure_ratios(
    size: str, model: ExitModel, batch: int, options: LatencyOptions, setup: Setup = CPU, tokens: int = TOKENS
) -> list[dict[str, Any]]:
    """Measure prescribed exits with the checks of each criterion, interleaved with the plain models in one run.

    Batch 1: exits spread around L/2, and a sample that looks at every exit and never leaves. Larger ones: lengths from
    8 to 64 tokens and exits from 1 to L at random, and a batch that never leaves. Each figure is plain data:
    ``latency`` the speed-up on the clock, ``flops`` the analytic one, ``realisation`` their quotient, each interval the
    clock's 95 % over rounds, by ``protocol``; ``against`` the faster plain model; ``over_stock`` the latency divided by
    stock transformers' own, minus one; ``milliseconds`` by the host's clock and by the device's events.
    """
    random, last = np.random.default_rng(0), model.num_layers
    if batch == 1:
        lengths = [[tokens]] * options.samples
        around = cycle(max(1, last // 2 + step) for step in (-2, 2, -1, 1, 0, 0))
        scripts = {"exit L/2": list(islice(around, options.samples))}
    else:
        lengths = [random.integers(8, 65, size=batch).tolist()]
        scripts = {"mixed": random.integers(1, last + 1, size=batch).tolist()}
        options = replace(options, protocol=OFFLINE_BATCH, samples=1)
    every_length = np.array(list(chain.from_iterable(lengths)))
    scripts["never"] = [last + 1] * len(every_length)
    batches = [make_random_batch(part, i) for i, part in enumerate(lengths)]
    parameter, keys = next(model.parameters()), number_samples(batches)
    queries: dict[str, Query] = {}
    flops: dict[str, float] = {}
    for check, (criterion, head) in TIMED_CRITERIA.items():
        checked = ExitModel(model.encoder, head(model.encoder, CLASSES)).to(parameter.device, parameter.dtype).eval()
        executor, cost = setup.make_executor(checked), CostModel(model.encoder, checked.head, criterion)
        table, plain = cost.flops_table(every_length), cost.plain(every_length)
        for what, script in scripts.items():
            spent = table[np.arange(len(script)), np.minimum(script, last) - 1]
            flops[f"{what}, {check}"] = float(plain.sum() / spent.sum())
            queries[f"{what}, {check}"] = make_forced_query(executor, criterion, script, batches, keys)
    baselines, executor = setup.make_baselines(model), setup.make_executor(model)
    result = measure_interleaved(model, {}, batches, options, baselines=baselines, executor=executor, extra=queries)
    ratios = []
    for what, limit in flops.items():
        latency, summary = result.ratio(result.baseline, what).estimate_mean(), result.summary(what)
        ratios.append({
            "size": size,
            "batch": batch,
            "what": what,
            "against": result.baseline,
            "latency": asdict(latency),
            "flops": limit,
            "realisation": asdict(Interval(latency.estimate / limit, latency.low / limit, latency.high / limit)),
            "over_stock": 1 / result.ratio("stock", what).estimate_mean().estimate - 1,
            "milliseconds": summary.mean * 1e3,
            "device_milliseconds": None if summary.device_mean is None else summary.device_mean * 1e3,
            "protocol": result.protocol,
            "rounds": len(result.rounds),
            "stop": result.stop,
            "reasons": result.reasons,
        })  # fmt: skip
    return ratios


def make_forced_query(
    executor: Executor, criterion: Criterion, script: Sequence[int], batches: Sequence[Batch], keys: Sequence[Tensor]
) -> Query:
    """Return what answers query i with ``criterion`` asked and overruled: sample ``key`` leaves at ``script[key]``.

    A batch of one sample leaves where the threshold says, so that the criterion may estimate as it does by itself.
    """
    if any(len(batch) > 1 for batch in batches):
        return make_exit_query(executor, ForcedExits(criterion, script), 0.5, batches, keys)
    forced = ForcedExits(criterion)
    exits = {layer: make_exit_query(executor, forced, forced.cut(layer), batches, keys) for layer in set(script)}
    return lambda i: exits[script[i]](i)


def check_predictions(options: LatencyOptions, setup: Setup) -> dict[str, Any]:
    """Predict and measure three strategies, each at a threshold at which samples leave at different depths."""
    lengths = np.random.default_rng(0).integers(8, 65, size=options.samples).tolist()
    batches = [make_random_batch([tokens], i) for i, tokens in enumerate(lengths)]
    criteria: dict[str, tuple[Criterion, HeadType]] = {
        "entropy": (NormalisedEntropy(), LinearHead),
        "elbert-mono": (MonotoneWindow(window=3), SharedHead),
        "elbert-label": (LabelWindow(window=4), SharedHead),
    }
    found = {}
    for name, (criterion, head) in criteria.items():
        model = build_sized_model("bert 6x384", setup, head)
        cuts = {name: choose_middle_cut(model, criterion, batches)}
        table = measure_depth_table(model, criterion, cuts, batches, options, make=setup.make_executor)
        found[name] = {
            **table.points[name],
            "mean_layer": table.result.summary(name).mean_layer,
            "valid": table.result.valid,
            "checks_ms": (table.checks.mean(axis=1) * 1e3).tolist(),
        }
    return found


@torch.inference_mode()
def choose_middle_cut(model: ExitModel, criterion: Criterion, batches: Sequence[Batch]) -> float:
    """Return a cut in the middle of the scores that occur, so that about half of the exits are open."""
    device = next(model.parameters()).device
    logits = torch.cat([torch.stack(model(batch.to(device)), dim=1) for batch in batches]).float().cpu()
    scores = score_exits(criterion, logits).astype(np.float64)
    finite = scores[np.isfinite(scores)]
    return float(np.quantile(finite, 0.3)) if len(finite) else 0.0


def format_ratio(found: Mapping[str, float]) -> str:
    """Return an interval's estimate and bounds for people."""
    return f"{found['estimate']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def describe_engine(result: Mapping[str, Any]) -> str:
    """Return the benchmark as lines for people."""
    lines = [
        f"executor {result['executor']}, clock {result['clock']}, {result['device']}, {result['dtype']}, "
        f"{result['threads']} threads, {result['tokens']} tokens; {result['machine']}",
        f"{'size':<12}{'batch':>6}  {'what':<21}{'latency':>8}{'FLOPs':>8}  {'realisation (95 %)':<24}"
        f"{'vs stock':>9}{'ms':>9}  stop",
    ]
    for ratio in result["ratios"]:
        lines.append(
            f"{ratio['size']:<12}{ratio['batch']:>6}  {ratio['what']:<21}{ratio['latency']['estimate']:>7.3f}x"
            f"{ratio['flops']:>7.3f}x  {format_ratio(ratio['realisation'])}{'':<3}"
            f"{ratio['over_stock']:>+8.1%}{ratio['milliseconds']:>9.2f}  {ratio['stop']}, "
            f"{ratio['rounds']} rounds" + (f"; INVALID: {'; '.join(ratio['reasons'])}" if ratio["reasons"] else "")
        )
    for name, point in result["predictions"].items():
        lines.append(
            f"predicted {name:<14} {point['predicted'] * 1e3:7.2f} ms, measured {point['measured'] * 1e3:7.2f} ms, "
            f"measured / predicted {format_ratio(point['ratio'])}, "
            f"mean exit {point['mean_layer']:.1f}" + ("" if point["valid"] else "; INVALID")
        )
    return "\n".join(lines)

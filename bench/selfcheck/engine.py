"""How near the engine comes to its limit: latency speed-up over FLOPs speed-up, in one run, with spread.

Exits are prescribed, so that the FLOPs speed-up is known; real criteria are executed and overruled at every exit, so
that their cost is real. Weights are random: how long a matrix product takes does not depend on what is in it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AlbertConfig, AlbertModel, BertConfig, BertModel

from backbones.albert import AlbertEncoder
from backbones.base import Batch, LayeredEncoder
from backbones.bert import BertEncoder
from bench.inference.executors import Executor, make_executor
from bench.latency.depth import measure_depth_table
from bench.latency.machine import MachineState, find_share_of_others, read_machine
from bench.latency.queries import PlainCall, make_baselines, make_exit_query, measure_interleaved, number_samples
from bench.latency.result import LatencyOptions, LatencyResult
from bench.latency.run import Clock, Query
from bench.measure.cost import CostModel
from bench.measure.stats import Interval, paired_ratio
from bench.selfcheck.tapes import HostProgram, HostSegment, TapeProgram, TapeSegment
from strategies.base import Criterion, ExitModel, step_through
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
        host = model.encoder.model_type == "deberta-v2"
        record, program = (HostSegment, HostProgram) if host else (TapeSegment, TapeProgram)
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


def make_bert_base() -> LayeredEncoder:
    """Make BERT-base: 12 layers, H = 768."""
    return BertEncoder(BertModel(BertConfig(), add_pooling_layer=False))


def make_albert_base() -> LayeredEncoder:
    """Make ALBERT-base: 12 times one layer, H = 768, embeddings of 128."""
    config = AlbertConfig(hidden_size=768, num_attention_heads=12, intermediate_size=3072, num_hidden_layers=12)
    return AlbertEncoder(AlbertModel(config, add_pooling_layer=False))


def make_small_bert() -> LayeredEncoder:
    """Make six layers, H = 384: where everything that is not a matrix product weighs most."""
    config = BertConfig(hidden_size=384, num_attention_heads=12, intermediate_size=1536, num_hidden_layers=6)
    return BertEncoder(BertModel(config, add_pooling_layer=False))


def make_tiny_bert() -> LayeredEncoder:
    """Make four layers, H = 32: for rehearsals."""
    config = BertConfig(hidden_size=32, num_attention_heads=4, intermediate_size=64, num_hidden_layers=4)
    return BertEncoder(BertModel(config, add_pooling_layer=False))


SIZES: Mapping[str, Callable[[], LayeredEncoder]] = {
    "tiny": make_tiny_bert,
    "bert-base": make_bert_base,
    "albert-base": make_albert_base,
    "bert 6x384": make_small_bert,
}


@dataclass(frozen=True)
class EngineRatio:
    """One figure of the benchmark.

    ``latency`` the speed-up on the clock, ``flops`` the analytic one, ``realisation`` their quotient, each interval
    the clock's 95 % over rounds. ``against`` is the baseline: the faster plain one; ``over_stock`` the latency
    divided by stock transformers' own, minus one; ``milliseconds`` by the host's clock and by the device's events.
    """

    size: str
    batch: int
    what: str
    against: str
    latency: Interval
    flops: float
    realisation: Interval
    over_stock: float
    milliseconds: float
    device_milliseconds: float | None
    rounds: int
    stop: str
    reasons: list[str]


def measure_engine(
    setup: Setup = CPU,
    *,
    sizes: Sequence[str] = ("bert-base", "albert-base", "bert 6x384"),
    batch_sizes: Sequence[str] = ("bert-base", "bert 6x384"),
    predictions: bool = True,
    tokens: int = 64,
    samples: int = 8,
    seconds: float = 60.0,
    threads: int | None = None,
    seed: int = 0,
    clock: Clock = time.perf_counter_ns,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Measure realisation at batch 1 (``sizes``) and batch 32 (``batch_sizes``), and prediction against measurement.

    ``samples`` are the queries at batch 1, of ``tokens`` tokens; ``seconds`` the time limit of each of the runs.
    On a machine that others use, ``clock=time.thread_time_ns`` with one thread counts this thread's own CPU time.
    Returns plain data: ``ratios`` (:class:`EngineRatio`), ``predictions``, ``machine``, for :func:`describe_engine`.
    """
    say = progress or (lambda message: None)
    options = LatencyOptions(samples=samples, seconds=seconds, threads=threads, executor=setup.executor, streak=4)
    gpu = (torch.device(setup.device).index or 0) if setup.device.startswith("cuda") else None
    before = read_machine(gpu)
    ratios: list[EngineRatio] = []
    for name in sizes:
        say(f"{name}, batch 1")
        ratios += measure_single(name, build_sized_model(name, setup), tokens, options, seed, setup, clock)
    for name in batch_sizes:
        say(f"{name}, batch 32")
        ratios += measure_offline(name, build_sized_model(name, setup), options, seed, setup, clock)
    tested: dict[str, Any] = {}
    if predictions:
        say("prediction against measurement")
        tested = check_predictions("bert 6x384", options, seed, setup)
    return {
        "device": setup.device,
        "dtype": str(setup.dtype).removeprefix("torch."),
        "executor": setup.executor,
        "clock": getattr(clock, "__name__", "simulated"),
        "threads": threads or torch.get_num_threads(),
        "tokens": tokens,
        "ratios": [asdict(ratio) for ratio in ratios],
        "predictions": tested,
        "machine": _describe_machine(before, read_machine(gpu)),
    }


def measure_single(
    size: str,
    model: ExitModel,
    tokens: int,
    options: LatencyOptions,
    seed: int,
    setup: Setup = CPU,
    clock: Clock = time.perf_counter_ns,
) -> list[EngineRatio]:
    """Measure batch 1: exits spread around L/2, and a sample that looks at every exit and never leaves."""
    last, count = model.num_layers, options.samples
    spread = [max(1, last // 2 + step) for step in (-2, 2, -1, 1, 0, 0)]
    exits = {"exit L/2": [spread[i % len(spread)] for i in range(count)], "never": [last + 1] * count}
    batches = [make_random_batch([tokens], seed + i) for i in range(count)]
    return _measure_ratios(size, model, exits, batches, options, setup, clock)


def measure_offline(
    size: str,
    model: ExitModel,
    options: LatencyOptions,
    seed: int,
    setup: Setup = CPU,
    clock: Clock = time.perf_counter_ns,
) -> list[EngineRatio]:
    """Measure batch 32: lengths from 8 to 64 tokens and exits from 1 to L at random, and a batch that never leaves."""
    random, last = np.random.default_rng(seed), model.num_layers
    lengths = random.integers(8, 65, size=32).tolist()
    exits = {"mixed": random.integers(1, last + 1, size=32).tolist(), "never": [last + 1] * 32}
    chosen = replace(options, protocol="offline-batch-v1", samples=1)
    return _measure_ratios(size, model, exits, [make_random_batch(lengths, seed)], chosen, setup, clock)


def check_predictions(size: str, options: LatencyOptions, seed: int, setup: Setup = CPU) -> dict[str, Any]:
    """Predict and measure three strategies, each at a threshold at which samples leave at different depths."""
    random = np.random.default_rng(seed)
    batches = [
        make_random_batch([int(n)], seed + i)
        for i, n in enumerate(random.integers(8, 65, size=max(8, options.samples)))
    ]
    criteria: dict[str, tuple[Criterion, HeadType]] = {
        "entropy": (NormalisedEntropy(), LinearHead),
        "elbert-mono": (MonotoneWindow(window=3), SharedHead),
        "elbert-label": (LabelWindow(window=4), SharedHead),
    }
    found = {}
    for name, (criterion, head) in criteria.items():
        model = build_sized_model(size, setup, head)
        cut = _find_middle_cut(model, criterion, batches)
        table = measure_depth_table(
            model, criterion, {name: cut}, batches, replace(options, samples=len(batches)), make=setup.make_executor
        )
        found[name] = {
            **asdict(table.points[name]),
            "mean_layer": table.result.summary(name).mean_layer,
            "valid": table.result.valid,
            "checks_ms": (table.checks.mean(axis=1) * 1e3).tolist(),
        }
    return found


def describe_engine(result: Mapping[str, Any]) -> str:
    """Return the benchmark as lines for people."""
    lines = [
        f"executor {result['executor']}, clock {result['clock']}, {result['device']}, {result['dtype']}, "
        f"{result['threads']} threads, "
        f"{result['tokens']} tokens; {result['machine']}",
        f"{'size':<12}{'batch':>6}  {'what':<21}{'latency':>8}{'FLOPs':>8}  {'realisation (95 %)':<24}"
        f"{'vs stock':>9}{'ms':>9}  stop",
    ]
    for ratio in result["ratios"]:
        reached = ratio["realisation"]
        lines.append(
            f"{ratio['size']:<12}{ratio['batch']:>6}  {ratio['what']:<21}{ratio['latency']['estimate']:>7.3f}x"
            f"{ratio['flops']:>7.3f}x  {reached['estimate']:.3f} [{reached['low']:.3f}, {reached['high']:.3f}]"
            f"{'':<3}{ratio['over_stock']:>+8.1%}{ratio['milliseconds']:>9.2f}  {ratio['stop']}, "
            f"{ratio['rounds']} rounds" + (f"; INVALID: {'; '.join(ratio['reasons'])}" if ratio["reasons"] else "")
        )
    for name, point in result["predictions"].items():
        ratio = point["ratio"]
        lines.append(
            f"predicted {name:<14} {point['predicted'] * 1e3:7.2f} ms, measured {point['measured'] * 1e3:7.2f} ms, "
            f"measured / predicted {ratio['estimate']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}], "
            f"mean exit {point['mean_layer']:.1f}" + ("" if point["valid"] else "; INVALID")
        )
    return "\n".join(lines)


# --------------------------------------------------------------------------- parts


def build_sized_model(size: str, setup: Setup = CPU, head: HeadType = SharedHead) -> ExitModel:
    """Build a model of one of :data:`SIZES` with random weights, which time like trained ones."""
    torch.manual_seed(0)
    encoder = SIZES[size]()
    return ExitModel(encoder, head(encoder, CLASSES)).to(device=setup.device, dtype=setup.dtype).eval()


def make_random_batch(lengths: Sequence[int], seed: int) -> Batch:
    """Draw random tokens of the given lengths."""
    longest = max(lengths)
    ids = torch.randint(5, 30_000, (len(lengths), longest), generator=torch.Generator().manual_seed(seed))
    types = torch.zeros_like(ids)
    if min(lengths) == longest:
        return Batch(ids, None, types)
    mask = (torch.arange(longest) < torch.tensor(lengths)[:, None]).long()
    return Batch(ids * mask, mask, types)


def _count_tokens(batches: Sequence[Batch]) -> NDArray[np.int64]:
    """Count the real tokens of all samples, int64 [N]."""
    found = [
        torch.full((len(b),), b.input_ids.shape[1]) if b.attention_mask is None else b.attention_mask.sum(dim=1)
        for b in batches
    ]
    return torch.cat(found).numpy().astype(np.int64)


def _measure_ratios(
    size: str,
    model: ExitModel,
    exits: Mapping[str, list[int]],
    batches: Sequence[Batch],
    options: LatencyOptions,
    setup: Setup,
    clock: Clock,
) -> list[EngineRatio]:
    """Measure every script with every check, interleaved with the plain models in one run."""
    parameter, lengths, keys = next(model.parameters()), _count_tokens(batches), number_samples(batches)
    queries: dict[str, Query] = {}
    flops: dict[str, float] = {}
    for check, (criterion, head) in TIMED_CRITERIA.items():
        checked = ExitModel(model.encoder, head(model.encoder, CLASSES)).to(parameter.device, parameter.dtype).eval()
        executor, cost = setup.make_executor(checked), CostModel(model.encoder, checked.head, criterion)
        table, plain = cost.flops_table(lengths), cost.plain(lengths)
        for what, script in exits.items():
            layers = np.minimum(script, model.num_layers)
            flops[f"{what}, {check}"] = float(plain.sum() / table[np.arange(len(layers)), layers - 1].sum())
            queries[f"{what}, {check}"] = make_exit_query(executor, ForcedExits(criterion, script), 0.5, batches, keys)
    baselines, executor = setup.make_baselines(model), setup.make_executor(model)
    result = measure_interleaved(
        model, {}, batches, options, baselines=baselines, executor=executor, extra=queries, clock=clock
    )
    return [_make_ratio(size, len(batches[0]), what, result, flops[what]) for what in queries]


def _make_ratio(size: str, batch: int, what: str, result: LatencyResult, flops: float) -> EngineRatio:
    rounds = {label: result.table(label).sum(axis=1) for label in result.order}
    latency = paired_ratio(rounds[result.baseline], rounds[what])
    on_device = result.summary(what).device_mean
    return EngineRatio(
        size=size,
        batch=batch,
        what=what,
        against=result.baseline,
        latency=latency,
        flops=flops,
        realisation=Interval(latency.estimate / flops, latency.low / flops, latency.high / flops),
        over_stock=1 / paired_ratio(rounds["stock"], rounds[what]).estimate - 1,
        milliseconds=result.summary(what).mean * 1e3,
        device_milliseconds=None if on_device is None else on_device * 1e3,
        rounds=len(result.rounds),
        stop=result.stop,
        reasons=result.reasons,
    )


@torch.inference_mode()
def _find_middle_cut(model: ExitModel, criterion: Criterion, batches: Sequence[Batch]) -> float:
    """Return a cut in the middle of the scores that occur, so that about half of the exits are open."""
    scores = []
    for batch in batches:
        moved = batch.to(next(model.parameters()).device)
        logits = torch.stack(model(moved), dim=1).float()
        scores += [float(score) for _, score in step_through(criterion, logits)]
    finite = [score for score in scores if math.isfinite(score)]
    return float(np.quantile(finite, 0.3)) if finite else 0.0


def _describe_machine(before: MachineState, after: MachineState) -> str:
    share = find_share_of_others(before, after)
    used = "" if share is None else f", other processes used {share:.0%} of them"
    return f"{after.cores} cores{used}" + ("" if after.gpu is None else f"; {after.gpu.name}")

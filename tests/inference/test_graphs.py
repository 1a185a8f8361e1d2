"""Recorded segments, speculation and buckets decide exactly as the eager executor does."""

from __future__ import annotations

import contextlib
import gc
import itertools
import math
import weakref
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from backbones import ENCODERS
from backbones.base import Batch
from bench.errors import UsageError
from bench.inference import segments as recording
from bench.inference.conditional import ConditionalExecutor, EagerProgram, ProgramPart, RecordProgram
from bench.inference.executors import EXECUTORS, Executor, make_executor, make_plain_call
from bench.inference.graphs import GraphExecutor
from bench.inference.live import run_live
from bench.inference.placement import ON_GPU
from bench.inference.segments import CudaGraphSegment, EagerSegment, ForwardPart
from strategies.base import Criterion, ExitModel, StrategyError
from strategies.controls import EarliestConsistent, ForcedExits, NeverLeave
from strategies.elbert import LabelWindow, MonotoneWindow, SharedHead
from strategies.entropy import NormalisedEntropy
from tests.helpers.criteria import CAUSAL, KEYS, KINDS, OUTPUTS, criterion_of, cuts_of, fitted
from tests.helpers.models.exit_models import make_batch, make_model, single

CRITERIA: dict[str, tuple[Callable[[], Criterion], float]] = {
    "entropy": (NormalisedEntropy, 0.5),
    "mono": (lambda: MonotoneWindow(window=2), 0.4),
    "label": (lambda: LabelWindow(window=3), 0.2),
    "never": (NormalisedEntropy, -1.0),
    "always": (NormalisedEntropy, math.inf),
    "plain": (NeverLeave, 0.0),
}
BATCHES = [[7], [16], [17], [1], [33, 5, 16, 2, 40, 16], [15, 16, 17], [4, 4, 4, 4, 4], [40, 3]]


def segments(model: ExitModel, speculate: int = 1) -> GraphExecutor:
    return GraphExecutor(model, EagerSegment, speculate=speculate)


@pytest.mark.parametrize("speculate", [0, 1, 3])
@pytest.mark.parametrize("name", CRITERIA)
@pytest.mark.parametrize("model_type", sorted(ENCODERS))
def test_segments_equal_the_eager_engine_over_changing_lengths(model_type: str, name: str, speculate: int) -> None:
    positions = 44 if model_type == "roberta" else 40  # RoBERTa's positions start after the padding's
    model = make_model(model_type, SharedHead, max_position_embeddings=positions).double()
    make, cut = CRITERIA[name]
    criterion, executor = make(), segments(model, speculate)
    for lengths in [*BATCHES, *BATCHES]:  # the second time every chain is replayed from used memory
        batch = make_batch(lengths, seed=sum(lengths))
        expected = run_live(model, criterion, cut, batch)
        found = executor(criterion, cut, batch)
        assert found.layer.tolist() == expected.layer.tolist()
        torch.testing.assert_close(found.logits, expected.logits)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_mixed_exits_move_to_smaller_buckets(attention: str) -> None:
    model = make_model("bert", attention=attention).double()
    executor, criterion = segments(model), ForcedExits(exits=range(10))
    wanted = [1, 5, 3, 5, 1, 2]
    batch = make_batch([40, 5, 30, 16, 20, 8])
    found = executor(criterion, 0.5, batch, torch.tensor(wanted))
    expected = run_live(model, criterion, 0.5, batch, keys=torch.tensor(wanted))
    assert found.layer.tolist() == wanted
    torch.testing.assert_close(found.logits, expected.logits)
    assert {(rows, tokens) for _, rows, tokens in executor._chains} == {(8, 40), (4, 32), (2, 16)}


def conditional(model: ExitModel, record: RecordProgram = EagerProgram) -> ConditionalExecutor:
    return ConditionalExecutor(model, segments(model), record)


@pytest.mark.parametrize("name", CRITERIA)
@pytest.mark.parametrize("model_type", sorted(ENCODERS))
def test_conditional_programs_equal_the_eager_engine_over_changing_lengths(model_type: str, name: str) -> None:
    positions = 44 if model_type == "roberta" else 40
    model = make_model(model_type, SharedHead, max_position_embeddings=positions).double()
    make, cut = CRITERIA[name]
    criterion, executor = make(), conditional(model)
    for lengths in [*BATCHES, *BATCHES]:
        batch = make_batch(lengths, seed=sum(lengths))
        expected, found = run_live(model, criterion, cut, batch), executor(criterion, cut, batch)
        assert found.layer.tolist() == expected.layer.tolist()
        torch.testing.assert_close(found.logits, expected.logits)
    if criterion.uses_early_exits:
        assert {tokens for _, _, tokens in executor._programs} == {16, 32}  # 1, 7 and 16 tokens; 17 tokens


@pytest.mark.parametrize("name", CAUSAL)
def test_every_criterion_runs_as_a_conditional_program(name: str) -> None:
    """Counters, windows and probes with a memory: whatever a criterion remembers between exits."""
    model = make_model("bert", KINDS[name].head, OUTPUTS[name]).double()
    criterion, executor = fitted(criterion_of(name), model), conditional(model)
    batch = make_batch([12, 5, 9, 2, 12, 7])
    for cut in cuts_of(criterion, model, batch):
        for row in range(len(batch)):
            expected = run_live(model, criterion, cut, single(batch, row), keys=KEYS[row : row + 1])
            found = executor(criterion, cut, single(batch, row), KEYS[row : row + 1])
            assert found.layer.tolist() == expected.layer.tolist()
            torch.testing.assert_close(found.logits, expected.logits)


class CountingBodies(EagerProgram):
    """How many bodies were run by the last replay."""

    ran = 0

    def replay(self) -> None:
        CountingBodies.ran = 0
        super().replay()

    def __init__(self, begin: ProgramPart, bodies: Sequence[ProgramPart], inside: Tensor) -> None:
        def counted(body: ProgramPart) -> ProgramPart:
            def run() -> None:
                CountingBodies.ran += 1
                body()

            return run

        super().__init__(begin, [counted(body) for body in bodies], inside)


@pytest.mark.parametrize("exit_layer", [1, 3, 5, 9])
def test_a_conditional_program_runs_the_layers_up_to_the_exit_and_no_more(exit_layer: int) -> None:
    executor = conditional(make_model("bert"), CountingBodies)
    for _ in range(2):  # the flag that ended the first replay is set again
        found = executor(ForcedExits(exits=range(10)), 0.5, make_batch([6]), torch.tensor([exit_layer]))
        assert found.layer.tolist() == [min(exit_layer, 5)]
        assert CountingBodies.ran == min(exit_layer, 5)


class Counting(EagerSegment):
    """How many layers were replayed."""

    replays = 0

    def replay(self) -> None:
        Counting.replays += not self.beside
        super().replay()

    def __init__(self, work: ForwardPart, beside: bool = False) -> None:
        self.beside = beside
        super().__init__(work)


@pytest.mark.parametrize(
    ("exit_layer", "speculate", "replays"), [(1, 0, 2), (1, 1, 3), (3, 1, 5), (5, 1, 6), (9, 1, 6), (2, 9, 6)]
)
def test_a_single_sample_runs_ahead_by_the_speculation_and_no_more(
    exit_layer: int, speculate: int, replays: int
) -> None:
    executor = GraphExecutor(make_model("bert"), Counting, speculate=speculate)
    batch, keys, criterion = make_batch([6]), torch.tensor([exit_layer]), ForcedExits(exits=range(10))
    executor(criterion, 0.5, batch, keys)
    Counting.replays = 0
    found = executor(criterion, 0.5, batch, keys)
    assert found.layer.tolist() == [min(exit_layer, 5)]
    assert Counting.replays == replays  # the embedding included


@pytest.mark.parametrize(
    ("rows", "tokens", "expected"),
    [(1, 1, (1, 16)), (2, 16, (2, 16)), (3, 17, (4, 32)), (32, 33, (32, 40)), (33, 40, (64, 40)), (5, 39, (8, 40))],
)
def test_bucket_edges(rows: int, tokens: int, expected: tuple[int, int]) -> None:
    assert segments(make_model("bert")).sizes(rows, tokens) == expected


def test_chains_are_recorded_once_per_bucket() -> None:
    executor, criterion = segments(make_model("bert")), NormalisedEntropy()
    for tokens in range(1, 33):
        executor(criterion, 0.5, make_batch([tokens]))
    assert len(executor._chains) == 2


def test_an_empty_batch_has_an_empty_outcome() -> None:
    found = segments(make_model("bert"))(NormalisedEntropy(), 0.5, Batch(torch.empty(0, 4, dtype=torch.long)))
    assert found.layer.shape == (0,)


def test_errors_are_the_eager_engines() -> None:
    model = make_model("bert")
    with pytest.raises(StrategyError, match="cannot run live"):
        segments(model)(EarliestConsistent(), 0.5, make_batch([4]))
    with torch.no_grad():
        model.encoder._layers[1].output.dense.bias.fill_(math.nan)
    with pytest.raises(StrategyError, match="Logits of sample 2 at exit 2 are not finite"):
        segments(model)(ForcedExits(exits=range(10)), 0.5, make_batch([4, 4]), torch.tensor([5, 2]))
    with pytest.raises(StrategyError, match="cannot run live"):
        conditional(model)(EarliestConsistent(), 0.5, make_batch([4]))
    with pytest.raises(StrategyError, match="Logits of sample 2 at exit 2 are not finite"):
        conditional(model)(ForcedExits(exits=range(10)), 0.5, make_batch([4]), torch.tensor([2]))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("model_type", sorted(ENCODERS))
@torch.no_grad()
def test_the_recordable_mask_is_the_layers_mask(model_type: str, attention: str) -> None:
    encoder = make_model(model_type, attention=attention).double().encoder
    batch = make_batch([12, 4, 9])
    assert batch.attention_mask is not None
    hidden, mask = encoder.embed(batch)
    ours = encoder.layer_mask(batch.attention_mask, hidden.dtype)
    real = batch.attention_mask.bool()
    torch.testing.assert_close(encoder.layer(1, hidden, ours)[real], encoder.layer(1, hidden, mask)[real])


def all_executors(model: ExitModel) -> dict[str, Executor]:
    return {
        "eager": make_executor(model, "eager"),
        "graph": make_executor(model, "graph", record=EagerSegment),
        "compile": make_executor(model, "compile", backend="eager"),
        "conditional": make_executor(model, "conditional", record=EagerSegment, program=EagerProgram),
    }


@pytest.mark.parametrize("model_type", sorted(ENCODERS))
def test_all_executors_give_the_same_exits(model_type: str) -> None:
    model = make_model(model_type, SharedHead).double()
    criterion = MonotoneWindow(window=3)
    made = all_executors(model)
    assert tuple(made) == EXECUTORS
    for lengths in ([9], [12, 5, 20, 7]):
        batch = make_batch(lengths)
        found: dict[str, tuple[list[int], Tensor]] = {}
        for name, executor in made.items():
            outcome = executor(criterion, 0.4, batch)
            found[name] = (outcome.layer.tolist(), outcome.logits)
        for name in EXECUTORS:
            assert found[name][0] == found["eager"][0]
            torch.testing.assert_close(found[name][1], found["eager"][1])
            torch.testing.assert_close(make_plain_call(made[name])(batch), model.plain(batch))


def test_unknown_and_impossible_executors() -> None:
    model = make_model("bert")
    with pytest.raises(UsageError, match="Unknown executor 'grahp'"):
        make_executor(model, "grahp")
    for executor in ON_GPU:
        with pytest.raises(
            UsageError,
            match=f"{executor} executor .* needs an NVIDIA GPU, and the model is on 'cpu'",
        ):
            make_executor(model, executor)


def without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let graphs be recorded where there is no card: nothing is warmed up, and streams are names."""
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(recording, "warm_up_capture", lambda work, stream: None)
    monkeypatch.setattr(recording, "find_stream", lambda device, beside: "checks" if beside else "layers")


def test_graphs_share_a_pool_as_long_as_one_of_them_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool goes with its last graph, and torch records nothing more into it."""
    handles = itertools.count()
    used: list[int] = []

    @contextlib.contextmanager
    def capture(graph: object, pool: int, stream: str) -> Iterator[None]:
        assert (stream == "checks") == bool(pool % 2)  # cuBLAS keeps its workspace for a stream
        used.append(pool)
        yield

    class Graph:
        def replay(self) -> None: ...

    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: next(handles))
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", capture)
    without_cuda(monkeypatch)
    first, second = (CudaGraphSegment(lambda: ()) for _ in range(2))
    check = CudaGraphSegment(lambda: (), beside=True)  # runs at the same time as the others: another pool
    del first
    third = CudaGraphSegment(lambda: ())
    del second, third
    gc.collect()
    fourth, another = CudaGraphSegment(lambda: ()), CudaGraphSegment(lambda: (), beside=True)
    assert fourth.outputs == check.outputs == another.outputs == ()
    assert used == [0, 0, 1, 0, 2, 1]


def test_a_graph_copies_what_its_work_hands_through_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: 0)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: SimpleNamespace(replay=lambda: None))
    monkeypatch.setattr(torch.cuda, "graph", lambda graph, pool, stream: contextlib.nullcontext())
    without_cuda(monkeypatch)
    monkeypatch.setattr(CudaGraphSegment, "_alive", {False: weakref.WeakSet(), True: weakref.WeakSet()})
    kept, made = torch.ones(3), []

    def work() -> tuple[torch.Tensor, ...]:
        made.append(kept + 1)
        return made[-1], kept, kept[1:]

    outputs = CudaGraphSegment(work).outputs
    assert outputs[0] is made[-1]
    assert not {tensor.untyped_storage().data_ptr() for tensor in outputs[1:]} & {kept.untyped_storage().data_ptr()}
    assert [tensor.tolist() for tensor in outputs] == [[2, 2, 2], [1, 1, 1], [1, 1]]

"""What CUDA graphs would record of every backbone, head and criterion replays to the eager executor's decisions."""

from __future__ import annotations

import pytest
import torch

from backbones import ENCODERS
from bench.errors import UsageError
from bench.inference.conditional import ConditionalExecutor, CudaProgram
from bench.inference.executors import Executor
from bench.inference.graphs import GraphExecutor
from bench.inference.live import run_live
from bench.selfcheck.engine import TIMED_CRITERIA
from bench.selfcheck.tapes import TapeSegment, record_tapes
from strategies.base import Criterion, ExitModel
from strategies.controls import ForcedExits, NeverLeave
from strategies.elbert import SharedHead
from strategies.entropy import NormalisedEntropy
from tests.helpers.criteria import CAUSAL, KEYS, KINDS, OUTPUTS, criterion_of, cuts_of, fitted
from tests.helpers.models.exit_models import make_batch, make_model, single


def captured(model: ExitModel, conditional: bool) -> Executor:
    record, program = record_tapes(model)
    segments = GraphExecutor(model, record)
    return ConditionalExecutor(model, segments, program) if conditional else segments


def agree(executor: Executor, model: ExitModel, criterion: Criterion, cut: float, lengths: list[list[int]]) -> set[int]:
    """The exits taken, which are the eager executor's, as its answers are."""
    found_all = set()
    for batch in [make_batch(n, seed=sum(n)) for n in lengths]:
        keys = torch.arange(len(batch))
        expected, found = run_live(model, criterion, cut, batch, keys=keys), executor(criterion, cut, batch, keys)
        assert found.layer.tolist() == expected.layer.tolist()
        # ModernBERT's eager soft-max is in float32 whatever the model is in
        torch.testing.assert_close(found.logits, expected.logits, rtol=1e-6, atol=1e-6)
        found_all |= set(found.layer.tolist())
    return found_all


LENGTHS = [[7], [17], [16], [3], [33, 5, 16, 2, 40, 16], [40, 3], [7]]


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("model_type", sorted(ENCODERS))
def test_every_backbone_can_be_captured(model_type: str, attention: str, conditional: bool) -> None:
    positions = 44 if model_type == "roberta" else 40
    model = make_model(model_type, SharedHead, attention=attention, max_position_embeddings=positions).double()
    executor = captured(model, conditional)
    exits = [agree(executor, model, NormalisedEntropy(), cut, LENGTHS) for cut in (-1.0, 0.5, 2.0)]
    assert exits[0] == {5}
    assert exits[2] == {1}
    agree(executor, model, NeverLeave(), 0.0, LENGTHS)


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("name", CAUSAL)
def test_every_head_and_criterion_can_be_captured(name: str, pooling: str, conditional: bool) -> None:
    model = make_model("bert", KINDS[name].head, OUTPUTS[name]).double()
    model.head.pooling = pooling  # type: ignore[assignment]
    criterion, executor = fitted(criterion_of(name), model), captured(model, conditional)
    batch = make_batch([12, 5, 9, 2, 12, 7])
    for cut in cuts_of(criterion, model, batch):
        together = run_live(model, criterion, cut, batch, keys=KEYS)
        assert executor(criterion, cut, batch, KEYS).layer.tolist() == together.layer.tolist()
        for row in range(len(batch)):
            found = executor(criterion, cut, single(batch, row), KEYS[row : row + 1])
            assert found.layer.tolist() == together.layer[row : row + 1].tolist()


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("depth", [1, 3, 5, 9])
def test_forced_exits_are_taken_where_nothing_but_the_graph_is_replayed(depth: int, conditional: bool) -> None:
    model = make_model("bert", SharedHead)
    executor, criterion = captured(model, conditional), ForcedExits(NormalisedEntropy())
    for lengths in ([5], [9], [5, 8]):
        assert executor(criterion, criterion.cut(depth), make_batch(lengths)).layer.tolist() == [min(depth, 5)] * len(
            lengths
        )


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("check", TIMED_CRITERIA)
def test_scripts_are_followed_where_nothing_but_the_graph_is_replayed(check: str, conditional: bool) -> None:
    model = make_model("bert", SharedHead, outputs=2)
    executor, criterion = captured(model, conditional), ForcedExits(TIMED_CRITERIA[check][0], [2, 5, 1, 9])
    for key, expected in [(0, 2), (1, 5), (2, 1), (3, 5), (0, 2)]:
        assert executor(criterion, 0.5, make_batch([6]), torch.tensor([key])).layer.tolist() == [expected]


def test_a_convolution_beside_padding_sees_none_of_it() -> None:
    """DeBERTa's larger models mix neighbours in layer 1: what a bucket adds to a text must be 0, as stock padding."""
    model = make_model("deberta-v2", SharedHead, conv_kernel_size=3).double()
    assert model.encoder.model.encoder.conv is not None
    torch.nn.init.normal_(model.encoder.model.embeddings.LayerNorm.bias)  # what a trained model's padding would have
    for conditional in (False, True):
        agree(captured(model, conditional), model, NormalisedEntropy(), -1.0, [[7], [17], [33, 5]])


@pytest.mark.parametrize("host", ["item", "bool", "mask", "list"])
def test_what_a_capture_refuses_is_refused_here(host: str) -> None:
    """So that the tests above can fail."""
    memory = torch.ones(3)
    works = {
        "item": lambda: (memory * memory.sum().item(),),
        "bool": lambda: (memory if memory.any() else memory * 2,),
        "mask": lambda: (memory[memory > 0],),
        "list": lambda: (memory + torch.tensor([1.0, 2.0, 3.0]),),
    }
    with pytest.raises(AssertionError, match="cannot be captured"):
        TapeSegment(works[host])


def test_a_tape_replays_operations_and_not_python() -> None:
    memory, calls = torch.ones(2), []
    segment = TapeSegment(lambda: (calls.append(1) or memory * len(calls),))  # type: ignore[func-returns-value]
    memory.fill_(5)
    segment.replay()
    assert segment.outputs[0].tolist() == [10.0, 10.0]  # the second call was recorded
    assert len(calls) == 2


def test_a_torch_without_conditional_nodes_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    with pytest.raises(UsageError, match="no conditional graph nodes: take the graph executor"):
        CudaProgram(lambda: None, [], torch.tensor(True))

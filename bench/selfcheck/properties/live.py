"""A tiny model that really stops against a replay of all its exits, in float64."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

from backbones.base import Batch
from bench.inference.live import LiveResult, run_live
from bench.inference.probing import probe_batch
from bench.inference.replay import make_criterion
from bench.selfcheck.properties.subject import fit_on_model
from bench.selfcheck.tiny import make_tiny_batch, make_tiny_model
from strategies.base import Criterion, ExitModel, Seen, Start, Strategy, predict, step_through

KEYS = torch.arange(100, 106)
LIVE_LENGTHS = (12, 5, 9, 2, 12, 7)
"""Tokens of the samples of a batch, one for each of the keys."""


def draw_lengths(subject: object) -> Iterable[tuple[int, ...]]:
    """Return the one batch, as its samples' lengths."""
    return [LIVE_LENGTHS]


def shrink_lengths(subject: object, lengths: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Yield single samples, then all but one."""
    if len(lengths) > 1:
        yield from ((length,) for length in lengths)
        yield from (lengths[:i] + lengths[i + 1 :] for i in range(len(lengths)))


DOUBLE_NEAR = 1e-9, 1e-7
"""How near a sample's logits in a batch are to those of it alone, in double precision: relative and absolute."""
SINGLE_NEAR = 1e-4, 1e-5
SINGLE_SOFTMAX = {("modernbert", "eager")}
"""Attention of which the softmax is taken in float32 whatever the model's format: its last bits are by the length."""


def find_live_difference(
    kind: type[Strategy], arguments: Mapping[str, object], lengths: tuple[int, ...], model_type: str = "bert",
    attention: str = "sdpa",
) -> tuple[str | None, set[int], int]:  # fmt: skip
    """Return where live and replayed decisions differ, the depths that occurred, and at how many cuts was asked.

    A batch, each of its samples alone, and each one's replay must say the same.
    """
    criterion = make_criterion(kind, arguments)[0]
    outputs = 3 if criterion.refuse(3) is None else 1
    model = make_tiny_model(model_type, kind.head, outputs, attention).double()
    fit_on_model(criterion, model)
    batch, keys = make_tiny_batch(lengths), KEYS[: len(lengths)]
    rtol, atol = SINGLE_NEAR if (model_type, attention) in SINGLE_SOFTMAX else DOUBLE_NEAR
    depths: set[int] = set()
    cuts = list_quantile_cuts(criterion, model, batch, keys)
    for cut in cuts:
        together = run_live(model, criterion, cut, batch, keys=keys)
        for row in range(len(batch)):
            sample, key = take_sample(batch, row), keys[row : row + 1]
            alone = run_live(model, criterion, cut, sample, keys=key)
            expected = replay_model(model, criterion, cut, sample, key)
            layers = [int(found.layer[at]) for found, at in ((together, row), (alone, 0), (expected, 0))]
            if len(set(layers)) > 1:
                here = "in the batch {}, alone {}, in replay {}".format(*layers)
                return f"at the cut {cut:g} sample {row} leaves at exits: {here}", depths, len(cuts)
            answers = [predict(z)[0] for z in (together.logits[row : row + 1], alone.logits, expected.logits)]
            if not torch.allclose(torch.stack(answers).double(), answers[0].double(), rtol=rtol):
                return f"at the cut {cut:g} sample {row} is told {[float(a) for a in answers]}", depths, len(cuts)
            torch.testing.assert_close(together.logits[row : row + 1], alone.logits, rtol=rtol, atol=atol)
            torch.testing.assert_close(alone.logits, expected.logits, rtol=0, atol=0)
            depths.add(layers[0])
    return None, depths, len(cuts)


def take_sample(batch: Batch, row: int) -> Batch:
    """Return one sample of a batch, without its padding."""
    if batch.attention_mask is None:
        return Batch(batch.input_ids[row : row + 1])
    return Batch(batch.input_ids[row : row + 1, : int(batch.attention_mask[row].sum())])


def replay_model(
    model: ExitModel, criterion: Criterion, cut: float, batch: Batch, keys: Tensor | None = None
) -> LiveResult:
    """Return the decisions with all exits computed, and the criterion stepped over them: what live must equal."""
    with torch.inference_mode():
        logits = [z.float() if z.dtype == torch.bfloat16 else z for z in model(batch)]
        observed = None if criterion.probe is None else probe_batch(model, criterion.probe, batch)
        size, outputs = logits[0].shape
        state = criterion.start(Start(size, model.num_layers, outputs, logits[0].dtype, keys=keys))
        layer = torch.full((size,), model.num_layers)
        answer = logits[-1].clone()
        inside = torch.ones(size, dtype=torch.bool)
        for index, z in enumerate(logits[:-1], start=1):
            seen = Seen(index, z, None if observed is None else observed[:, index - 1])
            state, score = criterion.step(state, seen)
            leaves = criterion.leaves(score, cut) & inside
            layer[leaves], answer[leaves] = index, z[leaves]
            inside &= ~leaves
    return LiveResult(layer, answer)


def list_quantile_cuts(criterion: Criterion, model: ExitModel, batch: Batch, keys: Tensor) -> list[float]:
    """Return never, always, quantiles of the scores that occur, and a cut at which somebody leaves in between."""
    with torch.inference_mode():
        logits = model(batch)
    observed = None if criterion.probe is None else probe_batch(model, criterion.probe, batch)
    steps = step_through(criterion, torch.stack(logits, dim=1), keys=keys, observed=observed)
    scores = torch.stack([score.double() for _, score in [*steps][:-1]], dim=1)  # the last exit is asked nothing
    finite = scores.flatten()
    finite = finite[finite.isfinite()]
    levels = finite.quantile(torch.tensor([0.1, 0.3, 0.5, 0.8], dtype=torch.float64)).tolist() if len(finite) else []
    # half way between two scores: no decision hangs on the last bit of a logit
    ordered = sorted(set(finite.tolist()))
    between = [(a + b) / 2 for level in levels for a, b in itertools.pairwise(ordered) if a <= level < b]
    before = scores.cummin(dim=1).values[:, :-1]
    row, at = next(iter((scores[:, 1:] < before).nonzero().tolist()), (0, 0))  # who can leave after exit 1, if any
    middle = float(scores[row, at + 1] + before[row, at]) / 2
    return [-math.inf, *between, *([middle] if math.isfinite(middle) else []), math.inf]

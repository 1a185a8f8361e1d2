"""One input, exit by exit: what each exit says, what the criterion remembers, who leaves where, what was looked at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from backbones.base import Batch
from bench.analysis.rollout import recorded_attention, rollout
from bench.cell.reload import RunModel
from bench.errors import UsageError
from bench.inference.probing import probe_batch
from bench.tasks.base import Split
from strategies import STRATEGIES
from strategies.base import Criterion, State, step_through


@dataclass(frozen=True)
class Token:
    """A piece of the input: the text before it that belongs to no token, its own, and whether it is a special one."""

    before: str
    text: str
    special: bool


@dataclass(frozen=True)
class Step:
    """One exit: class probabilities [C], normalised entropy, the criterion's score and what it remembers."""

    layer: int
    probabilities: list[float]
    entropy: float
    answer: str
    score: float
    state: str
    leaves: bool


@dataclass(frozen=True)
class Leaving:
    """Where a criterion lets the input go: its name, threshold, exit and answer."""

    criterion: str
    point: str
    threshold: float | None
    layer: int
    answer: str
    own: bool


@dataclass(frozen=True)
class Explanation:
    """Everything about one input. ``attention`` [L][T]: cumulative attention from the read-out to every token."""

    title: str
    tokens: list[Token]
    labels: list[str]
    label: str | None
    steps: list[Step]
    leavings: list[Leaving]
    attention: list[list[float]]
    read_out: str
    point: str
    threshold: float | None
    layer: int
    kind: str = ""

    @property
    def shades(self) -> list[float]:
        """Attention at the exit where the input leaves, scaled to [0, 1] over ordinary tokens."""
        row = self.attention[self.layer - 1]
        ordinary = [v for v, t in zip(row, self.tokens, strict=True) if not t.special] or row
        low, high = min(ordinary), max(ordinary)
        return [min(1.0, max(0.0, (v - low) / ((high - low) or 1.0))) for v in row]

    def most_attended(self, layer: int, most: int = 3) -> str:
        """The ordinary tokens that exit ``layer`` attends to most, most first."""
        row = self.attention[layer - 1]
        ordinary = [i for i, t in enumerate(self.tokens) if not t.special]
        return ", ".join(self.tokens[i].text for i in sorted(ordinary, key=lambda i: -row[i])[:most])

    @property
    def answer(self) -> str:
        """What is said where the input leaves."""
        return self.steps[self.layer - 1].answer


def operating_point(record: Mapping[str, Any], split: str, wanted: str | None) -> tuple[str, float | None, float]:
    """Name, threshold and cut of a recorded operating point; by default "no-loss", else the first that was reached.

    Raises UsageError for a point that the record does not have. Without any, nobody leaves early.
    """
    points = {str(p["rule"]): p for p in record["evaluation"][split]["points"] if "metrics" in p}
    if wanted is not None and wanted not in points:
        raise UsageError(
            f"The run has no operating point '{wanted}' on {split}. It has: {', '.join(points) or 'none'}."
        )
    name = wanted or ("no-loss" if "no-loss" in points else next(iter(points), None))
    if name is None:
        return "all layers", None, -math.inf
    cut = points[name].get("cut")
    return name, points[name].get("threshold"), -math.inf if cut is None else float(cut)


def find_sample(data: Any, sample: str, split: str | None = None) -> tuple[Split, int]:
    """The split and row of a sample id. Raises UsageError where there is none."""
    splits = [s for s in (*data.evaluation.values(), data.select) if split is None or s.name == split]
    for found in splits:
        if sample in found.ids:
            return found, found.ids.index(sample)
    some = ", ".join(splits[0].ids[:3]) if splits else "none"
    raise UsageError(f"No sample '{sample}' in {', '.join(s.name for s in splits) or split}. Ids look like: {some}.")


@torch.inference_mode()
def explain(
    run: RunModel,
    record: Mapping[str, Any],
    first: str,
    second: str | None = None,
    *,
    split: str | None = None,
    point: str | None = None,
    label: int | float | None = None,
    title: str = "",
    key: int = 0,
    kind: str = "",
) -> Explanation:
    """Run one input through every exit. Raises UsageError for an empty text or a task without classes."""
    if not first.strip():
        raise UsageError("The text is empty: there is nothing to explain.")
    outputs = run.model.head.num_outputs
    if outputs < 2:
        raise UsageError(f"Task '{run.data.name}' is a regression: it has no class probabilities to explain.")
    pair = run.data.train.second is not None
    if pair and second is None:
        raise UsageError(f"Task '{run.data.name}' takes two texts: give the other one with --second.")
    if not pair and second is not None:
        raise UsageError(f"Task '{run.data.name}' takes one text: leave --second out.")
    batch, tokens = encoded(run, first, second)
    with recorded_attention(run.model.encoder.model) as maps:
        logits = torch.stack([z[0] for z in run.model(batch)]).float()  # [L, C]
    probe = run.criterion.probe
    observed = None if probe is None else probe_batch(run.model, probe, batch)[0]  # [L, K]
    flow = rollout([m[0] for m in maps])
    mean = run.model.head.pooling == "mean"
    attention = flow.mean(dim=1) if mean else flow[:, 0]
    reported = split if split is not None and split in record["evaluation"] else str(next(iter(record["evaluation"])))
    name, threshold, cut = operating_point(record, reported, point)
    names = [str(n) for n in run.data.label_names]
    steps = stepped(run.criterion, logits, cut, names, key, observed)
    layer = next(s.layer for s in steps if s.leaves)
    own = [
        _leaving(run.criterion, logits, run.spec.strategy, p, names, key, observed) for p in _points(record, reported)
    ]
    return Explanation(
        title=title or "Your text",
        tokens=tokens,
        labels=names,
        label=None if label is None else names[int(label)],
        steps=steps,
        leavings=[*own, *others(run, logits, names, key)],
        attention=attention.tolist(),
        read_out="the mean over all tokens" if mean else f"the first token ({tokens[0].text})",
        point=name,
        threshold=threshold,
        layer=layer,
        kind=kind,
    )


def encoded(run: RunModel, first: str, second: str | None) -> tuple[Batch, list[Token]]:
    """The input as a batch of one, as training saw it, and its tokens as pieces of the text where that is known."""
    tokenizer, fast = run.tokenizer, bool(run.tokenizer.is_fast)
    found = tokenizer(
        first,
        second,
        truncation=True,
        max_length=run.max_length,
        return_token_type_ids=True,
        return_offsets_mapping=fast,
    )
    ids, types = list(map(int, found["input_ids"])), list(map(int, found["token_type_ids"]))
    batch = Batch(torch.tensor([ids]), None, torch.tensor([types]) if any(types) else None)
    named = tokenizer.convert_ids_to_tokens(ids)
    if not fast:
        special = set(tokenizer.all_special_ids)
        return batch, [Token(" ", str(n), i in special) for i, n in zip(ids, named, strict=True)]
    tokens, texts, end = [], (first, second or ""), [0, 0]
    for name, owner, (start, stop) in zip(named, found.sequence_ids(0), found["offset_mapping"], strict=True):
        if owner is None:
            tokens.append(Token(" ", str(name), True))
            continue
        start, stop = max(int(start), end[owner]), max(int(stop), end[owner])
        piece = texts[owner][start:stop]
        after_special = " " if tokens and tokens[-1].special else ""
        tokens.append(Token(texts[owner][end[owner] : start] or after_special, piece or str(name), False))
        end[owner] = stop
    return batch, tokens


def stepped(
    criterion: Criterion, logits: Tensor, cut: float, labels: Sequence[str], key: int, observed: Tensor | None = None
) -> list[Step]:
    """Step ``criterion`` over one sample's logits [L, C], and what its probe read [L, K]; exactly one step leaves.

    An oracle shows no state.
    """
    layers, outputs = logits.shape
    log_p = torch.log_softmax(logits.double(), dim=-1)
    entropy = -(log_p.exp() * log_p).sum(dim=-1) / math.log(outputs)
    trace: list[tuple[State, Tensor]] = []
    if criterion.causal and not criterion.needs_labels:
        read = None if observed is None else observed.unsqueeze(0)
        trace = list(step_through(criterion, logits.unsqueeze(0), keys=torch.tensor([key]), observed=read))
    steps: list[Step] = []
    gone = False
    for layer in range(1, layers + 1):
        score, shown, leaves = math.inf, "", False
        if trace:
            state, scores = trace[layer - 1]
            score, shown = float(scores[0]), state_text(state)
            leaves = bool(criterion.leaves(scores, cut)[0])
        leaves = not gone and (leaves or layer == layers)
        gone = gone or leaves
        row = log_p[layer - 1].exp()
        answer = labels[int(logits[layer - 1].argmax())]
        steps.append(Step(layer, row.tolist(), float(entropy[layer - 1]), answer, score, shown, leaves))
    return steps


def state_text(state: State) -> str:
    """A criterion's memory of one sample: every tensor by name; what is not filled yet is a dot."""
    return "; ".join(f"{name} {' '.join(map(_cell, value[0].reshape(-1).tolist()))}" for name, value in state.items()
                     if name != "keys")  # fmt: skip


def _cell(value: float) -> str:
    if isinstance(value, int):
        return "·" if value < 0 else str(value)
    return "·" if not math.isfinite(value) else f"{value:.3f}"


def _points(record: Mapping[str, Any], split: str) -> list[Mapping[str, Any]]:
    return [p for p in record["evaluation"][split]["points"] if "metrics" in p]


def _leaving(
    criterion: Criterion,
    logits: Tensor,
    name: str,
    point: Mapping[str, Any],
    labels: Sequence[str],
    key: int,
    observed: Tensor | None,
) -> Leaving:
    cut = point.get("cut")
    at = -math.inf if cut is None else float(cut)
    step = next(s for s in stepped(criterion, logits, at, labels, key, observed) if s.leaves)
    return Leaving(name, str(point["rule"]), cast(Any, point.get("threshold")), step.layer, step.answer, True)


def others(run: RunModel, logits: Tensor, labels: Sequence[str], key: int) -> list[Leaving]:
    """Where every other known criterion, with its defaults, would let the same logits go.

    Left out are those that would have to be fitted first, and those that read more than logits.
    """
    found = []
    for name in STRATEGIES.builtin:
        if name == run.spec.strategy:
            continue
        kind = STRATEGIES.load(name)
        criterion = kind.criterion()
        usable = criterion.causal and criterion.uses_early_exits and not criterion.needs_labels
        usable = usable and not criterion.fits and criterion.probe is None
        if not usable or criterion.refuse(logits.shape[1]):
            continue
        threshold = criterion.default_threshold
        step = next(s for s in stepped(criterion, logits, criterion.cut(threshold), labels, key) if s.leaves)
        found.append(Leaving(name, "default", threshold, step.layer, step.answer, False))
    return found

"""One input, exit by exit: what each exit says, what the criterion remembers, who leaves where, what was looked at."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from backbones.base import Batch
from bench.analysis.cases import choose_point, find_run_cases
from bench.cell.reload import RunModel
from bench.errors import UsageError
from bench.inference.probing import probe_batch
from bench.inference.replay import list_criteria
from bench.measure.scores import hash_ids
from bench.results.doubts import Doubt
from bench.results.run import Run
from bench.tasks.base import Split, TaskData
from bench.text import write_html_table
from strategies import STRATEGIES
from strategies.base import Criterion, State, step_through


@dataclass(frozen=True)
class Token:
    """A piece of the input: the text before it that belongs to no token, its own, and whether it is a special one.

    An ``unknown`` one is not in the model's vocabulary: it reads the same sign for each of them.
    """

    before: str
    text: str
    special: bool
    unknown: bool = False


@dataclass(frozen=True)
class ExitStep:
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
class Text:
    """An input to explain: one or two texts, and what is known of them.

    ``label`` is a class number; ``key`` the sample's stable number; ``split`` the one that it is from.
    """

    first: str
    second: str | None = None
    title: str = "Your text"
    label: int | None = None
    key: int = 0
    split: str = ""
    kind: str = ""


@dataclass(frozen=True, repr=False)
class Explanation:
    """Everything about one input. ``attention`` [L][T]: cumulative attention from the read-out to every token."""

    title: str
    tokens: list[Token]
    labels: list[str]
    label: str | None
    steps: list[ExitStep]
    leavings: list[Leaving]
    attention: list[list[float]]
    read_out: str
    point: str
    threshold: float | None
    layer: int
    kind: str = ""
    doubts: tuple[Doubt, ...] = ()

    @property
    def shades(self) -> list[float]:
        """Attention at the exit where the input leaves, scaled to [0, 1] over ordinary tokens."""
        row = self.attention[self.layer - 1]
        ordinary = [v for v, t in zip(row, self.tokens, strict=True) if not t.special] or row
        low, high = min(ordinary), max(ordinary)
        return [min(1.0, max(0.0, (v - low) / ((high - low) or 1.0))) for v in row]

    def most_attended(self, layer: int, most: int = 3) -> str:
        """Return the ordinary tokens that exit ``layer`` attends to most, most first."""
        row = self.attention[layer - 1]
        ordinary = [i for i, t in enumerate(self.tokens) if not t.special]
        return ", ".join(self.tokens[i].text for i in sorted(ordinary, key=lambda i: -row[i])[:most])

    @property
    def note(self) -> str | None:
        """Say which words the model cannot read, None where it reads them all."""
        ordinary = [token for token in self.tokens if not token.special]
        unknown = list(dict.fromkeys(token.text for token in ordinary if token.unknown))
        if not unknown:
            return None
        many = sum(token.unknown for token in ordinary)
        shown = ", ".join(unknown[:5]) + (", …" if len(unknown) > 5 else "")
        means = "its answer says nothing of the text" if many == len(ordinary) else "its answer rests on the others"
        return f"The model does not know {many} of the {len(ordinary)} pieces of this text ({shown}): {means}."

    @property
    def answer(self) -> str:
        """What is said where the input leaves."""
        return self.steps[self.layer - 1].answer

    def __repr__(self) -> str:
        """Return where the input leaves, and as what."""
        known = "" if self.label is None else f", label {self.label}"
        where = f"leaves at exit {self.layer} of {len(self.steps)} as {self.answer}{known} ({self.point})"
        return f"<Explanation: {self.title} {where}>"

    def _repr_html_(self) -> str:
        columns = ["exit", *(f"p({name})" for name in self.labels), "entropy", "score", "state", "looks at", ""]
        rows = []
        for step in self.steps:
            numbers = [*(f"{value:.3f}" for value in (*step.probabilities, step.entropy)), format_score(step.score)]
            looked = self.most_attended(step.layer)
            rows.append([str(step.layer), *numbers, step.state, looked, "leaves" if step.leaves else ""])
        notes = [*filter(None, [self.note]), *(f"{doubt.said}." for doubt in self.doubts)]
        return write_html_table(repr(self)[14:-1], columns, rows, notes)


def format_score(value: float) -> str:
    """Return a criterion's score as text: -inf is a window that fired, +inf never."""
    if value == float("-inf"):
        return "fires"
    return "never" if value == float("inf") else f"{value:z.3f}"  # z: no minus before a zero


def find_sample(data: TaskData, sample: str, split: str | None = None) -> tuple[Split, int]:
    """Return the split and row of a sample id. Raises UsageError where there is none."""
    splits = [s for s in (*data.evaluation.values(), data.select) if split is None or s.name == split]
    for found in splits:
        if sample in found.ids:
            return found, found.ids.index(sample)
    some = ", ".join(splits[0].ids[:3]) if splits else "none"
    raise UsageError(f"No sample '{sample}' in {', '.join(s.name for s in splits) or split}. Ids look like: {some}.")


def explain_sample(
    run: Run, model: RunModel, sample: str, *, split: str | None = None, rule: str | None = None, kind: str = ""
) -> Explanation:
    """Run a sample of the run's data through every exit. Raises UsageError for an id that is not there."""
    found, row = find_sample(model.data, sample, split)
    second = None if found.second is None else found.second[row]
    key, label = int(hash_ids((sample,))[0]), int(found.labels[row])
    text = Text(found.first[row], second, title=sample, label=label, key=key, split=found.name, kind=kind)
    return explain_text(run, model, text, rule)


def explain_cases(run: Run, model: RunModel, rule: str | None) -> list[Explanation]:
    """Explain three simple and three overthinking samples at most. Raises UsageError where there are none."""
    cases = find_run_cases(run, rule, most=3)
    if not cases:
        raise UsageError(f"{run.folder.name} has neither simple nor overthinking samples at this point.")
    return [explain_sample(run, model, c.id, split=run.primary, rule=rule, kind=c.kind) for c in cases]


@torch.inference_mode()
def explain_text(run: Run, model: RunModel, text: Text, rule: str | None = None) -> Explanation:
    """Run one input through every exit, leaving at the operating point of ``rule``.

    Raises UsageError for an empty text, a task without classes, or a point that was not reached.
    """
    if not text.first.strip():
        raise UsageError("The text is empty: there is nothing to explain.")
    if model.model.head.num_outputs < 2:
        raise UsageError(f"Task '{model.data.name}' is a regression: it has no class probabilities to explain.")
    pair = model.data.train.second is not None
    if pair and text.second is None:
        raise UsageError(f"Task '{model.data.name}' takes two texts: give the other one with --second.")
    if not pair and text.second is not None:
        raise UsageError(f"Task '{model.data.name}' takes one text: leave --second out.")
    batch, tokens = encode_text(model, text.first, text.second)
    with record_attention(model.model.encoder.model) as maps:
        logits = torch.stack([z[0] for z in model.model(batch)]).float()  # [L, C]
    probe = model.criterion.probe
    observed = None if probe is None else probe_batch(model.model, probe, batch)[0]  # [L, K]
    flow = roll_out_attention([m[0] for m in maps])
    mean = model.model.head.pooling == "mean"
    attention = flow.mean(dim=1) if mean else flow[:, 0]
    split = text.split if text.split in run.record.evaluation else run.primary
    point = choose_point(run, rule, split)
    names = [str(n) for n in model.data.label_names]
    cut = -math.inf if point is None else point.cut
    steps = step_sample(model.criterion, logits, cut, names, text.key, observed)
    own = []
    for reached in run.result(split).reached.values():
        step = find_leaving(step_sample(model.criterion, logits, reached.cut, names, text.key, observed))
        own.append(Leaving(run.strategy, reached.rule, reached.threshold, step.layer, step.answer, own=True))
    return Explanation(
        title=text.title,
        tokens=tokens,
        labels=names,
        label=None if text.label is None else names[text.label],
        steps=steps,
        leavings=[*own, *find_where_others_leave(run.strategy, logits, names, text.key)],
        attention=attention.tolist(),
        read_out="the mean over all tokens" if mean else f"the first token ({tokens[0].text})",
        point="all layers" if point is None else point.rule,
        threshold=None if point is None else point.threshold,
        layer=find_leaving(steps).layer,
        kind=text.kind,
        doubts=run.find_doubts(split),
    )


def encode_text(model: RunModel, first: str, second: str | None) -> tuple[Batch, list[Token]]:
    """Return the input as a batch of one, as training saw it, and its tokens: pieces of the text where known."""
    tokenizer, fast = model.tokenizer, bool(model.tokenizer.is_fast)
    given = {"truncation": True, "max_length": model.max_length, "return_offsets_mapping": fast}
    found = tokenizer(first, second, **given)
    ids, types = list(map(int, found["input_ids"])), list(map(int, found.get("token_type_ids", ())))
    batch = Batch(torch.tensor([ids]), None, torch.tensor([types]) if any(types) else None)
    named = tokenizer.convert_ids_to_tokens(ids)
    strange = None if tokenizer.unk_token_id is None else int(tokenizer.unk_token_id)
    if not fast:
        special = set(tokenizer.all_special_ids) - {strange}
        return batch, [Token(" ", str(n), i in special, i == strange) for i, n in zip(ids, named, strict=True)]
    tokens, texts, end = [], (first, second or ""), [0, 0]
    for number, name, owner, (start, stop) in zip(
        ids, named, found.sequence_ids(0), found["offset_mapping"], strict=True
    ):
        if owner is None:
            tokens.append(Token(" ", str(name), True))
            continue
        start, stop = max(int(start), end[owner]), max(int(stop), end[owner])
        piece = texts[owner][start:stop]
        after_special = " " if tokens and tokens[-1].special else ""
        before = texts[owner][end[owner] : start] or after_special
        tokens.append(Token(before, piece or str(name), special=False, unknown=number == strange))
        end[owner] = stop
    return batch, tokens


def step_sample(
    criterion: Criterion, logits: Tensor, cut: float, labels: Sequence[str], key: int, observed: Tensor | None = None
) -> list[ExitStep]:
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
    left = next((k for k, (_, scores) in enumerate(trace, start=1) if criterion.leaves(scores, cut)[0]), layers)
    judged = [(float(scores[0]), describe_state(state)) for state, scores in trace] or [(math.inf, "")] * layers
    return [
        ExitStep(k, p.exp().tolist(), float(spread), labels[int(z.argmax())], *said, leaves=k == left)
        for k, (p, spread, z, said) in enumerate(zip(log_p, entropy, logits, judged, strict=True), start=1)
    ]


def find_leaving(steps: Sequence[ExitStep]) -> ExitStep:
    """Return the step at which the sample leaves."""
    return next(step for step in steps if step.leaves)


def describe_state(state: State) -> str:
    """Return a criterion's memory of one sample: every tensor by name; what is not filled yet is a dot."""
    kept = {name: value[0].reshape(-1).tolist() for name, value in state.items() if name != "keys"}
    return "; ".join(f"{name} {' '.join(map(_describe_number, values))}" for name, values in kept.items())


def _describe_number(value: float) -> str:
    filled = value >= 0 if isinstance(value, int) else math.isfinite(value)
    return "·" if not filled else str(value) if isinstance(value, int) else f"{value:.3f}"


def find_where_others_leave(own: str, logits: Tensor, labels: Sequence[str], key: int) -> list[Leaving]:
    """Return where every known criterion but ``own``, with its defaults, would let the same logits go.

    Left out are those that would have to be fitted first, and those that read more than logits.
    """
    found = []
    for name, criterion in list_criteria((name for name in STRATEGIES if name != own), logits.shape[1]).items():
        threshold = criterion.default_threshold
        step = find_leaving(step_sample(criterion, logits, criterion.cut(threshold), labels, key))
        found.append(Leaving(name, "default", threshold, step.layer, step.answer, own=False))
    return found


# --------------------------------------------------------------------------- attention


def roll_out_attention(attentions: Sequence[Tensor]) -> Tensor:
    """Return cumulative attention after each layer: [L, T, T] from L attention maps [heads, T, T]; rows sum to 1.

    Abnar & Zuidema (ACL 2020, "Quantifying Attention Flow in Transformers", sec. 3): heads averaged, the residual
    connection as half the identity, A_l = 0.5 W_l + 0.5 I with rows normalised, and R_l = A_l R_{l-1}, R_0 = I. Row i
    is what token i's state after layer l is made of. Computed in float64. Raises ValueError for no maps.
    """
    if not attentions:
        raise ValueError("Rollout needs the attention of at least one layer.")
    tokens = attentions[0].shape[-1]
    identity = torch.eye(tokens, dtype=torch.float64)
    reached, found = identity, []
    for attention in attentions:
        mixed = 0.5 * attention.detach().cpu().double().mean(dim=0) + 0.5 * identity
        reached = mixed / mixed.sum(dim=-1, keepdim=True) @ reached
        found.append(reached)
    return torch.stack(found)


@contextmanager
def record_attention(model: PreTrainedModel) -> Iterator[list[Tensor]]:
    """Yield a list that fills with the attention maps [B, heads, T, T] of every layer that runs inside the block.

    Works for any model whose modules return ``(output, weights)``, as transformers' do with eager attention (DeBERTa's
    only where its configuration asks for them). Modules that hand the same tensor on are counted once; a module that
    serves several layers is counted at each call.
    """
    found: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, tuple) and len(output) > 1 and isinstance(output[1], Tensor):
            weights = output[1]
            square = weights.ndim == 4 and weights.shape[-1] == weights.shape[-2]
            if square and not (found and found[-1] is weights):
                found.append(weights)

    handles = [module.register_forward_hook(keep) for module in model.modules()]
    asked = model.config.output_attentions
    model.config.output_attentions = True
    try:
        yield found
    finally:
        model.config.output_attentions = asked
        for handle in handles:
            handle.remove()

"""What every causal criterion must do. The first property is what the others stand on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor

from backbones.errors import UserError
from bench.inference.replay import make_criterion
from bench.measure.curve import exact_curve, exit_layers
from bench.selfcheck.properties.contract import ODD_VALUES, Property
from bench.selfcheck.properties.live import draw_lengths, find_live_difference, shrink_lengths
from bench.selfcheck.properties.subject import (
    EXITS,
    JudgedCriterion,
    make_first,
    make_observed,
    make_seen,
    shrink_logits,
    step_all,
)
from bench.settings import list_settable
from strategies.base import Criterion, Seen, State, select

PRECISIONS_ASKED = (torch.float32, torch.float64)
SATURATED = (100.0, 1e4, 1e30)


# ---------------------------------------------------------------- examples


def draw_usual(judged: JudgedCriterion) -> Iterator[Tensor]:
    """Yield logits of few classes, in both precisions."""
    for seed, dtype in enumerate(PRECISIONS_ASKED):
        for classes in (2, 3) if judged.criterion.classification else (1,):
            yield judged.draw(seed, classes=classes).to(dtype)


def draw_ties(judged: JudgedCriterion) -> Iterator[Tensor]:
    """Yield logits that are all alike, and few different ones."""
    for classes in (2, 3) if judged.criterion.classification else (1,):
        for dtype in PRECISIONS_ASKED:
            z = judged.draw(samples=12, classes=classes).to(dtype)
            yield torch.zeros_like(z)
            yield torch.ones_like(z)
            yield z.sign()


def draw_saturated(judged: JudgedCriterion) -> Iterator[Tensor]:
    """Yield finite logits as large as they can be."""
    for size in SATURATED:
        for dtype in PRECISIONS_ASKED:
            yield torch.where(judged.draw() > 0, size, -size).to(dtype)


def draw_sizes(judged: JudgedCriterion) -> Iterator[Tensor]:
    """Yield logits of one exit, of one sample, and of each number of classes that is served."""
    outputs = judged.list_outputs()
    for classes in outputs:
        for exits in (EXITS, 2, 1):
            yield judged.draw(samples=4, exits=exits, classes=classes)
    yield judged.draw(samples=1, exits=12, classes=outputs[0] if outputs else 3)


# ---------------------------------------------------------------- what must hold


def find_unsound_score(judged: JudgedCriterion, logits: Tensor) -> str | None:
    """Return where a score is not one floating number a sample, of 32 bits or more, or a state not a sample's."""
    criterion, samples = judged.make_for(logits), len(logits)
    state = criterion.start(make_first(logits))
    for layer in range(1, logits.shape[1] + 1):
        got = criterion.step(state, make_seen(criterion, logits, layer))
        if not (isinstance(got, tuple) and len(got) == 2):
            return f"step gives {type(got).__name__}, not (state, scores)"
        state, score = got
        if not isinstance(score, Tensor) or tuple(score.shape) != (samples,):
            what = list(score.shape) if isinstance(score, Tensor) else type(score).__name__
            return f"the scores at exit {layer} are {what}, not one a sample, [{samples}]"
        if not score.is_floating_point() or torch.finfo(score.dtype).bits < 32:
            return f"the scores at exit {layer} are {score.dtype}, neither float32 nor float64"
        if bool(score.isnan().any()):
            return f"the score of sample {int(score.isnan().nonzero()[0])} at exit {layer} is NaN"
        for name, value in state.items():
            if not isinstance(value, Tensor) or value.ndim < 1 or len(value) != samples:
                return f"state '{name}' after exit {layer} is no tensor whose first dimension is the sample"
    return None


def find_changed_input(judged: JudgedCriterion, logits: Tensor) -> str | None:
    """Return what a step changes in place of what it is given: its state, the logits or what was observed."""
    criterion = judged.make_for(logits)
    observed = make_observed(criterion, logits)
    state = criterion.start(make_first(logits))
    for layer in range(1, logits.shape[1] + 1):
        z = logits[:, layer - 1].clone()
        read = None if observed is None else observed[:, layer - 1].clone()
        given = {**{f"state '{name}'": value for name, value in state.items()}, "logits": z}
        given |= {} if read is None else {"observed": read}
        before = {name: value.clone() for name, value in given.items()}
        after, _ = criterion.step(state, Seen(layer, z, read))
        for name, value in given.items():
            if not torch.equal(value.nan_to_num(), before[name].nan_to_num()):
                return f"step changes the {name} that it is given at exit {layer}, in place"
        state = after
    return None


def find_difference(one: Tensor, other: Tensor, said: str) -> str | None:
    """Return the first of scores [N, L] that differ by more than rounding, or None."""
    near = torch.isclose(other, one, rtol=64 * torch.finfo(one.dtype).eps, atol=64 * torch.finfo(one.dtype).eps)
    if bool(near.all()):
        return None
    row, at = (~near).nonzero()[0].tolist()
    return f"sample {row} at exit {at + 1} has {float(one[row, at]):.6g}, and {float(other[row, at]):.6g} {said}"


def find_changed_repeat(judged: JudgedCriterion, logits: Tensor) -> str | None:
    """Return where a second replay differs: by the same criterion, by one made anew, beside another one."""
    criterion = judged.make_for(logits)
    torch.manual_seed(0)
    first = step_all(criterion, logits)
    torch.manual_seed(1)
    for again, said in ((criterion, "the second time"), (judged.make_for(logits), "made anew")):
        if found := find_difference(first, step_all(again, logits), said):
            return found
    others = logits.flip(0) + 1
    states, scores = [criterion.start(make_first(z)) for z in (logits, others)], []
    for layer in range(1, logits.shape[1] + 1):
        states[0], score = criterion.step(states[0], make_seen(criterion, logits, layer))
        states[1], _ = criterion.step(states[1], make_seen(criterion, others, layer))
        scores.append(score)
    return find_difference(first, torch.stack(scores, dim=1), "in turns with another batch")


def find_later_exit(judged: JudgedCriterion, logits: Tensor) -> str | None:
    """Return where a score changes when only later exits say something else."""
    original = step_all(judged.make_for(logits), logits)
    for layer in range(1, logits.shape[1]):
        changed = logits.clone()
        changed[:, layer:] = 5 * torch.randn(changed[:, layer:].shape, generator=torch.Generator().manual_seed(layer))
        found = step_all(judged.make_for(logits), changed)[:, :layer]
        if said := find_difference(original[:, :layer], found, f"when the exits after exit {layer} say something else"):
            return said
    return None


def find_batch_effect(judged: JudgedCriterion, logits: Tensor) -> str | None:
    """Return where a score depends on the batch: samples leave, are reordered, and their state is saved and loaded."""
    criterion, rows = judged.make_for(logits), torch.arange(len(logits))
    expected = step_all(judged.make_for(logits), logits)
    generator = torch.Generator().manual_seed(0)
    state = criterion.start(make_first(logits))
    for layer in range(1, logits.shape[1] + 1):
        state, score = criterion.step(state, make_seen(criterion, logits[rows], layer))
        said = f"(exit {layer}) when others have left or changed places"
        if found := find_difference(expected[rows, layer - 1 : layer], score[:, None], said):
            return found
        kept = torch.randperm(len(rows), generator=generator)[: max(1, len(rows) - 7)]
        state = pass_through_file(select(state, kept))
        rows = rows[kept]
        mask = torch.rand(len(rows), generator=generator) < 0.9
        if mask.any():
            state, rows = select(state, mask), rows[mask]
    return None


def pass_through_file(state: State) -> State:
    """Return the state after saving and loading it as safetensors. Raises ValueError where it is not the same."""
    loaded = load(save({key: value.contiguous() for key, value in state.items()}))
    for key, value in state.items():
        if loaded[key].dtype != value.dtype or not torch.equal(loaded[key].nan_to_num(), value.nan_to_num()):
            raise ValueError(f"state '{key}' is another one after it was saved and loaded")
    return loaded


def find_company(judged: JudgedCriterion, logits: Tensor) -> str | None:
    """Return where a sample that is stepped alone has another score than among others."""
    expected = step_all(judged.make_for(logits), logits)
    for row in range(min(len(logits), 5)):
        alone = step_all(judged.make_for(logits), logits[row : row + 1], torch.tensor([row]))
        if found := find_difference(alone, expected[row : row + 1], "among others"):
            return found.replace("sample 0", f"sample {row}", 1)
    return None


def find_other_decision(judged: JudgedCriterion, logits: Tensor) -> str | None:
    """Return at which cut the live comparison does not let go whom replay does; at -inf nobody leaves."""
    criterion = judged.make_for(logits)
    scores = step_all(judged.make_for(logits), logits)
    found = scores.numpy()
    for cut in list_cuts(criterion, scores):
        leaving = torch.stack([criterion.leaves(scores[:, i], cut) for i in range(scores.shape[1])], dim=1)
        leaving[:, -1] = True
        live, layers = leaving.int().argmax(dim=1).numpy() + 1, exit_layers(found, cut, criterion.strict)
        if len(rows := np.flatnonzero(live != layers)):
            row = int(rows[0])
            return f"at the cut {cut:g} sample {row} leaves at exit {live[row]} live, at {layers[row]} in replay"
    return None


def list_cuts(criterion: Criterion, scores: Tensor) -> list[float]:
    """Return one cut for each set of decisions that there is on scores [N, L], and "always"."""
    return [*exact_curve(scores.numpy(), [], strict=criterion.strict).midpoints.tolist(), math.inf]


def find_disorder(judged: JudgedCriterion, logits: Tensor) -> str | None:
    """Return which thresholds are not in the order of what they cost, or mean another cut than the one they are of."""
    criterion = judged.make_for(logits)
    scores = step_all(judged.make_for(logits), logits)
    decide = partial(exit_layers, scores.numpy(), strict=criterion.strict)
    known: dict[float, float] = {}
    for cut in list_cuts(criterion, scores):
        threshold = criterion.threshold(cut)
        if not np.array_equal(decide(criterion.cut(threshold)), decide(cut)):
            return f"threshold({cut:g}) is {threshold:g}, and cut({threshold:g}) decides otherwise"
        if criterion.integer and math.isfinite(threshold) and threshold != round(threshold):
            return f"the threshold counts something (integer = True), and of the cut {cut:g} it is {threshold:g}"
        known[threshold] = float(decide(cut).mean())
    finite = [threshold for threshold in known if math.isfinite(threshold)]
    grid = np.linspace(min(finite), max(finite), 41).tolist() if finite else []
    for threshold in {round(t) for t in grid} if criterion.integer else grid:
        known[float(threshold)] = float(decide(criterion.cut_at(threshold)).mean())
    # a threshold that means "never" may stand anywhere: PABEE's patience 0 does
    ordered = [(t, cost) for t, cost in sorted(known.items()) if math.isfinite(criterion.cut(t))]
    steps = np.sign(np.round(np.diff([cost for _, cost in ordered]), 9))
    if len(turned := np.flatnonzero(steps * (steps[steps != 0][:1].sum() or 1) < 0)):
        (low, before), (high, after) = ordered[turned[0]], ordered[turned[0] + 1]
        return (
            f"from threshold {low:g} to {high:g} the mean exit goes from {before:.2f} to {after:.2f}, "
            "elsewhere the other way"
        )
    return None


def find_idle_threshold(judged: JudgedCriterion, logits: Tensor) -> str | None:
    """Return that no threshold but "never" moves an exit, though the criterion leaves early."""
    criterion = judged.make_for(logits)
    curve = exact_curve(step_all(judged.make_for(logits), logits).numpy(), [], strict=criterion.strict)
    if not criterion.uses_early_exits or criterion.fits > judged.fits or len(curve.midpoints) > 2:
        return None
    depth = curve.mean_layer[-1]
    return f"whatever the threshold, but for 'never', the mean exit is {depth:.2f}: the scores are -inf or +inf alone"


def find_bad_refusal(judged: JudgedCriterion, argument: str) -> str | None:
    """Return what is not said on one line: of a task that is not served, or of an odd value of an ``argument``."""
    if not argument:
        criterion = judged.make()
        for outputs in (1, 2, 3, 1000):
            why = criterion.refuse(outputs)
            if why is not None and not (isinstance(why, str) and why.strip() and "\n" not in why):
                return f"refuse({outputs}) gives {why!r}, not a reason on one line, or None"
        served = criterion.refuse(1) is None, criterion.refuse(2) is None
        if served != (criterion.regression, criterion.classification):
            said = f"regression = {criterion.regression}, classification = {criterion.classification}"
            return f"refuse does not say what the class says ({said})"
        return None
    for value in ODD_VALUES:
        try:
            make_criterion(judged.kind, {**judged.arguments, argument: value})
        except UserError as error:
            if "\n" in str(error) or not str(error).strip():
                return f"{argument}={value!r} is refused with {str(error)!r}, not on one line"
    return None


def find_live_fault(judged: JudgedCriterion, lengths: tuple[int, ...]) -> str | None:
    """Return where a tiny model of float64 that really stops decides otherwise than a replay of its logits."""
    return find_live_difference(judged.kind, judged.arguments, lengths)[0]


def _ask(name: str, says: str, find: object, draw: object = draw_usual) -> Property[JudgedCriterion, Tensor]:
    return Property(name, says, find, draw, shrink_logits)  # type: ignore[arg-type]


CRITERION_PROPERTIES: tuple[Property[JudgedCriterion, Tensor], ...] = (
    _ask("scores", "A step gives one floating score a sample, never NaN, and a state of one row a sample.",
         find_unsound_score),
    _ask("inputs", "A step changes nothing that it is given: state, logits, observations.", find_changed_input),
    _ask("repeats", "Asked again, in turns with others, with another seed, it gives the same scores.",
         find_changed_repeat),
    _ask("causal", "A score does not depend on later exits.", find_later_exit),
    _ask("batch", "A score does not depend on the batch: others leave, change places, are loaded from a file.",
         find_batch_effect),
    _ask("alone", "A sample that is stepped alone has the same scores.", find_company),
    _ask("ties", "Samples and classes that are all alike have a score.", find_unsound_score, draw_ties),
    _ask("saturated", "Logits of up to 1e30 have a score, no NaN.", find_unsound_score, draw_saturated),
    _ask("sizes", "One exit, one sample, and each of 1, 2 and 1,000 classes that it serves.",
         find_unsound_score, draw_sizes),
    _ask("decisions", "Live, a score lets go whom it lets go in replay, at every cut; at 'never' nobody.",
         find_other_decision),
    _ask("thresholds", "Thresholds stand in the order of what they cost, and mean the cut that they are of.",
         find_disorder),
    _ask("decides", "The threshold decides how early samples leave.", find_idle_threshold),
)  # fmt: skip
"""On made-up logits."""

LIVE: Property[JudgedCriterion, tuple[int, ...]] = Property(
    "live", "A model that really stops decides as a replay of its logits, in float64.",
    find_live_fault, draw_lengths, shrink_lengths,
)  # fmt: skip

REFUSALS: Property[JudgedCriterion, str] = Property(
    "refusals", "What it cannot serve is refused on one line.", find_bad_refusal,
    lambda judged: ["", *list_settable(judged.criterion)],
)  # fmt: skip

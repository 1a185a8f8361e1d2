"""What an engineer would try before early exit, as plain models for the clock: less precision, compiling, fewer layers.

What cannot run on a machine is a row that says why, never a missing one. A model whose answers are its own but for
rounding may be what speed-ups are against; one with fewer layers stands beside early exit.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from backbones.base import Batch
from bench.inference.executors import make_executor, make_plain_call
from bench.latency.depth import ShallowModel
from bench.latency.names import FIRST_LAYERS
from bench.latency.queries import PlainCall, make_stepped_call, make_stock_call
from strategies.base import ExitModel, predict

WHY_SHOWN = 160


@dataclass(frozen=True)
class Rival:
    """A way to be faster without early exit; ``call`` is None where it cannot run here, and ``why`` says the reason.

    ``layers`` is how many layers it runs at most. The answers of a rival that ``keeps_answers`` are the model's own but
    for rounding.
    """

    name: str
    call: PlainCall | None
    layers: int
    why: str = ""
    keeps_answers: bool = False


def make_requested(names: Sequence[str], model: ExitModel, probe: Batch) -> list[Rival]:
    """Return what is asked for by :func:`parse_baselines`' names on the whole ``model``, each tried on ``probe``."""
    return [_make_requested(name, model, probe) for name in names]


def _make_requested(name: str, model: ExitModel, probe: Batch) -> Rival:
    last = model.num_layers
    if found := FIRST_LAYERS.fullmatch(name):
        layers = int(found[1])
        if layers >= last:
            return Rival(name, None, layers, f"the model has {last} layers")
        return try_rival(name, lambda: make_stepped_call(ShallowModel(model, layers)), probe, layers)
    own, asked = next(model.parameters()).dtype, {"fp32": torch.float32, "bf16": torch.bfloat16}.get(name)
    if asked == own:
        return Rival(name, None, last, "it is what the model runs in anyway")
    makers: dict[str, Callable[[], PlainCall]] = {
        "compile": lambda: make_plain_call(make_executor(model, "compile")),
        "int8": lambda: make_stock_call(quantise_model(model)),
    }
    make = makers.get(name, lambda: make_stock_call(copy.deepcopy(model).to(asked)))
    return try_rival(name, make, probe, last, keeps=name == "compile")


def try_rival(name: str, make: Callable[[], PlainCall], probe: Batch, layers: int, keeps: bool = False) -> Rival:
    """Return a rival that has answered ``probe`` once, or one that says why it cannot."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            call = make()
            call(probe)
        except ModuleNotFoundError as error:
            return Rival(name, None, layers, f"{error.name} is not installed")
        except Exception as error:  # whatever a library lacks here, it is a row that says so
            first = " ".join(str(error).split())[:WHY_SHOWN]
            return Rival(name, None, layers, f"{type(error).__name__}: {first}" if first else type(error).__name__)
    return Rival(name, call, layers, keeps_answers=keeps)


def quantise_model(model: ExitModel) -> ExitModel:
    """Return a copy whose linear layers have int8 weights, its inputs quantised as they come (torch's dynamic int8).

    The classifier keeps its precision, as usual.
    """
    from torch.ao.quantization import quantize_dynamic

    made = copy.deepcopy(model)
    made.encoder.model = quantize_dynamic(made.encoder.model, {nn.Linear}, dtype=torch.qint8)
    return made.eval()


def describe_requested(rivals: Sequence[Rival], plain: PlainCall, batches: Sequence[Batch]) -> list[str]:
    """Return a line for each rival that cannot run here, and of the others how many answers differ from ``plain``'s."""
    lines = [f"{one.name} does not run here: {one.why}" for one in rivals if one.call is None]
    running = [one for one in rivals if one.call is not None]
    if not running:
        return lines
    given = torch.cat([predict(plain(batch).float()).cpu() for batch in batches])
    if given.is_floating_point():  # values differ in their last digits
        return lines
    for one in running:
        assert one.call is not None
        answers = torch.cat([predict(one.call(batch).float()).cpu() for batch in batches])
        lines.append(f"{one.name} answers {int((answers != given).sum())} of {len(given)} timed samples otherwise")
    return lines

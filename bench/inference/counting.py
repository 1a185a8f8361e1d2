"""What early exit does, counted and not timed: the same numbers on any machine, however busy.

The eager executor itself runs, on made-up tokens, with real criteria that are overruled: where samples leave is
prescribed, so that nothing depends on what was learned. Counted is what torch is asked to do on the way, by where it is
asked: embedding, the start of the criterion, each layer, head and check.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from backbones.base import Batch
from bench.inference.executors import EagerExecutor
from strategies.base import Criterion, ExitModel, ScoreEstimate

COUNTED_TOKENS = 16
"""Length of the longest made-up sample, where the model takes so many."""


@dataclass
class Tally:
    """What was done at one place."""

    operations: int = 0
    """Operations that torch dispatched, views too, composite ones taken apart."""
    weight_bytes: int = 0
    """Bytes of parameters and buffers that they read; of a table that is looked up, what is taken from it."""
    activation_bytes: int = 0
    """Bytes of all other tensors that they read and wrote; views touch none."""
    syncs: int = 0
    """Times that the host took values out of a tensor, for which it must wait for the device: ``item``, ``bool``,
    ``tolist``, ``cpu`` and their kin."""
    transfers: int = 0
    """Tensors that were sent to a device, also to where they are already."""


@dataclass(frozen=True)
class CountedWork:
    """One run: ``exits`` and ``tokens`` of its samples, and what was done, each list by layer from 1 on.

    ``start`` is what comes before layer 1 besides the embedding; a check is all that follows a head: the criterion's
    step, the decision, the answer, and taking the samples that leave out of the batch.
    """

    exits: tuple[int, ...]
    tokens: tuple[int, ...]
    embed: tuple[Tally, ...]
    start: tuple[Tally, ...]
    layers: tuple[Tally, ...]
    heads: tuple[Tally, ...]
    checks: tuple[Tally, ...]


def count_work(model: ExitModel, criterion: Criterion) -> list[CountedWork]:
    """Count one sample that never leaves early, one that leaves half-way, and four that leave one after another.

    ``model`` must be in evaluation mode. Raises StrategyError for a criterion that cannot run live.
    """
    scripts: list[tuple[tuple[int, ...], tuple[int, ...]]]
    config = model.encoder.model.config
    last, most = model.num_layers, min(COUNTED_TOKENS, config.max_position_embeddings - 2)  # RoBERTa's begin at 2
    middle = max(1, last // 2)
    scripts = [
        ((last,), (most,)),
        ((middle,), (most,)),
        ((1, middle, last, last), (most, most * 3 // 4, most // 2, most)),
    ]
    if not criterion.uses_early_exits:
        scripts = [((last,), (most,)), ((last,) * 4, scripts[2][1])]
    _count_run(model, criterion, *scripts[0])  # tables that depend on the length are made in the first pass
    return [_count_run(model, criterion, *script) for script in scripts]


def make_plain_batch(model: ExitModel, tokens: Sequence[int]) -> Batch:
    """Make samples of the given lengths, all of one token, padded on the right; no mask where nothing is padded."""
    pad = int(model.encoder.model.config.pad_token_id or 0)
    mask = torch.arange(max(tokens)) < torch.tensor(tokens)[:, None]
    ids = torch.where(mask, 1 if pad == 0 else 0, pad)
    return Batch(ids, None if mask.all() else mask.long(), torch.zeros_like(ids))


class Ledger:
    """Where the engine is, and what was counted there."""

    def __init__(self) -> None:
        self.at: tuple[str, int] = ("start", 1)
        self.found: dict[tuple[str, int], Tally] = {}
        self.paused = False

    def add(self, **amounts: int) -> None:
        """Add to what was counted at the present place."""
        if not self.paused:
            tally = self.found.setdefault(self.at, Tally())
            for name, amount in amounts.items():
                setattr(tally, name, getattr(tally, name) + amount)

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Count nothing inside the block."""
        self.paused = True
        try:
            yield
        finally:
            self.paused = False

    def place(self, part: str, work: Callable[..., Any], then: str, by_layer: bool = True) -> Callable[..., Any]:
        """Return ``work``, during which the engine is at ``part``, and afterwards at ``then``."""

        def run(*args: Any) -> Any:
            layer = next(arg for arg in args if isinstance(arg, int)) if by_layer else 1
            self.at = (part, layer)
            made = work(*args)
            self.at = (then, layer)
            return made

        return run

    def list_tallies(self, part: str) -> tuple[Tally, ...]:
        """Return what was counted at a part, by layer from 1 to the last at which there was anything."""
        layers = [layer for name, layer in self.found if name == part]
        return tuple(self.found.get((part, layer), Tally()) for layer in range(1, max(layers, default=0) + 1))


def watch_model(model: ExitModel, ledger: Ledger) -> ExitModel:
    """Return the model, weights shared, whose parts tell ``ledger`` when they run."""
    encoder, head = copy.copy(model.encoder), copy.copy(model.head)
    vars(encoder)["embed"] = ledger.place("embed", model.encoder.embed, "start", by_layer=False)
    vars(encoder)["layer"] = ledger.place("layers", model.encoder.layer, "checks")
    for way in ("step", "skip", "forward"):
        vars(head)[way] = ledger.place("heads", getattr(model.head, way), "checks")
    return ExitModel(encoder, head).train(model.training)


def prescribe_exits(criterion: Criterion, exits: Sequence[int], ledger: Ledger) -> Criterion:
    """Return the criterion, which decides as it does and is overruled: sample i leaves at ``exits[i]``.

    Where it estimates, a sample leaves by an estimate that is too near the cut, so that its steps are counted too.
    """
    overruled = copy.copy(criterion)

    def leaves(score: Tensor, cut: float) -> Tensor:
        found = criterion.leaves(score, cut)
        with ledger.pause():
            layer = ledger.at[1]
            inside = [exit == layer for exit in exits if exit >= layer]
            return torch.tensor(inside, device=found.device)

    def estimate(exits: Sequence[Sequence[float]], num_layers: int) -> ScoreEstimate:
        criterion.estimate(exits, num_layers)
        return ScoreEstimate(0.0)

    def decide(estimate: ScoreEstimate, cut: float) -> bool | None:
        criterion.decide(estimate, cut)
        return None if ledger.at[1] in exits else False

    vars(overruled).update(leaves=leaves, estimate=estimate, decide=decide)
    return overruled


def _count_run(model: ExitModel, criterion: Criterion, exits: tuple[int, ...], tokens: tuple[int, ...]) -> CountedWork:
    ledger = Ledger()
    watched = EagerExecutor(watch_model(model, ledger))
    overruled = prescribe_exits(criterion, exits, ledger)
    batch, keys = make_plain_batch(model, tokens), torch.arange(len(exits))
    probe = () if criterion.probe is None else (criterion.probe,)
    with HostAccess(ledger), Operations(ledger, chain.from_iterable(gather_weights(one) for one in (model, *probe))):
        watched(overruled, criterion.cut(criterion.default_threshold), batch, keys)
    return CountedWork(
        exits,
        tokens,
        **{part: ledger.list_tallies(part) for part in ("embed", "start", "layers", "heads", "checks")},
    )


def gather_weights(module: torch.nn.Module) -> Iterator[Tensor]:
    """Yield the parameters and buffers of a module."""
    yield from module.parameters()
    yield from module.buffers()


class Operations(TorchDispatchMode):
    """Count the operations that are dispatched, and the bytes that they touch."""

    def __init__(self, ledger: Ledger, weights: Iterable[Tensor]) -> None:
        super().__init__()
        self.ledger = ledger
        self.weights = {weight.untyped_storage().data_ptr() for weight in weights}

    def __torch_dispatch__(
        self, func: Any, types: object, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        with self:
            made = func.decompose(*args, **kwargs)
        if made is not NotImplemented:
            return made
        made = func(*args, **kwargs)
        self.ledger.add(operations=1)
        if func is VALUE:
            self.ledger.add(syncs=1)
        if not func.is_view:
            given, written = gather_tensors((args, kwargs)), gather_tensors(made)
            out = sum(map(count_bytes, written))
            for number, tensor in enumerate(given):
                looked_up = number == 0 and func.overloadpacket in LOOK_UPS
                size = min(out, count_bytes(tensor)) if looked_up else count_bytes(tensor)
                is_weight = tensor.untyped_storage().data_ptr() in self.weights
                self.ledger.add(**{"weight_bytes" if is_weight else "activation_bytes": size})
            self.ledger.add(activation_bytes=out)
        return made


class HostAccess(TorchFunctionMode):
    """Count what never becomes an operation where host and device are one: values taken, tensors sent."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self.ledger = ledger

    def __torch_function__(
        self, func: Any, types: object, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in TO_HOST:
            self.ledger.add(syncs=1)
        elif func in TO_DEVICE:
            target = kwargs.get("device", args[1] if len(args) > 1 else None)
            if func is not torch.Tensor.to or isinstance(target, torch.device | str):
                self.ledger.add(transfers=1)
        return func(*args, **kwargs)


VALUE = torch.ops.aten._local_scalar_dense.default
"""What ``item``, ``bool``, ``int`` and ``float`` of a tensor come down to."""
LOOK_UPS = {getattr(torch.ops.aten, name) for name in ("embedding", "index", "index_select", "gather")}
"""Operations that touch of their first argument what they are told to."""
TO_HOST = {getattr(torch.Tensor, name) for name in ("tolist", "cpu", "numpy", "__array__")}
TO_DEVICE = {getattr(torch.Tensor, name) for name in ("to", "cuda")}


def gather_tensors(nested: object) -> list[Tensor]:
    """Return the tensors in nested lists and dictionaries."""
    return [leaf for leaf in tree_leaves(nested) if isinstance(leaf, Tensor)]


def count_bytes(tensor: Tensor) -> int:
    """Return the bytes that an operation touches which goes over all of ``tensor``; what is repeated counts once."""
    size = tensor.element_size()
    for length, stride in zip(tensor.shape, tensor.stride(), strict=True):
        size *= length if stride else min(length, 1)
    return size

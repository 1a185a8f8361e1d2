"""What a criterion of somebody else's must give at every exit. Ours are held to it by their tests."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor

from backbones.errors import UsageError
from backbones.names import is_ours


def is_makers(criterion: object) -> bool:
    """Return whether a criterion, or what it is wrapped around, does not come with ExitBench."""
    inner = getattr(criterion, "inner", None)
    return not is_ours(type(criterion)) or (inner is not None and is_makers(inner))


def check_state(criterion: object, state: object, samples: int) -> dict[str, Tensor]:
    """Return a criterion's memory. Raises UsageError where it is no mapping to tensors of one row a sample."""
    if not is_makers(criterion):
        return cast(dict[str, Tensor], state)
    if not isinstance(state, Mapping):
        raise UsageError(f"{name_class(criterion)}: the state is {type(state).__name__}, not a dict of tensors.")
    for key, value in state.items():
        if not isinstance(value, Tensor) or value.ndim < 1 or len(value) != samples:
            what = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise UsageError(
                f"{name_class(criterion)}: state '{key}' of {samples} samples is {what}; its first dimension must be "
                "the sample."
            )
    return dict(state)


def check_step(criterion: object, got: object, samples: int, layer: int) -> tuple[dict[str, Tensor], Tensor]:
    """Return what ``step`` gave at exit ``layer``: state and scores [n]. Raises UsageError for anything else."""
    if not is_makers(criterion):
        return cast(tuple[dict[str, Tensor], Tensor], got)
    if not (isinstance(got, tuple) and len(got) == 2):
        raise UsageError(f"{name_class(criterion)}: step gives {type(got).__name__}, not (state, scores).")
    state, score = got
    check_scores(criterion, score, (samples,), f" at exit {layer}")
    return check_state(criterion, state, samples), score


def check_scores(criterion: object, scores: object, wanted: tuple[int, ...], where: str = "") -> None:
    """Raise UsageError where scores are no tensor of the ``wanted`` shape, or NaN, which no threshold can order."""
    if not is_makers(criterion):
        return
    if not isinstance(scores, Tensor) or tuple(scores.shape) != wanted:
        what = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise UsageError(f"{name_class(criterion)}: the scores{where} must be a tensor {wanted}, not {what}.")
    if not scores.is_floating_point():
        raise UsageError(f"{name_class(criterion)}: the scores{where} must be .float(), not {scores.dtype}.")
    if bool(torch.isnan(scores).any()):
        raise UsageError(f"{name_class(criterion)}: scores{where} are NaN, which no threshold can order.")


def check_numbers(found: object, what: str) -> None:
    """Raise UsageError where ``found`` is no dict of texts to lists of finite numbers, which a record can hold."""
    fits = isinstance(found, Mapping) and all(
        isinstance(name, str) and isinstance(numbers, list) and all(map(_is_finite, numbers))
        for name, numbers in found.items()
    )
    if not fits:
        raise UsageError(f"{what} must give a dict of names to lists of finite numbers, not {found!r}.")


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def name_class(part: object) -> str:
    """Return ``Criterion 'Mine'``, of whichever part of a strategy."""
    kind = type(part)
    what = next((base.__name__ for base in kind.__mro__ if base.__name__ in ("Criterion", "Head", "Recipe")), "Part")
    return f"{what} '{kind.__qualname__}'"

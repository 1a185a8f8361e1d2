"""Properties and how they are asked: examples one after another, and of the first that fails the smallest."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch

from backbones.errors import UserError
from backbones.names import describe_failure

S = TypeVar("S")
E = TypeVar("E")

ODD_VALUES: tuple[object, ...] = (-1, 0, 1.5, 10**9, True, "none-such", None, ())
"""What every argument is given: it is taken, or refused on one line."""
SHRINK_SECONDS = 5.0
"""An example is made smaller for no longer; what is found by then fails, too."""


def _shrink_nothing(subject: Any, example: Any) -> Iterable[Any]:
    return ()


@dataclass(frozen=True)
class Property(Generic[S, E]):
    """What holds for every subject and example: ``find`` returns what is wrong with one, or None.

    What ``find`` raises is wrong, too. ``draw`` makes the examples, ``shrink`` smaller ones of one, the smallest first.
    """

    name: str
    says: str
    find: Callable[[S, E], str | None]
    draw: Callable[[S], Iterable[E]]
    shrink: Callable[[S, E], Iterable[E]] = _shrink_nothing


@dataclass(frozen=True)
class Broken:
    """A property that does not hold: what was found, on which example."""

    found: str
    example: object

    def describe_example(self) -> str:
        """Return the example on one line: a tensor by its shape and its numbers."""
        return describe_example(self.example)


def find_broken(asked: Property[S, E], subject: S) -> Broken | None:
    """Return how a property fails, on the smallest example that was found; None where it holds on all drawn."""
    with torch.random.fork_rng(devices=[]):
        for example in asked.draw(subject):
            found = ask_property(asked, subject, example)
            if found is not None:
                return _shrink_example(asked, subject, Broken(found, example))
    return None


def ask_property(asked: Property[S, E], subject: S, example: E) -> str | None:
    """Return what is wrong with ``subject`` on ``example``, on one line; None where nothing is."""
    try:
        found = asked.find(subject, example)
    except UserError as error:
        found = str(error)
    except Exception as error:  # whatever somebody's code raises
        found = describe_failure(error)
    return None if found is None else " ".join(found.split())


def _shrink_example(asked: Property[S, E], subject: S, broken: Broken) -> Broken:
    """Take the first smaller example that fails, as long as there is one."""
    until = time.monotonic() + SHRINK_SECONDS
    smaller: Iterator[E] = iter(asked.shrink(subject, broken.example))  # type: ignore[arg-type]
    while time.monotonic() < until and (example := next(smaller, None)) is not None:
        if found := ask_property(asked, subject, example):
            broken = Broken(found, example)
            smaller = iter(asked.shrink(subject, example))
    return broken


MOST_NUMBERS = 48


def describe_example(example: object) -> str:
    """Return an example on one line: of a tensor its shape, and its numbers where they are few."""
    if not isinstance(example, torch.Tensor):
        return str(example)
    name = str(example.dtype).removeprefix("torch.")
    shape = " x ".join(map(str, example.shape))
    return f"{name}, {shape}" + (f": {example.tolist()}" if example.numel() <= MOST_NUMBERS else "")

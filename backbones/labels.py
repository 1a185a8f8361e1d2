"""What a fine-tuned checkpoint answers: its classes by their names, read from its files without torch.

A task's classes are matched with them by name. transformers' ``LABEL_0``, ``LABEL_1`` ... are no names but numbers, and
so are a task's ``0``, ``1`` ...: there the numbers, or the order, say which class is which.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from backbones import CLASSIFIERS
from backbones.config import find_max_tokens
from backbones.errors import BackboneError
from backbones.folders import list_weights, read_json
from backbones.resolve import Resolved

MULTI_LABEL = "multi_label_classification"
_NAMES_SHOWN, _LETTERS_SHOWN = 20, 40  # that a message shows of a list, of a name
_NUMBERED = re.compile(r"(?:LABEL_)?(0|[1-9][0-9]*)")

How = Literal["name", "case", "position", "regression"]
"""How a task's classes were found among a model's: by the same name, but for upper case, by number, or it has none."""


@dataclass(frozen=True)
class OwnLabels:
    """What the logits of a checkpoint's own classifier stand for: ``names`` in its own order, one for a regression."""

    names: tuple[str, ...]
    problem_type: str | None = None


@dataclass(frozen=True)
class LabelMatch:
    """For each of a task's classes the number of the model's class, and how they were matched."""

    order: tuple[int, ...]
    how: How


def read_own_labels(found: Resolved, *, asked: bool = False) -> OwnLabels | None:
    """Read what a checkpoint's classifier answers; None where it has none, by its configuration or its weights.

    Of a checkpoint that does not say what it is (``architectures``) the weights alone decide, if it is ``asked`` for.
    Raises BackboneError for class names that make no sense.
    """
    named = found.config.get("architectures")
    told = isinstance(named, list) and any(str(name).endswith("ForSequenceClassification") for name in named)
    weights = None if found.folder is None else list_weights(found.folder)
    has_weights = weights is None or any(name.startswith("classifier.") for name in weights)
    if found.model_type not in CLASSIFIERS or found.folder is None or not has_weights or not (told or asked):
        return None
    return read_configured_labels(found)


def read_configured_labels(found: Resolved) -> OwnLabels:
    """Read what a checkpoint's configuration says that it answers. Raises BackboneError for senseless names."""
    problem = found.config.get("problem_type")
    return OwnLabels(_read_names(found), None if problem is None else str(problem))


def _read_names(found: Resolved) -> tuple[str, ...]:
    by_number, by_name = found.config.get("id2label"), found.config.get("label2id")
    if not isinstance(by_number, Mapping):
        if isinstance(by_name, Mapping):
            by_number = {number: name for name, number in by_name.items()}
        else:  # two classes without names are what transformers does not write down
            by_number = {i: f"LABEL_{i}" for i in range(int(str(found.config.get("num_labels", 2))))}
    named = {str(number): str(name) for number, name in by_number.items()}
    names = [named.get(str(i)) for i in range(len(named))]
    known = [name for name in names if name is not None]
    if not names or len(known) < len(names) or len(set(known)) < len(names):
        raise BackboneError(
            f"The id2label of {found.source} does not give each of the numbers 0..C-1 a name of its own."
        )
    numbers = {str(name): str(number) for name, number in by_name.items()} if isinstance(by_name, Mapping) else {}
    for number, name in enumerate(known):  # names that label2id alone has are those that transformers fills in
        if numbers.get(name, str(number)) != str(number):
            raise BackboneError(
                f"{found.source} contradicts itself: class {number} is {name!r} in id2label, and {name!r} is "
                f"{numbers[name]} in label2id."
            )
    return tuple(known)


def read_longest_input(found: Resolved) -> int:
    """Return how many tokens a checkpoint reads: what its tokenizer says, at most what its position table holds."""
    most = find_max_tokens(found.config, found.model_type)
    if found.folder is None or not (found.folder / "tokenizer_config.json").is_file():
        return most
    said = read_json(found.folder, "tokenizer_config.json").get("model_max_length")
    return min(most, said) if isinstance(said, int) and said > 0 else most


def match_labels(own: OwnLabels, classes: Sequence[str] | None) -> LabelMatch:
    """Find a task's ``classes`` among a model's own; None stands for a regression of one number.

    Raises BackboneError with the reason, without a full stop, where they do not fit.
    """
    if own.problem_type == MULTI_LABEL:
        raise BackboneError(f"it is multi-label ({MULTI_LABEL}), and here a sample has one label")
    if len(own.names) == 1 or own.problem_type == "regression":
        if classes is not None:
            said = "one number" if len(own.names) == 1 else f"{len(own.names)} numbers"
            raise BackboneError(f"it is a regression of {said}, and the task's classes are {_list_names(classes)}")
        if len(own.names) > 1:
            raise BackboneError(f"it is a regression of {len(own.names)} numbers, and the task's targets are one")
        return LabelMatch((0,), "regression")
    if classes is None:
        raise BackboneError(f"its classes are {_list_names(own.names)}, and the task is a regression")
    ways: tuple[tuple[How, Sequence[str], Sequence[str]], ...] = (
        ("name", own.names, classes),
        ("case", [name.strip().casefold() for name in own.names], [name.strip().casefold() for name in classes]),
    )
    for how, theirs, ours in ways:
        if len(set(theirs)) == len(theirs) == len(ours) and set(theirs) == set(ours):
            return LabelMatch(tuple(theirs.index(name) for name in ours), how)
    if len(own.names) == len(classes):
        places = range(len(classes))
        numbers = _read_numbers(classes)
        if numbers is not None:
            return LabelMatch(numbers, "position")
        if _read_numbers(own.names) == tuple(places):
            return LabelMatch(tuple(places), "position")
    raise BackboneError(_describe_mismatch(own.names, classes))


def is_numbered(names: Sequence[str]) -> bool:
    """Return whether ``names`` are no names but numbers of classes: ``LABEL_0``, ``LABEL_1`` ... or ``0``, ``1`` ..."""
    return _read_numbers(names) is not None


def _read_numbers(names: Sequence[str]) -> tuple[int, ...] | None:
    """Return the numbers that ``names`` are, where they are 0..C-1 in any order; else None."""
    found = [_NUMBERED.fullmatch(name) for name in names]
    numbers = tuple(int(match[1]) for match in found if match is not None)
    return numbers if sorted(numbers) == list(range(len(names))) else None


def _describe_mismatch(theirs: Sequence[str], ours: Sequence[str]) -> str:
    if max(len(theirs), len(ours)) <= _NAMES_SHOWN:
        return f"its classes are {_list_names(theirs)}, the task's {_list_names(ours)}"
    only = [[name for name in one if name not in other] for one, other in ((theirs, ours), (ours, theirs))]
    return (
        f"it has {len(theirs)} classes, of which the task lacks {_list_names(only[0])}, and the task has {len(ours)}, "
        f"of which it lacks {_list_names(only[1])}"
    )


def _list_names(names: Sequence[str]) -> str:
    short = [n if len(n) <= _LETTERS_SHOWN else f"{n[: _LETTERS_SHOWN - 1]}…" for n in names[:_NAMES_SHOWN]]
    return ", ".join(short) + (f", ... ({len(names)} in all)" if len(names) > _NAMES_SHOWN else "") if short else "none"

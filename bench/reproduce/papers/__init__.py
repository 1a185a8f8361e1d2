"""Published claims as data: one YAML a paper, with the runs that test them at the paper's scale and scaled down.

The claims' numbers are the papers' own (or, where marked, a second source's); nothing in these files was measured here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from importlib.resources import files
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from backbones.names import make_unknown_error, suggest_name
from bench.errors import UsageError
from bench.yaml_files import parse_yaml, read_text

Scale = Literal["full", "small"]


@dataclass(frozen=True)
class Claim:
    """One thing that a paper says, and the named check that tests it.

    ``evidence``: the paper's own text, its released code or readme, an issue thread, another paper's report of the
    number (2nd), or digitised from a plot. ``cost`` is what the paper counts when it says speed-up. ``scales``: where
    the claim can be tested; a number of one model on one data set means nothing for another.
    """

    id: str
    says: str
    source: str
    evidence: Literal["paper", "code", "readme", "issue", "2nd", "digitised"]
    split: Literal["dev", "test", "test server"]
    check: str
    arguments: Mapping[str, object] = field(default_factory=dict)
    cost: Literal["layers", "flops", "runtime"] | None = None
    scales: tuple[Scale, ...] = ("full", "small")
    note: str = ""


@dataclass(frozen=True)
class Block:
    """Cells that belong together: one backbone, some tasks, some strategies.

    ``sweep`` is a sweep's content (:mod:`bench.sweep.config`). Claims are judged for each task of each block, and call
    a cell by its strategy, so a block has one cell for a strategy and task.
    """

    name: str
    sweep: Mapping[str, Any]


@dataclass(frozen=True)
class PaperPlan:
    """The runs of one scale; ``defaults`` are options of every cell."""

    says: str
    blocks: tuple[Block, ...]
    seeds: tuple[int, ...] = (0,)
    defaults: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Paper:
    """One paper's claims and plans."""

    name: str
    title: str
    citation: str
    conventions: str
    claims: tuple[Claim, ...]
    full: PaperPlan
    small: PaperPlan | None = None


def list_papers() -> list[str]:
    """Return the names of all papers."""
    return sorted(entry.name[:-5] for entry in files(__package__).iterdir() if entry.name.endswith(".yaml"))


def load_paper(name: str) -> Paper:
    """Return the claims and plans of a paper: a listed name, or a YAML file of your own.

    Raises UsageError for an unknown name or a file that is not as it should be.
    """
    if name.endswith(".yaml") and Path(name).is_file():
        return parse_paper(read_text(Path(name)), name)
    if name not in list_papers():
        raise make_unknown_error("paper", name, list_papers())
    return parse_paper((files(__package__) / f"{name}.yaml").read_text(encoding="utf-8"), f"{name}.yaml")


def parse_paper(text: str, where: str) -> Paper:
    """Return the paper that the text of its file describes; ``where`` names the file in messages.

    Raises UsageError, with the place, for anything that is not as it should be.
    """
    paper: Paper = _build(Paper, parse_yaml(text, where), where)
    return paper


def _build(kind: Any, raw: Any, where: str) -> Any:
    """Return a dataclass from a mapping: no unknown keys, no missing ones, choices and types as annotated."""
    entry = dict(_check_mapping(raw, where))
    if kind is Block:
        entry = {"name": entry.pop("name", None), "sweep": entry}
    if kind is Claim:
        check = dict(_check_mapping(entry.get("check"), f"{where}, check"))
        if not isinstance(name := check.pop("name", None), str):
            raise UsageError(f"{where}: its check has no name.")
        entry |= {"check": name, "arguments": check}
    known = {f.name: f for f in fields(kind)}
    for name in entry:
        if name not in known:
            raise UsageError(f"{where}: unknown key '{name}'. {suggest_name(str(name), known)}")
    missing = [n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING and n not in entry]
    if missing:
        raise UsageError(f"{where}: '{missing[0]}' is missing.")
    hints = get_type_hints(kind)
    return kind(**{name: _check_value(value, hints[name], f"{where}, {name}") for name, value in entry.items()})


def _check_value(value: Any, hint: Any, where: str) -> Any:
    """Return ``value`` as what ``hint`` says, or raise UsageError."""
    if get_origin(hint) in (Union, UnionType):  # "X | None": X, since nothing is said by leaving the key out
        hint = get_args(hint)[0]
    if is_dataclass(hint):
        return _build(hint, value, where)
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise UsageError(f"{where} must be one of {', '.join(get_args(hint))}, not '{value}'.")
        return value
    if get_origin(hint) is tuple:
        return _check_list(value, get_args(hint)[0], where)
    if get_origin(hint) is Mapping:
        return _check_mapping(value, where)
    if not isinstance(value, hint) or isinstance(value, bool) or value == "":
        raise UsageError(f"{where} must be {'a whole number' if hint is int else 'text'}, not '{value}'.")
    return value


def _check_mapping(raw: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(raw, Mapping):
        raise UsageError(f"{where}: keys with values are wanted, not '{raw}'.")
    return raw


def _check_list(raw: Any, hint: Any, where: str) -> tuple[Any, ...]:
    """Return the items of a list, each as ``hint`` says; no two claims or blocks have the same name."""
    if not isinstance(raw, list | tuple) or not raw:
        raise UsageError(f"{where}: a list with something in it is wanted, not '{raw}'.")
    if not is_dataclass(hint):
        return tuple(_check_value(item, hint, where) for item in raw)
    items = tuple(_build(hint, item, f"{where.removesuffix('s')} {i}") for i, item in enumerate(raw, 1))
    names: Sequence[str] = [getattr(item, fields(hint)[0].name) for item in items]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UsageError(f"{where}: '{twice[0]}' is there twice.")
    return items

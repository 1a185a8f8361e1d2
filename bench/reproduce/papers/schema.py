"""What a paper's file holds, validated: claims with their sources and checks, and plans of cells by scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from backbones.names import suggest
from bench.errors import UsageError

Evidence = Literal["paper", "code", "readme", "issue", "2nd", "digitised"]
Split = Literal["dev", "test", "test server"]
Cost = Literal["layers", "flops", "runtime"]
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
    evidence: Evidence
    split: Split
    check: str
    arguments: Mapping[str, object] = field(default_factory=dict)
    cost: Cost | None = None
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
class Plan:
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
    full: Plan
    small: Plan | None = None


def parse_paper(raw: Any, where: str) -> Paper:
    """A paper from its parsed YAML. Raises UsageError, with the place, for anything that is not as it should be."""
    entry = _mapping(raw, where)
    claims = [_claim(c, f"{where}, claim {i}") for i, c in enumerate(_list(entry.get("claims"), f"{where}, claims"), 1)]
    plans = {scale: _plan(entry[scale], f"{where}, {scale}") for scale in get_args(Scale) if scale in entry}
    paper: Paper = _build(Paper, {**entry, "claims": tuple(claims), **plans}, where)
    _unique([c.id for c in paper.claims], f"{where}, claims")
    return paper


def _claim(raw: Any, where: str) -> Claim:
    entry = dict(_mapping(raw, where))
    check = _mapping(entry.get("check"), f"{where}, check")
    if not isinstance(check.get("name"), str):
        raise UsageError(f"{where}: its check has no name.")
    entry["arguments"] = {name: value for name, value in check.items() if name != "name"}
    return _build(Claim, {**entry, "check": check["name"]}, where)


def _plan(raw: Any, where: str) -> Plan:
    entry = dict(_mapping(raw, where))
    blocks = [_block(b, f"{where}, block {i}") for i, b in enumerate(_list(entry.get("blocks"), f"{where}, blocks"), 1)]
    _unique([b.name for b in blocks], where)
    return _build(Plan, {**entry, "blocks": tuple(blocks)}, where)


def _block(raw: Any, where: str) -> Block:
    entry = dict(_mapping(raw, where))
    return _build(Block, {"name": entry.pop("name", None), "sweep": entry}, where)


def _build(kind: Any, entry: Any, where: str) -> Any:
    """A dataclass from a mapping: no unknown keys, no missing ones, choices and types as annotated."""
    known = {f.name: f for f in fields(kind)}
    for name in _mapping(entry, where):
        if name not in known:
            raise UsageError(f"{where}: unknown key '{name}'. {suggest(str(name), known)}")
    missing = [n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING and n not in entry]
    if missing:
        raise UsageError(f"{where}: '{missing[0]}' is missing.")
    hints = get_type_hints(kind)
    return kind(**{name: _checked(value, hints[name], f"{where}, {name}") for name, value in entry.items()})


def _checked(value: Any, hint: Any, where: str) -> Any:
    if get_origin(hint) in (Union, UnionType):  # "X | None": X, since nothing is said by leaving the key out
        hint = get_args(hint)[0]
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise UsageError(f"{where} must be one of {', '.join(get_args(hint))}, not '{value}'.")
        return value
    if get_origin(hint) is tuple:
        return tuple(_checked(item, get_args(hint)[0], where) for item in _list(value, where))
    if get_origin(hint) is Mapping:
        return _mapping(value, where)
    if not isinstance(value, hint) or isinstance(value, bool) or value == "":
        raise UsageError(f"{where} must be {'a whole number' if hint is int else 'text'}, not '{value}'.")
    return value


def _mapping(raw: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(raw, Mapping):
        raise UsageError(f"{where}: keys with values are wanted, not '{raw}'.")
    return raw


def _list(raw: Any, where: str) -> Sequence[Any]:
    if not isinstance(raw, list | tuple) or not raw:
        raise UsageError(f"{where}: a list with something in it is wanted, not '{raw}'.")
    return raw


def _unique(names: Sequence[str], where: str) -> None:
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UsageError(f"{where}: '{twice[0]}' is there twice.")

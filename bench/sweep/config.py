"""A sweep as a YAML file: what every cell has, the axes whose product is run, what is left out, what is added.

    defaults:                       # options of `bench run` that all cells share
      limit: 2000
      settings: {train.epochs: 3}
    matrix:                         # one cell for every combination
      strategy: [elbert-mono, entropy]
      backbone: [albert-base, bert-base]
      task: [sst2, mrpc]
      seed: [0, 1, 2]
      settings: {train.lr: [2.0e-5, 5.0e-5]}
    exclude:                        # every cell that has all of these
      - {strategy: entropy, task: mrpc}
    include:                        # further matrices
      - {strategy: fixed-exit, task: sst2, settings: {layer: [3, 6]}}

Keys are the fields of :class:`bench.cell.request.Request`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from backbones.names import unknown_name
from bench.cell.request import Request
from bench.errors import UsageError
from bench.yaml_files import parse_yaml, read_text

MOST_CELLS = 10_000
"""Cells of one matrix, and values of one axis."""
PARTS = ("defaults", "matrix", "exclude", "include")
LISTS = ("thresholds", "select")
"""Options whose value is a list by itself: they cannot be axes."""
KINDS: Mapping[str, tuple[type, ...]] = {"seed": (int,), "limit": (int,), "latency": (bool,)}
"""What a value must be; everything else is text."""
CHOICES = {"init": ("pretrained", "scratch"), "dtype": ("fp32", "bf16", "fp16", "fp64"), "preset": ("paper",)}
NEEDED = ("strategy", "task", "seed", "latency", "device", "dtype")
"""Options that cannot be null."""


def read_sweep(path: Path) -> list[Request]:
    """Return the cells that the file ``path`` asks for, in its order, each once.

    Raises UsageError, one line that names file and key, for what cannot be read or makes no sweep.
    """
    if not os.path.exists(path):  # pathlib fails on names that no file can have
        raise UsageError(f"There is no sweep file {path}.")
    content = parse_yaml(read_text(path), str(path), _Loader)
    try:
        return expand_cells(content)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a key that is there twice is an error instead of the last one winning."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.MarkedYAMLError(problem=f"key {key!r} is not text", problem_mark=key_node.start_mark)
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"key '{key}' is there twice", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def expand_cells(content: object) -> list[Request]:
    """Return the cells of a sweep given as plain data. Raises UsageError naming the key at fault."""
    sweep = _mapping(content, "A sweep")
    _known(sweep, PARTS, "")
    defaults = _options(sweep.get("defaults") or {}, "defaults", axes=False)
    base = {name: values[0] for name, values in defaults.items()}
    found = [{**base, **cell} for cell in _matrix(sweep.get("matrix"), "matrix")] if "matrix" in sweep else []
    rules = [_options(rule, f"exclude[{i}]", axes=True) for i, rule in enumerate(_list(sweep, "exclude"))]
    for i, rule in enumerate(rules):
        kept = [cell for cell in found if not _matches(cell, rule)]
        if len(kept) == len(found):
            raise UsageError(f"exclude[{i}] leaves nothing out: no cell of the matrix has all of it.")
        found = kept
    for i, entry in enumerate(_list(sweep, "include")):
        found += [{**base, **cell} for cell in _matrix(entry, f"include[{i}]")]
    if not found:
        raise UsageError("there are no cells: give matrix or include.")
    distinct = {repr(sorted(cell.items())): cell for cell in found}
    return [_request(cell) for cell in distinct.values()]


def _matrix(content: object, where: str) -> Iterator[dict[str, Any]]:
    """Yield every combination of the axes, the first axis changing slowest."""
    axes = _options(content, where, axes=True)
    total = math.prod(map(len, axes.values()))
    if total > MOST_CELLS:
        raise UsageError(f"{where} asks for {total:,} cells: at most {MOST_CELLS:,} make one sweep.")
    for values in product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def _options(content: object, where: str, *, axes: bool) -> dict[str, list[Any]]:
    """Each option with its values: one where ``axes`` are not allowed. ``settings`` are opened up."""
    given = _mapping(content, where)
    _known(given, _fields(), where)
    found: dict[str, list[Any]] = {}
    for key, value in given.items():
        if key == "settings":
            for name, setting in _mapping(value, f"{where}.settings").items():
                found[f"settings.{name}"] = _values(setting, f"{where}.settings.{name}", axes)
        elif key in LISTS:
            found[key] = [_checked(key, tuple(value if isinstance(value, list) else [value]), f"{where}.{key}")]
        else:
            values = _values(value, f"{where}.{key}", axes)
            found[key] = [_checked(key, v, f"{where}.{key}") for v in values]
    return found


def _values(value: object, where: str, axes: bool) -> list[Any]:
    if isinstance(value, Mapping):
        raise UsageError(f"{where} must be a value{' or a list of values' if axes else ''}, not a mapping.")
    if not isinstance(value, list):
        return [value]
    if not axes:
        raise UsageError(f"{where} must be one value; lists belong into matrix.")
    if not value:
        raise UsageError(f"{where} is an empty list.")
    if len(value) > MOST_CELLS:
        raise UsageError(f"{where} has {len(value):,} values: at most {MOST_CELLS:,} cells make one sweep.")
    twice = next((v for i, v in enumerate(value) if v in value[:i]), None)
    if twice is not None:
        raise UsageError(f"{where} has '{twice}' twice.")
    return value


def _checked(key: str, value: Any, where: str) -> Any:
    """``value`` if it is of the option's kind."""
    if key in LISTS:
        for item in value:
            if not isinstance(item, (int | float) if key == "thresholds" else str) or isinstance(item, bool):
                raise UsageError(f"{where} must be {'numbers' if key == 'thresholds' else 'text'}, not '{item}'.")
        if key == "thresholds" and not all(map(math.isfinite, value)):
            raise UsageError(f"{where} must be finite numbers.")
        return tuple(map(float, value)) if key == "thresholds" else value
    if value is None:
        if key in NEEDED:
            raise UsageError(f"{where} cannot be null.")
        return value
    wanted = KINDS.get(key, (str,))
    if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
        names = {int: "a whole number", bool: "true or false", str: "text"}
        raise UsageError(f"{where} must be {names[wanted[0]]}, not '{value}'.")
    if key in CHOICES and value not in CHOICES[key]:
        raise UsageError(f"{where}: {unknown_name(key, str(value), CHOICES[key])}")
    return value


def _matches(cell: Mapping[str, Any], rule: Mapping[str, list[Any]]) -> bool:
    return all(key in cell and cell[key] in values for key, values in rule.items())


def _request(cell: Mapping[str, Any]) -> Request:
    for key in ("strategy", "task"):
        if key not in cell:
            raise UsageError(f"a cell has no {key}: give it under matrix, include or defaults.")
    prefix = "settings."
    settings = {key.removeprefix(prefix): value for key, value in cell.items() if key.startswith(prefix)}
    return Request(settings=settings, **{key: value for key, value in cell.items() if not key.startswith(prefix)})


def _fields() -> list[str]:
    return [field.name for field in fields(Request)]


def _known(given: Iterable[str], known: Iterable[str], where: str) -> None:
    for key in given:
        if key not in known:
            raise unknown_name(
                "key", f"{where}.{key}" if where else key, [f"{where}.{k}" if where else k for k in known]
            )


def _mapping(content: object, where: str) -> Mapping[str, Any]:
    if not isinstance(content, Mapping):
        raise UsageError(f"{where} must be a mapping of keys to values, not {_kind(content)}.")
    return content


def _list(sweep: Mapping[str, Any], key: str) -> list[Any]:
    content = sweep.get(key) or []
    if not isinstance(content, list):
        raise UsageError(f"{key} must be a list, not {_kind(content)}.")
    return content


def _kind(content: object) -> str:
    kinds: dict[type, str] = {list: "a list", str: "text", dict: "a mapping", type(None): "nothing"}
    return kinds.get(type(content), f"'{content}'")

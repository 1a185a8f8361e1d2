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

Keys are the fields of :class:`bench.cell.request.Request`, and values are of their types.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import BeforeValidator, ValidationError, create_model

from backbones.names import make_unknown_error
from bench.cell.request import Request
from bench.errors import UsageError
from bench.results.part import EXPECTED, STRICT, name_field, name_kind
from bench.yaml_files import parse_yaml, read_text

MOST_CELLS = 10_000
"""Cells of one matrix, and values of one axis."""
MAPPING = "a mapping of keys to values"
WANTED = {**EXPECTED, "model_type": MAPPING, "dict_type": MAPPING, "list_type": "a list", "finite_number": "finite"}
"""What is wanted where pydantic finds an error of this type."""


def _list_values(value: object) -> list[object]:
    """The values of an axis, where one may stand by itself."""
    if isinstance(value, Mapping):
        raise ValueError("must be a value or a list of values, not a mapping")
    values = value if isinstance(value, list) else [value]
    if not values:
        raise ValueError("is an empty list")
    if len(values) > MOST_CELLS:
        raise ValueError(f"has {len(values):,} values: at most {MOST_CELLS:,} cells make one sweep")
    for i, value in enumerate(values):
        if value in values[:i]:
            raise ValueError(f"has '{value}' twice")
    return values


def _list_tuple(value: object) -> list[object]:
    """The one value of an option that is a list itself, and so no axis."""
    return [tuple(value if isinstance(value, list) else [value])]


def _make_model(name: str, kinds: Any) -> Any:
    config: Any = {**STRICT, "allow_inf_nan": False}
    fields: Any = {field: (kind, None) for field, kind in kinds.items()}
    return create_model(name, __config__=config, **fields)


def _make_axis(kind: Any, read: Callable[[object], list[object]] = _list_values) -> Any:
    return Annotated[list[kind], BeforeValidator(read)]


LISTS = {"thresholds": _list_tuple, "select": _list_tuple}
OPTIONS = {name: _make_axis(kind, LISTS.get(name, _list_values)) for name, kind in get_type_hints(Request).items()}
OPTIONS["preset"] = _make_axis(Literal["paper"] | None)
OPTIONS["settings"] = dict[str, _make_axis(Any)]  # type: ignore[misc]  # mypy knows no types that are made
Axes = _make_model("Axes", OPTIONS)
"""Options of a cell, each with all its values."""
MANY = list[Axes] | None  # type: ignore[valid-type]
Sweep = _make_model("Sweep", {"defaults": Axes | None, "matrix": Axes, "exclude": MANY, "include": MANY})


def read_sweep(path: Path) -> list[Request]:
    """Return the cells that the file ``path`` asks for, in its order, each once.

    Raises UsageError, one line that names file and key, for what cannot be read or makes no sweep.
    """
    if not os.path.exists(path):  # pathlib fails on names that no file can have
        raise UsageError(f"There is no sweep file {path}.")
    content = parse_yaml(read_text(path), str(path))
    try:
        return expand_cells(content)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def expand_cells(content: Any) -> list[Request]:
    """Return the cells of a sweep given as plain data. Raises UsageError naming the key at fault."""
    try:
        sweep = Sweep.model_validate(content)
    except ValidationError as error:
        raise UsageError(_describe_error(error)) from None
    base = {}
    for name, values in _open_axes(sweep.defaults, content.get("defaults")).items():
        if len(values) > 1:
            raise UsageError(f"defaults.{name} must be one value; lists belong into matrix.")
        base[name] = values[0]
    found: list[dict[str, Any]] = []
    if sweep.matrix is not None:
        found = [{**base, **cell} for cell in _combine(_open_axes(sweep.matrix, content["matrix"]), "matrix")]
    for i, part in enumerate(sweep.exclude or ()):
        rule = _open_axes(part, content["exclude"][i])
        kept = [cell for cell in found if not all(k in cell and cell[k] in values for k, values in rule.items())]
        if len(kept) == len(found):
            raise UsageError(f"exclude[{i}] leaves nothing out: no cell of the matrix has all of it.")
        found = kept
    for i, part in enumerate(sweep.include or ()):
        axes = _open_axes(part, content["include"][i])
        found += [{**base, **cell} for cell in _combine(axes, f"include[{i}]")]
    if not found:
        raise UsageError("there are no cells: give matrix or include.")
    distinct = {repr(sorted(cell.items())): cell for cell in found}
    return [_make_request(cell) for cell in distinct.values()]


def _open_axes(axes: Any, given: Mapping[str, Any] | None) -> dict[str, list[Any]]:
    """Each option of ``axes`` with its values, in the order in which they were ``given``; each setting is one."""
    found: dict[str, list[Any]] = {}
    for name in given or ():
        value = getattr(axes, name)
        found |= {f"settings.{key}": v for key, v in value.items()} if name == "settings" else {name: value}
    return found


def _combine(axes: Mapping[str, list[Any]], where: str) -> Iterator[dict[str, Any]]:
    """Yield every combination of the axes, the first axis changing slowest."""
    total = math.prod(map(len, axes.values()))
    if total > MOST_CELLS:
        raise UsageError(f"{where} asks for {total:,} cells: at most {MOST_CELLS:,} make one sweep.")
    return (dict(zip(axes, values, strict=True)) for values in product(*axes.values()))


def _make_request(cell: Mapping[str, Any]) -> Request:
    for key in ("strategy", "task"):
        if key not in cell:
            raise UsageError(f"a cell has no {key}: give it under matrix, include or defaults.")
    prefix = "settings."
    settings = {key.removeprefix(prefix): value for key, value in cell.items() if key.startswith(prefix)}
    return Request(settings=settings, **{key: value for key, value in cell.items() if not key.startswith(prefix)})


def _describe_error(error: ValidationError) -> str:
    """The first thing that is wrong, by the path of its key."""
    first = error.errors(include_url=False)[0]
    kind, value, steps = first["type"], first["input"], first["loc"]
    while len(steps) > 2 and isinstance(steps[-1], int):  # which of an option's values it is, the message shows
        steps = steps[:-1]
    where = name_field(steps) or "A sweep"
    if kind == "extra_forbidden":
        parent, _, _ = where.rpartition(".")
        known = (Axes if parent else Sweep).model_fields
        return str(make_unknown_error("key", where, [f"{parent}.{name}" if parent else name for name in known]))
    shown = name_kind(value) if value is None or isinstance(value, list | dict) else f"'{value}'"
    if kind == "literal_error":
        return f"{where} must be {first['ctx']['expected']}, not {shown}."
    if kind == "invalid_key":
        return f"{where}: a key must be text."
    return (
        f"{where} {first['ctx']['error']}."
        if kind == "value_error"
        else f"{where} must be {WANTED[kind]}, not {shown}."
    )

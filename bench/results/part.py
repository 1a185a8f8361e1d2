"""What every part of a record is built on: strict, frozen, and wrong in one line that names the field."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, TypeAlias, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    PlainSerializer,
    PlainValidator,
    SerializerFunctionWrapHandler,
    ValidationError,
    WithJsonSchema,
    WrapSerializer,
)
from pydantic_core import PydanticCustomError

from bench.errors import Damaged

if TYPE_CHECKING:
    from bench.measure.stats import Interval

STRICT = ConfigDict(strict=True, frozen=True, extra="forbid")
"""Types are taken at their word, nothing is changed after it was read, and nothing is there that nobody knows."""


def _check_number(value: object) -> float:
    """Return ``value`` as it is: a whole number stays one, so that it is written as it was read."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise PydanticCustomError("number", "a number is needed")
    return value


def _read_cut(value: object) -> float:
    return -math.inf if value is None or value == -math.inf else _check_number(value)


def _write_cut(value: float) -> Any:  # pydantic would turn whole numbers into what is stated here
    return None if value == -math.inf else value


def _read_amounts(value: object) -> tuple[int, ...]:
    """Return whole numbers from their text; those that are read already as they are."""
    if isinstance(value, tuple):
        return value
    if not isinstance(value, str) or not all(part.isascii() and part.isdigit() for part in value.split()):
        raise PydanticCustomError("amounts", "whole numbers in one text are needed")
    return tuple(map(int, value.split()))


def _write_amounts(value: tuple[int, ...]) -> str:
    return " ".join(map(str, value))


if TYPE_CHECKING:
    Number: TypeAlias = float
    Cut: TypeAlias = float
    Amounts: TypeAlias = tuple[int, ...]
else:
    Number = Annotated[Any, PlainValidator(_check_number), WithJsonSchema({"type": "number"})]
    Cut = Annotated[
        Any,
        PlainValidator(_read_cut),
        PlainSerializer(_write_cut),
        WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "null"}]}),
    ]
    """A cut of the scores. JSON has no infinity: null on disk is -inf, the cut at which nobody leaves early."""
    Amounts = Annotated[
        Any,
        PlainValidator(_read_amounts),
        PlainSerializer(_write_amounts),
        WithJsonSchema({"type": "string", "pattern": "^[0-9 ]*$"}),
    ]
    """Whole numbers by layer. On disk ``"41 41 42"``: with a line a number they would be most of a record."""


def _write_frozen(value: Mapping[str, object], write: SerializerFunctionWrapHandler) -> Any:
    return write(dict(value))


T = TypeVar("T")
Frozen = Annotated[Mapping[str, T], AfterValidator(MappingProxyType), WrapSerializer(_write_frozen)]
"""A mapping in a part, which all readers of a run share: a view that cannot be written to."""


class Part(BaseModel):
    """A part of a record. What was not set, because an older version did not know it, is not written either.

    Its mappings are views that cannot be written to, but for those in a spec, a plain dataclass that is asked anew, and
    for what lies deeper in arguments that only a plug-in knows.
    """

    model_config: ClassVar[ConfigDict] = STRICT

    @classmethod
    def from_plain(cls, plain: Mapping[str, object]) -> Self:
        """Return the part that plain JSON values describe. Raises ValidationError."""
        return cls.model_validate_json(json.dumps(plain))

    def to_plain(self) -> dict[str, Any]:
        """Return plain JSON values, in the order in which they are written."""
        return self.model_dump(mode="json", exclude_unset=True)


P = TypeVar("P", bound=Part)


class Estimate(Part):
    """A number with its 95 % interval."""

    value: Number
    low: Number
    high: Number

    @classmethod
    def of(cls, found: Interval) -> Self:
        """Return what is recorded of an interval."""
        return cls(value=found.estimate, low=found.low, high=found.high)

    def write(self) -> str:
        """Return ``0.912 [0.890, 0.930]``."""
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def write_times(self) -> str:
        """Return ``2.13x [2.05, 2.21]``."""
        return f"{self.value:.2f}x [{self.low:.2f}, {self.high:.2f}]"


def compute_checksum(plain: Mapping[str, object]) -> str:
    """Return the SHA-256, hex, of canonical JSON without its own ``checksum``. Raises ValueError for NaN."""
    rest = {name: value for name, value in plain.items() if name != "checksum"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def has_own_checksum(plain: Mapping[str, object]) -> bool:
    """Return whether the ``checksum`` in ``plain`` is that of the rest."""
    try:
        return plain.get("checksum") == compute_checksum(plain)
    except ValueError:  # an infinite number, which nobody wrote
        return False


def read_part(path: Path, kind: type[P], *, sealed: bool = True) -> P:
    """Return the part of ``kind`` in a file, with its checksum; older files that are not ``sealed`` may have none.

    Raises Damaged, naming the field, for what is none.
    """
    text = path.read_bytes()
    plain = parse_json(path, text)
    try:
        found = kind.model_validate_json(text)
    except ValidationError as error:
        raise Damaged(path, describe_error(error)) from error
    if (sealed or "checksum" in plain) and not has_own_checksum(plain):
        raise Damaged(path, "its checksum differs")
    return found


def parse_json(path: Path, content: bytes) -> Any:
    """Return the JSON value that is the ``content`` of ``path``. Raises Damaged, saying where it is none."""
    if not content:
        raise Damaged(path, "it is empty")
    try:
        return json.loads(content.decode("utf-8"))
    except json.JSONDecodeError as error:
        said = f"{error.msg} at line {error.lineno}, column {error.colno}"
        raise Damaged(path, f"it is no JSON: {said}") from error
    except UnicodeDecodeError as error:
        raise Damaged(path, f"it is no text: byte {error.start} is no UTF-8") from error
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, brackets without end
        raise Damaged(path, f"it is no JSON: {error}") from error


EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "float_type": "a number",
    "number": "a number",
    "tuple_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "dataclass_type": "an object",
    "model_attributes_type": "an object",
}


def describe_error(error: ValidationError) -> str:
    """Return the first thing that is wrong as ``evaluation.test.samples is text, a whole number is needed``."""
    first = error.errors(include_url=False)[0]
    steps = [step for step in first["loc"] if not str(step).startswith("<")]  # the tags of unions
    where = name_field(steps) or "it"
    kind = first["type"]
    if kind == "missing":
        return f"{where} is missing"
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"{where} is no field that this version knows"
    if kind == "literal_error":
        return f"{where} is {first['input']!r}, {first['ctx']['expected']} is needed"
    if kind in EXPECTED:
        return f"{where} is {name_kind(first['input'])}, {EXPECTED[kind]} is needed"
    return f"{where}: {first['msg']}" if first["loc"] else str(first["msg"])


def name_field(steps: Sequence[str | int]) -> str:
    """Return ``points[2].cut`` for ``("points", 2, "cut")``."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).removeprefix(".")


def name_kind(value: object) -> str:
    """Return what a JSON value is, in words."""
    names = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return names.get(type(value), "null" if value is None else type(value).__name__)

"""``--set key=value``: parse, check against what a class accepts, suggest what was meant."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from backbones.names import make_unknown_error
from bench.errors import UsageError

MOST_LETTERS = 1000
"""Letters of a setting."""
TOO_LARGE = 2**63
DEEPEST = 8


UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(text: str, option: str) -> float:
    """Return the seconds in ``90``, ``90s``, ``5m`` or ``1.5h``. Raises UsageError, naming ``option``, for others."""
    number, unit = text.rstrip("smh"), text[len(text.rstrip("smh")) :]
    try:
        seconds = float(number) * UNITS[unit]
    except (KeyError, ValueError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise UsageError(f"{option} takes a time such as 90s, 5m or 1h, not '{text[:MOST_LETTERS]}'.")
    return seconds


def parse_settings(settings: Iterable[str]) -> dict[str, object]:
    """Parse ``["window=6", "head.pooling=mean"]`` into a mapping; values are JSON where they parse, else text."""
    parsed: dict[str, object] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key:
            raise UsageError(f"--set takes key=value, not '{setting[:MOST_LETTERS]}'.")
        if len(setting) > MOST_LETTERS:
            raise UsageError(
                f"--set {key[:60]} has {len(setting):,} letters: no setting needs more than {MOST_LETTERS:,}."
            )
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            value = text
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"--set {key} must be a finite number, not '{text}'.")
        parsed[key] = value
    return parsed


def split_settings(settings: Mapping[str, object], prefixes: Iterable[str]) -> dict[str, dict[str, object]]:
    """Sort ``prefix.key`` settings by prefix; those without one are under ``""``."""
    known = set(prefixes)
    groups: dict[str, dict[str, object]] = {prefix: {} for prefix in [*known, ""]}
    for key, value in settings.items():
        _check_value(key, value)
        prefix, dot, rest = key.partition(".")
        if dot and prefix not in known:
            raise make_unknown_error("setting", key, [f"{name}.{rest}" for name in known])
        groups[prefix if dot else ""][rest if dot else key] = value
    return groups


def _check_value(key: str, value: object, depth: int = 0) -> None:
    """Raise UsageError for what no setting can be: beyond any number's room, not finite, or nested and nested."""
    if isinstance(value, int | float) and not abs(value) < TOO_LARGE:
        raise UsageError(f"Setting '{key}' must be a finite number below 2^63.")
    if isinstance(value, list | tuple | Mapping):
        if depth == DEEPEST:
            raise UsageError(f"Setting '{key}' is nested more than {DEEPEST} times.")
        for inner in value.values() if isinstance(value, Mapping) else value:
            _check_value(key, inner, depth + 1)


def list_settable(target: type) -> dict[str, inspect.Parameter]:
    """Return the keyword-only parameters of a class: what a user may set."""
    parameters = inspect.signature(target).parameters.values()
    return {p.name: p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


def bind_arguments(target: type, given: Mapping[str, object], what: str) -> dict[str, object]:
    """Return every argument of ``target`` with its value, given or default, checked against the annotations.

    ``what`` names the target in messages ("strategy 'elbert-mono'"). All arguments are returned, so that a default
    that changes later changes the identity of a result. A class around another, which its ``find_criterion`` names,
    takes that one's arguments beside its own.
    """
    if not hasattr(target, "find_criterion"):
        return _bind_own(target, given, what)
    own, inner, rest = _split_wrapped(target, given, what)
    return {**bind_arguments(inner, rest, f"what {what} wraps"), **own}


def split_threshold(target: type, given: Mapping[str, object], what: str) -> tuple[dict[str, object], float | None]:
    """Return what a criterion is ``given`` but for its threshold, and that: by the field's own name (``patience=3``).

    A criterion around another that keeps its threshold has it by that one's name. Raises UsageError where it is no
    number.
    """
    name = _name_threshold(target, given, what)
    threshold = given.get(name)
    if threshold is not None and not isinstance(threshold, int | float):
        raise UsageError(f"{name} must be a number, not '{threshold}'.")
    return {k: v for k, v in given.items() if k != name}, threshold


def _name_threshold(target: Any, given: Mapping[str, object], what: str) -> str:
    if "threshold_name" in getattr(target, "follows", ()):
        _, inner, rest = _split_wrapped(target, given, what)
        return _name_threshold(inner, rest, what)
    name: str = target.threshold_name
    return name


def _split_wrapped(
    target: Any, given: Mapping[str, object], what: str
) -> tuple[dict[str, object], type, dict[str, object]]:
    """The own arguments of a class around another, that class, and what is left for it."""
    parameters = list_settable(target)
    own = _bind_own(target, {k: v for k, v in given.items() if k in parameters}, what)
    return own, target.find_criterion(**own), {k: v for k, v in given.items() if k not in parameters}


def _bind_own(target: type, given: Mapping[str, object], what: str) -> dict[str, object]:
    """The arguments of ``target`` itself, given or default."""
    parameters = list_settable(target)
    for name in given:
        if name not in parameters:
            if not parameters:
                raise UsageError(f"Unknown argument '{name}' of {what}. It has no arguments.")
            raise make_unknown_error("argument", name, parameters, f" of {what}")
    init = getattr(target, "__init__")  # noqa: B009 - mypy refuses target.__init__
    hints = get_type_hints(init)
    bound: dict[str, object] = {}
    for name, parameter in parameters.items():
        if name in given:
            bound[name] = coerce_value(given[name], hints.get(name, object), f"Argument '{name}' of {what}")
        elif parameter.default is not inspect.Parameter.empty:
            bound[name] = parameter.default
        else:
            raise UsageError(f"Argument '{name}' of {what} has no default: give it with --set {name}=...")
    return bound


def coerce_value(value: object, hint: Any, what: str) -> object:
    """Return ``value`` as the annotated type. Raises UsageError, which names ``what``."""
    if hint in (object, Any):
        return value
    origin = get_origin(hint)
    if origin is Literal:
        if value in get_args(hint):
            return value
        raise UsageError(f"{what} must be one of {', '.join(map(str, get_args(hint)))}, not '{value}'.")
    if origin in (Union, UnionType):
        for choice in get_args(hint):
            with suppress(UsageError):
                return coerce_value(value, choice, what)
        choices = [getattr(choice, "__name__", choice) for choice in get_args(hint) if choice is not NoneType]
        raise UsageError(f"{what} must be {' or '.join(map(str, choices))}, not '{value}'.")
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(hint, type) and isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    if origin in (tuple, list) and isinstance(value, list | tuple):
        return tuple(value)
    if origin is Mapping and isinstance(value, Mapping):
        return value
    named = "a finite number" if hint is float else getattr(hint, "__name__", hint)
    raise UsageError(f"{what} must be {named}, not '{value}'.")

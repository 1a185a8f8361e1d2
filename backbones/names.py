"""Names: one did-you-mean, one way to read a path, one kind of table whose classes are imported when asked for."""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import ClassVar, Generic, TypeVar, cast, get_args, get_origin, get_type_hints

from backbones.errors import UsageError, UserError

T = TypeVar("T")

OURS = ("backbones", "bench", "strategies")
"""The packages of ExitBench."""
_MAKERS: set[str] = set()
"""The modules of classes that are not ours and were named by somebody."""

LIBRARIES = ("torch", "transformers")
"""What classes of ours and of others are made of, beside Python's own."""

MOST_NAMES = 60
"""Names that a message lists at most."""

_FOREIGN = ContextVar("names are somebody else's", default=False)
_TRUSTED = ContextVar("somebody else's names may be imported", default=False)


@contextmanager
def trust_names(trusted: bool = True) -> Iterator[None]:
    """Let names in somebody's files import modules inside this block, where ``trusted``."""
    before = _TRUSTED.set(trusted)
    try:
        yield
    finally:
        _TRUSTED.reset(before)


@contextmanager
def distrust_names() -> Iterator[None]:
    """Treat names in this block as written by somebody else, in a record: ``module:Class`` imports no module.

    A module that is imported already may be used, and all may in a block of :func:`trust_names`.
    """
    before = _FOREIGN.set(True)
    try:
        yield
    finally:
        _FOREIGN.reset(before)


def expand_home(name: str) -> Path:
    """Return the path of ``name``, where a leading ``~`` is the home folder.

    ``./~`` and ``~nobody`` stay what they are: pathlib's own takes the one for the home and fails on the other.
    """
    return Path(os.path.expanduser(name))


def suggest_name(name: str, known: Iterable[str]) -> str:
    """Return ``Did you mean 'x'?`` for the closest of ``known``, or a list of them where none is close.

    A name counts as close, too, where its family is, the part before the first dash: elbrt is nearer to elbert-mono
    than to deebert.
    """
    names = sorted(known)

    def rate(other: str) -> tuple[float, float]:
        family = other.partition("-")[0]
        whole, part = (difflib.SequenceMatcher(None, text, name).ratio() for text in (other, family))
        return max(whole, part), whole

    best = max(names, key=rate, default="")
    if best and rate(best)[0] >= 0.5:
        return f"Did you mean '{best}'?"
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"Known: {', '.join(names[:MOST_NAMES]) or 'none'}{more}."


def find_name(name: str, known: Iterable[str], aliases: Mapping[str, str] | None = None) -> str:
    """Return the one of ``known`` that ``name`` spells, but for case, dashes and underscores, or by an alias.

    What is none of them is returned as it is.
    """
    spelled = {_squash(other): other for other in known}
    spelled |= {_squash(alias): meant for alias, meant in (aliases or {}).items() if _squash(alias) not in spelled}
    return name if name in spelled.values() else spelled.get(_squash(name), name)


def _squash(name: str) -> str:
    return name.casefold().replace("-", "").replace("_", "")


def make_unknown_error(kind: str, name: str, known: Iterable[str], where: str = "") -> UsageError:
    """Return the error for a ``kind`` of thing that is not there; ``where`` follows the name, as in " of --set"."""
    return UsageError(f"Unknown {kind} '{name}'{where}. {suggest_name(name, known)}")


@cache
def find_installed(group: str, path: tuple[str, ...]) -> Mapping[str, tuple[str, ...]]:
    """Return the entry points of ``group`` on the import ``path``: names and targets, two where packages disagree.

    Finding them reads every installed package, hence once for each import path.
    """
    from importlib.metadata import entry_points  # a fifth of the time that `bench --help` would take

    found: dict[str, dict[str, None]] = {}
    for entry in entry_points(group=group):
        found.setdefault(entry.name, {})[entry.value] = None
    return {name: tuple(targets) for name, targets in found.items()}


class Registry(Generic[T]):
    """Classes by name: a table of ours, and what installed packages add. Listing the names imports nothing.

    ``table`` maps names to ``"package.module:Class"``; ``base``, written so too, is what a class that is not ours must
    be a subclass of: anything else is refused before anybody calls it. ``group`` is the entry point group through which
    packages add names; a name in ``table`` wins. ``aliases`` are other names for some. What
    ``base`` declares as ``ClassVar`` without a value, texts and classes, such a class must have.
    """

    def __init__(
        self,
        kind: str,
        table: Mapping[str, str],
        base: str = "",
        group: str | None = None,
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        self.kind, self.table, self.base, self.group = kind, dict(table), base, group
        self.aliases = dict(aliases or {})

    @property
    def builtin(self) -> list[str]:
        """The names of our own table, in alphabetical order."""
        return sorted(self.table)

    def _plugins(self) -> Mapping[str, tuple[str, ...]]:
        return {} if self.group is None else find_installed(self.group, tuple(sys.path))

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self.table, *self._plugins()}))

    def __contains__(self, name: object) -> bool:
        return name in self.table or name in self._plugins()

    def find_name(self, name: str) -> str:
        """Return the listed name that ``name`` spells in any case or by an alias; what is none is returned as it is."""
        return name if name in self or ":" in name else find_name(name, self, self.aliases)

    def load(self, name: str) -> T:
        """Import what ``name`` stands for: a listed name, or ``package.module:Class`` itself.

        In a block of :func:`distrust_names` only what is listed is imported. Raises UsageError for an unknown name, a
        module that cannot be imported and a class of another kind; a mistake in a module of our own table is raised
        as it is.
        """
        if name in self.table:
            module, _, attribute = self.table[name].partition(":")
            return getattr(importlib.import_module(module), attribute)
        targets = self._plugins().get(name, ())
        if len(targets) > 1:
            raise self._unusable(name, f"packages disagree what it is: {' or '.join(targets)}")
        if not targets and ":" not in name:
            raise make_unknown_error(self.kind, name, self)
        if not targets and _FOREIGN.get() and not _TRUSTED.get():
            found = self._find_imported(name)
        else:
            found = self._import(name, *targets)
        module, _, attribute = self.base.partition(":")
        base = getattr(importlib.import_module(module), attribute)
        parts = _list_parts(base)
        if fault := _find_fault(found, base, [part for part in parts if not hasattr(found, part)]):
            raise self._unusable(name, f"it {fault}")
        for part, wanted in parts.items():
            value = getattr(found, part)
            fault = (
                _find_fault(value, wanted) if wanted is not str else None if isinstance(value, str) else "is no text"
            )
            if fault:
                raise self._unusable(name, f"its {part} {fault}")
            _note_maker(value)
        _note_maker(found)
        return cast(T, found)

    def _import(self, name: str, target: str | None = None) -> object:
        """Import what ``target`` or else ``name`` says, from a module that is not ours and may fail in any way."""
        module, _, attribute = (target or name).partition(":")
        if not (module and attribute):
            raise self._unusable(name, f"'{target or name}' is not module:Class")
        if module.startswith("."):
            raise self._unusable(name, f"'{module}' is no module name")
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError as error:
            hint = "" if target else " Is its folder on PYTHONPATH?"
            raise UsageError(f"Cannot import {self.kind} '{name}': {error}.{hint}") from error
        except (Exception, SystemExit) as error:
            raise UsageError(f"Cannot import {self.kind} '{name}': {describe_failure(error)}.") from error
        if not hasattr(found, attribute):
            raise make_unknown_error(f"{self.kind} in {module}", attribute, [n for n in vars(found) if n[0] != "_"])
        return getattr(found, attribute)

    def _find_imported(self, name: str) -> object:
        """Return what a foreign ``name`` says, where its module is imported already; look only, and run nothing."""
        module, _, attribute = name.partition(":")
        found = vars(sys.modules[module]).get(attribute) if module in sys.modules else None
        if found is None:
            why = "the record names a module of its maker's, which is run only with --allow-imports"
            raise self._unusable(name, why)
        return found

    def _unusable(self, name: str, reason: str) -> UsageError:
        return UsageError(f"{self.kind.capitalize()} '{name}' cannot be used: {reason}.")

    def summaries(self, *, installed: bool = True) -> list[tuple[str, str]]:
        """Return every name with the first line of its docstring, or with ``broken:`` and why it cannot be used.

        Ours are read from the source without importing it; whether a plug-in works shows only when it is imported, so
        that these may be left out.
        """
        rows = [(name, self._first_line(target)) for name, target in self.table.items()]
        for name, targets in self._plugins().items() if installed else ():
            if name not in self.table:
                rows.append((name, self._try(name)))
            elif targets != (self.table[name],):
                rows.append((name, f"broken: {' and '.join(targets)} of an installed package has a built-in's name"))
        return sorted(rows)

    def _try(self, name: str) -> str:
        try:
            return inspect.cleandoc(getattr(self.load(name), "__doc__", None) or "").partition("\n")[0]
        except UsageError as error:
            return f"broken: {error}"

    @staticmethod
    def _first_line(target: str) -> str:
        module, _, attribute = target.partition(":")
        found = _find_definition(module, attribute)
        return "" if found is None else (ast.get_docstring(found) or "").partition("\n")[0]

    def read_value(self, name: str, attribute: str) -> object:
        """Return the literal that the class behind a name of our table has for ``attribute``, its own or inherited.

        It is read from the source, and nothing is imported. None where there is none.
        """
        module, _, cls = self.table[name].partition(":")
        return _read_value(module, cls, attribute)


def _parse_module(module: str) -> ast.Module:
    spec = importlib.util.find_spec(module)
    return ast.Module([], []) if spec is None or spec.origin is None else _parse_file(spec.origin)


@cache
def _parse_file(path: str) -> ast.Module:
    return ast.parse(Path(path).read_text(encoding="utf-8"))


def _find_definition(module: str, name: str) -> ast.ClassDef | ast.FunctionDef | None:
    body = _parse_module(module).body
    return next((one for one in body if isinstance(one, ast.ClassDef | ast.FunctionDef) and one.name == name), None)


def _read_value(module: str, name: str, attribute: str) -> object:
    found = _find_definition(module, name)
    if not isinstance(found, ast.ClassDef):
        return None
    for line in found.body:
        if isinstance(line, ast.Assign | ast.AnnAssign) and line.value is not None:
            targets = line.targets if isinstance(line, ast.Assign) else [line.target]
            if any(isinstance(one, ast.Name) and one.id == attribute for one in targets):
                return ast.literal_eval(line.value)
    imports = [one for one in _parse_module(module).body if isinstance(one, ast.ImportFrom)]
    places = {alias.asname or alias.name: (str(one.module), alias.name) for one in imports for alias in one.names}
    bases = [places.get(base.id, (module, base.id)) for base in found.bases if isinstance(base, ast.Name)]
    known = [base for base in bases if base[0] == module or base[0].partition(".")[0] in OURS]
    values = (_read_value(*base, attribute) for base in known)
    return next((value for value in values if value is not None), None)


def _list_parts(base: type) -> dict[str, type]:
    """Return what a subclass of ``base`` must have: ``str``, or the class that a part must be a subclass of."""
    try:
        hints = get_type_hints(base)
    except NameError as error:  # what `base` imports for type checkers alone, so that it loads without transformers
        transformers = importlib.import_module("transformers")
        if not hasattr(transformers, str(error.name)):
            raise
        named = {name: getattr(transformers, name) for name in ("PreTrainedConfig", "PreTrainedModel")}
        hints = get_type_hints(base, localns=named)
    declared = {n: h for n, h in hints.items() if get_origin(h) is ClassVar and not hasattr(base, n)}
    inner = {name: get_args(hint)[0] for name, hint in declared.items()}
    return {name: get_args(hint)[0] if get_origin(hint) is type else hint for name, hint in inner.items()}


def _find_fault(found: object, base: type, lacking: Iterable[str] = ()) -> str | None:
    """Return what is wrong with ``found``, which must be a whole subclass of ``base``, or None."""
    if not (isinstance(found, type) and issubclass(found, base)):
        return "is no class" if base is object else f"is no subclass of {base.__module__}.{base.__qualname__}"
    if missing := sorted({*getattr(found, "__abstractmethods__", ()), *lacking}):
        return f"lacks {', '.join(missing)}"
    version = getattr(found, "version", 1)
    is_whole = isinstance(version, int) and not isinstance(version, bool)
    return None if is_whole else "has a version that is no whole number"


def is_ours(kind: type) -> bool:
    """Return whether a class comes with ExitBench."""
    return kind.__module__.partition(".")[0] in OURS


def _note_maker(found: object) -> None:
    """Remember the modules that a class which is not ours consists of, for :func:`find_makers_fault`."""
    if isinstance(found, type):
        named = {kind.__module__ for kind in found.__mro__ if kind.__module__ in sys.modules and not is_ours(kind)}
        _MAKERS.update(name for name in named if name.partition(".")[0] not in (*LIBRARIES, *sys.stdlib_module_names))


def find_makers_fault(error: BaseException) -> str | None:
    """Return what went wrong in a module of somebody's that a name brought in, and in which line; None where in none.

    Whatever it called that failed, the place that is named is the innermost in such a module.
    """
    frames = traceback.walk_tb(error.__traceback__)
    places = [(f.f_globals["__name__"], f, line) for f, line in frames if f.f_globals.get("__name__") in _MAKERS]
    if not places:
        return None
    module, frame, line = places[-1]
    return f"Module '{module}' failed in {Path(frame.f_code.co_filename).name}, line {line}: {_describe(error)}."


@contextmanager
def blame_maker(kind: type, what: str) -> Iterator[None]:
    """Raise UsageError for what fails in this block, which calls ``what`` of the class ``kind``, where it is not ours.

    For calls that may fail before a line of it is run: wrong parameters. What is raised for the user is let through.
    """
    try:
        yield
    except (UserError, KeyboardInterrupt):
        raise
    except BaseException as error:
        if is_ours(kind):
            raise
        raise UsageError(f"{what} failed: {describe_failure(error)}.") from error


def _describe(error: BaseException) -> str:
    """Return the type and the text of an exception on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": .")


def describe_failure(error: BaseException) -> str:
    """Return ``ValueError: why (file.py, line 3)``: an exception of somebody's code, and where it was raised."""
    frame = traceback.extract_tb(error.__traceback__)[-1:]
    if isinstance(error, SyntaxError) or not frame:  # its message says where
        return _describe(error)
    return f"{_describe(error)} ({Path(frame[0].filename).name}, line {frame[0].lineno})"

"""One generic registry: lazy ``name -> "module:Name"`` tables, entry points, did-you-mean.

Looking a name up imports only the module behind it; listing names imports nothing, so
``bench list`` needs neither torch nor transformers.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Generic, TypeVar, cast

from bench.errors import UsageError

T = TypeVar("T")


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for a name that is not there, with the closest known one as a suggestion."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"Did you mean '{close[0]}'?" if close else f"Known: {', '.join(names)}."
    return UsageError(f"Unknown {kind} '{name}'. {hint}")


@cache
def installed(group: str, path: object) -> Mapping[str, str]:
    """Names that packages on the import path add through an entry point group; finding them reads every package."""
    return {e.name: e.value for e in entry_points(group=group)}


def import_path() -> tuple[tuple[str, int], ...]:
    """The folders that packages are imported from and when each changed last."""
    return tuple((entry, os.stat(entry).st_mtime_ns) for entry in sys.path if os.path.isdir(entry))


class Registry(Generic[T]):
    """Objects by name, imported on first use.

    ``table`` maps names to ``"package.module:Attribute"``. ``group`` is an entry point group through
    which installed packages add names of their own; a name in ``table`` wins over an entry point.
    """

    def __init__(self, kind: str, table: Mapping[str, str], group: str | None = None) -> None:
        self.kind = kind
        self._table = dict(table)
        self._group = group

    def _targets(self) -> dict[str, str]:
        return {**(installed(self._group, import_path()) if self._group else {}), **self._table}

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._targets()))

    def __contains__(self, name: object) -> bool:
        return name in self._targets()

    def target(self, name: str) -> str:
        """``"module:Attribute"`` behind a listed name."""
        return self._targets()[name]

    def load(self, name: str) -> T:
        """Import what ``name`` stands for: a listed name, or ``package.module:Attribute`` itself."""
        target = self._targets().get(name)
        if target is None:
            if ":" not in name:
                raise unknown(self.kind, name, self)
            target = name
        module_name, _, attribute = target.partition(":")
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            hint = " Is its folder on PYTHONPATH?" if name not in self else ""
            raise UsageError(f"Cannot import {self.kind} '{name}': {error}.{hint}") from error
        if not hasattr(module, attribute):
            raise unknown(f"{self.kind} in {module_name}", attribute, [n for n in vars(module) if n[0] != "_"])
        return cast(T, getattr(module, attribute))

    def summary(self, name: str) -> str:
        """First docstring line of the entry, read from the source text without importing it."""
        module_name, _, attribute = self._targets()[name].partition(":")
        spec = importlib.util.find_spec(module_name)
        if spec is None or spec.origin is None:
            return ""
        tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == attribute:
                return (ast.get_docstring(node) or "").partition("\n")[0]
        return ""

"""Digests of the source that makes a result: a version that nobody raised hides no change of it.

The digest of a class is that of the definitions that it consists of: its own, and those that it names, in its module
and in other modules of its package (or of the folder that its module lies in). Comments, docstrings, annotations and
layout are no part of it. What is built in is known by its version, and a test sees to it that this is raised; a user's
own is known by its digest.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from bench.cell.resolve import Parts
from bench.results.record import RunRecord
from bench.results.spec import RunSpec

OURS = ("backbones", "bench", "strategies")
TRAINED = ("head", "recipe", "task")
"""Parts that make a checkpoint."""
WHOLE = "*"


def find_changed_sources(record: RunRecord, spec: RunSpec, parts: Parts) -> list[str]:
    """Return which of the user's own parts have another source than made ``record``; none of an older record."""
    now = digest_own_sources(spec, parts)
    return [name for name, then in (record.sources or {}).items() if name in now and now[name] != then]


def digest_own_sources(spec: RunSpec, parts: Parts, only: Iterable[str] = ()) -> dict[str, str]:
    """Return the digests of those parts (of ``only``) that are the user's own, by the part's name."""
    return digest_sources({name: kind for name, kind in list_classes(spec, parts).items() if not is_ours(kind)}, only)


def digest_sources(classes: Mapping[str, type], only: Iterable[str] = ()) -> dict[str, str]:
    """Return the digest of each class (of ``only``) whose source can be read."""
    wanted = set(only) or set(classes)
    digests = {name: digest_class(kind) for name, kind in classes.items() if name in wanted}
    return {name: digest for name, digest in digests.items() if digest is not None}


def list_classes(spec: RunSpec, parts: Parts) -> dict[str, type]:
    """Return the classes that make a result, by what they are in it."""
    inner = {f"criterion of {one.name}": one.criterion for one in parts.wrapped(spec)}
    own = {"strategy": parts.strategy, "criterion": parts.strategy.criterion, **inner}
    return {**own, "head": parts.head, "recipe": parts.recipe, "task": type(parts.task)}


def is_ours(kind: type) -> bool:
    """Whether a class comes with ExitBench."""
    return kind.__module__.partition(".")[0] in OURS


def digest_class(kind: type) -> str | None:
    """Return 16 hex digits of the definitions that ``kind`` consists of; None where its source cannot be read."""
    home = _find_home(kind.__module__)
    if home is None:
        return None
    todo, seen, texts = [(kind.__module__, kind.__qualname__.partition(".")[0])], set(), []
    while todo:
        place = todo.pop()
        if place in seen:
            continue
        seen.add(place)
        name, defined = place[1], _read_module(place[0])
        if defined is None:
            continue
        if place[0] == kind.__module__ and name not in (*defined.texts, *defined.imports, "") and len(seen) == 1:
            name = WHOLE  # made by a function: no definition has its name
        if name == WHOLE:
            todo += [(place[0], every) for every in (*defined.texts, *defined.imports)]
        elif name in defined.texts:
            texts.append(f"{place[0]}:{name}\n{defined.texts[name]}")
            todo += [(place[0], used) for used in (*defined.uses[name], "")]
        elif name in defined.imports:
            module, attribute = defined.imports[name]
            if f"{module}.{attribute}" in sys.modules:
                module, attribute = f"{module}.{attribute}", WHOLE
            todo += [(module, attribute)] if _find_home(module) == home else []
    return hashlib.sha256("\n".join(sorted(texts)).encode()).hexdigest()[:16]


@dataclass
class _Module:
    """What a module defines: the text of each name's definition, the names used in it, and what is imported.

    The name "" is for statements that define nothing.
    """

    texts: dict[str, str] = field(default_factory=dict)
    uses: dict[str, set[str]] = field(default_factory=dict)
    imports: dict[str, tuple[str, str]] = field(default_factory=dict)


def _find_home(module: str) -> str | None:
    """Return what a module belongs to: its package, or the folder of one that is in none; None without a source."""
    path = getattr(sys.modules.get(module), "__file__", None)
    if path is None or not path.endswith(".py"):
        return None
    top = sys.modules.get(module.partition(".")[0])
    if top is None or hasattr(top, "__path__"):
        return module.partition(".")[0]
    folder = Path(path).resolve().parent
    installed = {Path(sysconfig.get_path(kind)).resolve() for kind in ("purelib", "platlib", "stdlib")}
    return path if folder in installed else str(folder)


def _read_module(name: str) -> _Module | None:
    found = sys.modules.get(name)
    path = Path(str(getattr(found, "__file__", "")))
    try:
        stat = path.stat()
        return _parse_module(path, stat.st_mtime_ns, stat.st_size, getattr(found, "__package__", None) or "")
    except (OSError, SyntaxError, ValueError, ImportError):
        return None


@lru_cache(maxsize=256)
def _parse_module(path: Path, modified: int, size: int, package: str) -> _Module:
    # time and size are there for the cache: a file that was edited is read again
    made = _Module()
    for node in _flatten(ast.parse(path.read_text(encoding="utf-8")).body):
        if isinstance(node, ast.Import):
            for alias in node.names:
                made.imports[alias.asname or alias.name.partition(".")[0]] = (alias.name, WHOLE)
            continue
        if isinstance(node, ast.ImportFrom):
            module = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            for alias in node.names:
                name = f"{WHOLE} {module}" if alias.name == WHOLE else alias.asname or alias.name
                made.imports[name] = (module, alias.name)
            continue
        plain = _Plain().visit(node)
        if plain is None:
            continue
        used = {n.id for n in ast.walk(plain) if isinstance(n, ast.Name)}
        used |= {name for name in made.imports if name.startswith(WHOLE)}
        for defined in _list_defined(plain):
            made.texts[defined] = f"{made.texts.get(defined, '')}{ast.unparse(plain)}\n"
            made.uses.setdefault(defined, set()).update(used - {defined})
    return made


def _flatten(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield a module's statements, those under ``if``, ``try`` and ``with`` too."""
    for node in body:
        if isinstance(node, ast.If | ast.Try | ast.With):
            for part in ("body", "orelse", "finalbody"):
                yield from _flatten(getattr(node, part, ()))
            for handler in getattr(node, "handlers", ()):
                yield from _flatten(handler.body)
        else:
            yield node


def _list_defined(node: ast.stmt) -> list[str]:
    """Return the names that a statement defines, or the empty name for one that defines none."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return [node.name]
    stored = [n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    return stored or [""]


class _Plain(ast.NodeTransformer):
    """Takes away what decides nothing: docstrings, other bare texts, and annotations."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(None)  # a field without a value is still one
        return self.generic_visit(node)

"""Digests of the source that makes a result: a version that nobody raised hides no change of it.

The digest of a class is that of the definitions that it consists of: its own, and those that it names, in its module
and in other modules of its package (or of the folder that its module lies in). Comments, docstrings, annotations and
layout are no part of it. What is built in is known by its version, and a test sees to it that this is raised; a user's
own is known by its digest, in which is also what a definition imports inside it or names in a text (``import_module``,
``globals``). What is found in no definition of a module stands for the whole of it.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.machinery import PathFinder
from pathlib import Path

from backbones.names import OURS, is_ours
from bench.cell.resolve import Parts
from bench.results.record import RunRecord
from bench.results.spec import RunSpec
from bench.tasks.base import TaskData
from bench.tasks.contract import digest_rows

TRAINED = ("head", "recipe", "task", "data")
"""Parts that make a checkpoint."""
WHOLE = "*"


def find_changed_sources(record: RunRecord, own: Mapping[str, str]) -> list[str]:
    """Return which of a cell's ``own`` sources are others than made ``record``; none for an older record."""
    return [name for name, then in (record.sources or {}).items() if name in own and own[name] != then]


def digest_own_sources(spec: RunSpec, parts: Parts, data: TaskData) -> dict[str, str]:
    """Return the digests of those parts that are the user's own, by the part's name; of his task its rows, too."""
    rows = {} if is_ours(type(parts.task)) else {"data": digest_rows(data)}
    return digest_sources({n: kind for n, kind in list_classes(spec, parts).items() if not is_ours(kind)}) | rows


def digest_sources(classes: Mapping[str, type]) -> dict[str, str]:
    """Return the digest of each class whose source can be read."""
    digests = {name: digest_class(kind) for name, kind in classes.items()}
    return {name: digest for name, digest in digests.items() if digest is not None}


def list_classes(spec: RunSpec, parts: Parts) -> dict[str, type]:
    """Return the classes that make a result, by what they are in it."""
    inner = {f"criterion of {one.name}": one.criterion for one in parts.list_wrapped(spec)}
    own = {"strategy": parts.strategy, "criterion": parts.strategy.criterion, **inner}
    return {**own, "head": parts.head, "recipe": parts.recipe, "task": type(parts.task)}


def digest_class(kind: type) -> str | None:
    """Return 16 hex digits of the definitions that ``kind`` consists of; None where its source cannot be read."""
    home, ours = _find_home(kind.__module__), is_ours(kind)
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
        imported = [*defined.imports.get(name, ())]
        if name in defined.texts:
            texts.append(f"{place[0]}:{name}\n{defined.texts[name]}")
            todo += [(place[0], used) for used in (*defined.uses[name], "")]
        if not ours:
            hidden = defined.hidden.get(name, set())
            imported += hidden
            todo += [(place[0], text) for text, _ in hidden]
        for module, attribute in imported:
            if f"{module}.{attribute}" in sys.modules or (not ours and _locate(f"{module}.{attribute}")):
                module, attribute = f"{module}.{attribute}", WHOLE
            if _find_home(module) == home:
                there = _read_module(module)
                known = ours or there is None or attribute in there.texts or attribute in there.imports
                todo.append((module, attribute if known else WHOLE))
    return hashlib.sha256("\n".join(sorted(texts)).encode()).hexdigest()[:16]


@dataclass
class _Module:
    """What a module defines: the text of each name's definition, the names used in it, and what is imported.

    The name "" is for statements that define nothing. ``hidden`` is what a definition may import inside it: modules and
    names of theirs.
    """

    texts: dict[str, str] = field(default_factory=dict)
    uses: dict[str, set[str]] = field(default_factory=dict)
    imports: dict[str, set[tuple[str, str]]] = field(default_factory=dict)
    hidden: dict[str, set[tuple[str, str]]] = field(default_factory=dict)


def _find_home(module: str) -> str | None:
    """Return what a module belongs to: the package of ours or that is installed, else the folder of its top module.

    None without a source.
    """
    path, top = _locate(module), module.partition(".")[0]
    if path is None:
        return None
    if top in OURS:
        return top
    first = _locate(top)
    is_package = first is None or first.name == "__init__.py"  # a namespace has no file
    above = path.absolute().parents
    folder = above[min(module.count(".") + (path.name == "__init__.py"), len(above) - 1)].resolve()
    installed = {Path(sysconfig.get_path(kind)).resolve() for kind in ("purelib", "platlib", "stdlib")}
    if folder in installed or folder.name in ("site-packages", "dist-packages"):
        return top if is_package else str(path)
    return str(folder)


def _locate(module: str) -> Path | None:
    """Return the source file of a module, imported or not; nothing is imported for it."""
    if module in sys.modules:
        file = getattr(sys.modules[module], "__file__", None)
        return Path(file) if file is not None and file.endswith(".py") else None
    parent = module.rpartition(".")[0]
    within = getattr(sys.modules.get(parent), "__path__", None) if parent else None
    if parent and within is None:
        above = _locate(parent)
        if above is None or above.name != "__init__.py":
            return None
        within = [str(above.parent)]
    try:
        spec = PathFinder.find_spec(module, within)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec is not None and spec.origin is not None and spec.origin.endswith(".py") else None


def _read_module(name: str) -> _Module | None:
    path = _locate(name)
    if path is None:
        return None
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    try:
        stat = path.stat()
        return _parse_module(path, stat.st_mtime_ns, stat.st_size, package)
    except (OSError, SyntaxError, ValueError, ImportError):
        return None


@lru_cache(maxsize=256)
def _parse_module(path: Path, modified: int, size: int, package: str) -> _Module:
    # time and size are there for the cache: a file that was edited is read again
    made = _Module()
    for node in _flatten(ast.parse(path.read_text(encoding="utf-8")).body):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for name, place in _list_imported(node, package):
                made.imports.setdefault(name, set()).add(place)
            continue
        plain = _Plain().visit(node)
        if plain is None:
            continue
        used = {n.id for n in ast.walk(plain) if isinstance(n, ast.Name)}
        used |= {name for name in made.imports if name.startswith(WHOLE)}
        for defined in _list_defined(plain):
            made.texts[defined] = f"{made.texts.get(defined, '')}{ast.unparse(plain)}\n"
            made.uses.setdefault(defined, set()).update(used - {defined})
            hidden = set(_list_hidden(plain, package))
            made.hidden.setdefault(defined, set()).update(hidden)
            if not isinstance(plain, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | ast.Assign):
                made.hidden.setdefault("", set()).update(hidden)  # an import in a loop binds a name of the module
    return made


def _list_imported(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield the names that a statement in a module of ``package`` binds, each with the module and the name there."""
    for alias in node.names:
        if isinstance(node, ast.Import):
            yield alias.asname or alias.name.partition(".")[0], (alias.name, WHOLE)
            if alias.asname is None:
                yield alias.name.partition(".")[0], (alias.name.partition(".")[0], WHOLE)
        else:
            module = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            yield f"{WHOLE} {module}" if alias.name == WHOLE else alias.asname or alias.name, (module, alias.name)


def _list_hidden(definition: ast.AST, package: str) -> Iterator[tuple[str, str]]:
    """Yield what a definition may import: by statements inside it, by ``a.b`` and by texts given to something."""
    for node in ast.walk(definition):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from (place for _, place in _list_imported(node, package))
        texts: list[ast.expr] = []
        if isinstance(node, ast.Attribute):
            texts = [ast.Constant(ast.unparse(node))]
        elif isinstance(node, ast.Call):
            texts = [*node.args, *(keyword.value for keyword in node.keywords)]
        elif isinstance(node, ast.Subscript):
            texts = [node.slice]
        for text in texts:
            value = text.value if isinstance(text, ast.Constant) else None
            if isinstance(value, str) and value.replace(".", "").isidentifier():
                with suppress(ImportError):  # relative to more than there is
                    yield importlib.util.resolve_name(value, package), WHOLE


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

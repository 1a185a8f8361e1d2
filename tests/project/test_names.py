"""Names and docstrings: a public name has one meaning, a function is a verb with its object and says what it does."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("bench", "strategies", "backbones")

TWICE = {
    "T": "a type variable, which every file has for itself",
    "main": "the command as it is installed, the process, which ends in an exit code, and the command line's options",
}
"""Public names that several files define, and why they may."""

ONE_WORD = {
    "main": "an entry point's usual name",
    "load": "`bench.load`, whose object is the results folder: typed in every notebook",
    "run": "`bench.run`, named as its command",
    "replay": "`bench.replay`, named as its command",
    "subtract": "two quantities, the only things that the file has",
}
"""Functions that are a verb alone; the names of quantities, in strategies/ and bench/measure/, are the field's."""

NO_VERB = set("A All An Any Each Every Everything How It One The This Those What When Where Whether Which Who".split())
"""Words that begin no sentence about what a function does."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def modules() -> dict[str, ast.Module]:
    """Every file of the product, parsed, by its path."""
    paths = [ROOT / "exitbench.py", *sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))]
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def is_command(file: str, name: str) -> bool:
    """A command's function, which has the command's name; its docstring is the command's help."""
    return file.startswith("bench/cli/verbs/") and (Path(file).stem == name or name == "list_names")


def defined(body: list[ast.stmt]) -> Iterator[str]:
    """The public names that statements define at the top level of a file."""
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names = [node.name]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)]
        elif isinstance(node, ast.If | ast.Try):
            names = [*defined(node.body), *defined(node.orelse)]
        else:
            names = []
        yield from (name for name in names if not name.startswith("_"))


def public(body: list[ast.stmt], within: str = "", inherits: bool = False) -> Iterator[tuple[str, ast.AST, bool]]:
    """Public classes and functions by their full names, and whether one may have a docstring from a class above it."""
    for node in body:
        if any(ast.unparse(decorator) == "overload" for decorator in getattr(node, "decorator_list", ())):
            continue  # the one that is run says it for all of them
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            yield f"{within}{node.name}", node, inherits
            if isinstance(node, ast.ClassDef):
                yield from public(node.body, f"{within}{node.name}.", bool(node.bases))


def functions_of(tree: ast.Module) -> Iterator[str]:
    """The public functions at the top level of a file."""
    yield from (node.name for node in tree.body if isinstance(node, Function) and not node.name.startswith("_"))


def test_a_public_name_has_one_meaning() -> None:
    files: dict[str, set[str]] = defaultdict(set)
    for file, tree in modules().items():
        for name in defined(tree.body):
            if not is_command(file, name):
                files[name].add(file)
    assert {name: sorted(found) for name, found in files.items() if len(found) > 1 and name not in TWICE} == {}
    assert [name for name in TWICE if len(files[name]) < 2] == []


def test_functions_are_verbs_with_an_object() -> None:
    alone = set()
    for file, tree in modules().items():
        if not file.startswith(("strategies/", "bench/measure/")):
            alone |= {name for name in functions_of(tree) if "_" not in name and not is_command(file, name)}
    assert alone == set(ONE_WORD)


def test_everything_public_says_what_it_does() -> None:
    silent, riddles = [], []
    for file, tree in modules().items():
        for name, node, inherits in (("", tree, False), *public(tree.body)):
            assert isinstance(node, ast.Module | ast.ClassDef | Function)
            said = (ast.get_docstring(node) or "").split()
            if not said and not inherits:
                silent.append(f"{file} {name}")
            if not isinstance(node, Function) or is_command(file, name) or not said or name == "main":
                continue  # what is no function is named by a noun
            decorated = {ast.unparse(decorator).split(".")[-1] for decorator in node.decorator_list}
            if said[0].strip(",.:") in NO_VERB or not said[0][0].isupper():
                riddles += [f"{file} {name}: {said[0]}"] * (not decorated & {"property", "cached_property"})
    assert silent == []
    assert riddles == []

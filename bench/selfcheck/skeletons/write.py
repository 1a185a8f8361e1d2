"""Write what one's own criterion, recipe, head, backbone or task begins as: a file, its test, its entry point."""

from __future__ import annotations

import importlib.util
import keyword
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from backbones import ENCODERS
from backbones.names import Registry, make_unknown_error, suggest_name
from bench.errors import UsageError
from bench.files import write_text
from bench.tasks import TASKS
from strategies import HEADS, RECIPES, STRATEGIES

PYPROJECT = "pyproject.toml"
NEW_PROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "{name}"
version = "0.1.0"
dependencies = ["exitbench"]

[tool.setuptools]
py-modules = ["{module}"]

[tool.pytest.ini_options]
pythonpath = ["."]
"""


@dataclass(frozen=True)
class Skeleton:
    """What a kind begins as: the table that it is listed in, its test's template, and what its class's name ends in."""

    table: Registry[type]
    test: str
    suffix: str = ""


SKELETONS: Mapping[str, Skeleton] = {
    "criterion": Skeleton(STRATEGIES, "test_criterion"),
    "recipe": Skeleton(RECIPES, "test_part", "Recipe"),
    "head": Skeleton(HEADS, "test_part", "Head"),
    "backbone": Skeleton(ENCODERS, "test_backbone", "Encoder"),
    "task": Skeleton(TASKS, "test_task"),
}


@dataclass(frozen=True)
class Written:
    """What was written: the files, the class as it is named, its entry point."""

    files: tuple[Path, ...]
    target: str
    entry: str


def write_skeleton(kind: str, name: str, folder: Path) -> Written:
    """Write module, test and entry point of a new ``kind`` called ``name`` into ``folder``.

    Raises UsageError for an unknown kind, a name that is taken or no name, and files that are there already: nothing is
    written then.
    """
    if kind not in SKELETONS:
        raise make_unknown_error("kind", kind, SKELETONS)
    skeleton = SKELETONS[kind]
    module = _check_name(kind, name, skeleton.table)
    title = "".join(word.capitalize() for word in name.split("-"))
    title = title if title.endswith(skeleton.suffix) else title + skeleton.suffix
    known = {"name": name, "module": module, "title": title, "model": _find_model(name) if kind == "backbone" else ""}
    templates = Environment(
        loader=PackageLoader("bench.selfcheck", "skeletons"), undefined=StrictUndefined, keep_trailing_newline=True
    )
    texts = {
        folder / f"{module}.py": templates.get_template(f"{kind}.py.j2").render(known),
        folder / f"test_{module}.py": templates.get_template(f"{skeleton.test}.py.j2").render(known),
    }
    for path in texts:
        if path.exists():
            raise UsageError(f"{path} is there already: another name, or another folder with --out.")
    target = f"{module}:{title}"
    group = skeleton.table.group
    project = folder / PYPROJECT
    before = project.read_text(encoding="utf-8") if project.is_file() else NEW_PROJECT.format(name=name, module=module)
    texts[project] = add_entry_point(before, str(group), name, target)
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in texts.items():
        write_text(path, text)
    return Written(tuple(texts), target, f'[project.entry-points."{group}"] {name} = "{target}"')


def _check_name(kind: str, name: str, table: Registry[type]) -> str:
    """Return the module's name. Raises UsageError where it can be none, or something is called so already."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or keyword.iskeyword(name):
        raise UsageError(f"A name is lower-case letters, digits and dashes, such as my-rule, not '{name}'.")
    if name in table or table.find_name(name) != name:
        raise UsageError(f"There is a {kind} '{table.find_name(name)}' already: take another name.")
    module = name.replace("-", "_")
    if importlib.util.find_spec(module) is not None:
        raise UsageError(f"A module '{module}' is installed already: take another name, such as my-{name}.")
    return module


def _find_model(name: str) -> str:
    """Return the class of transformers for a model type. Raises UsageError for one that it does not have."""
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    found = MODEL_MAPPING_NAMES.get(name)
    if not isinstance(found, str):
        raise UsageError(
            f"transformers has no model type '{name}', which a backbone is named by. "
            f"{suggest_name(name, MODEL_MAPPING_NAMES)}"
        )
    return found


def add_entry_point(text: str, group: str, name: str, target: str) -> str:
    """Return a pyproject.toml with one more entry point; its other lines stay as they are.

    Raises UsageError for text that is no TOML, and for a name that is another class's.
    """
    try:
        known = tomllib.loads(text).get("project", {}).get("entry-points", {}).get(group, {})
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{PYPROJECT} is no TOML: {error}.") from error
    if name in known:
        raise UsageError(f"{PYPROJECT} has an entry point '{name}' already: {known[name]}.")
    line, header = f'{name} = "{target}"', f'[project.entry-points."{group}"]'
    lines = text.splitlines()
    module = target.partition(":")[0]
    for at, found in enumerate(lines):  # a list on one line, as NEW_PROJECT has it
        if re.fullmatch(r'py-modules = \[".*"\]', found) and f'"{module}"' not in found:
            lines[at] = f'{found[:-1]}, "{module}"]'
    if header in lines:
        lines.insert(lines.index(header) + 1, line)
        return "\n".join(lines) + "\n"
    return "\n".join(lines).rstrip("\n") + f"\n\n{header}\n{line}\n"

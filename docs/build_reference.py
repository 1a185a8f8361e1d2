"""What mkdocs does not know by itself: pages made from the code, and links from docs/ into the rest of the repository.

``<!-- insert: commands -->``, ``python`` and ``records`` stand in pages of docs/reference for what is made here. A link
to a Markdown page outside docs/ leads to a page of the site with its text; a link to any other file becomes its name.
"""

from __future__ import annotations

import html
import inspect
import logging
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe
import pyarrow.parquet as pq
import typer
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
BESIDE = "repository"
"""Where pages from outside docs/ are in the site."""
LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^#)\s:][^)\s:]*?)(#[^)\s]*)?\)")
CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
log = logging.getLogger("mkdocs.hooks.reference")


def on_files(files: Files, config: Any) -> Files:
    """Add the Markdown pages outside docs/ that pages link to, and those that these link to."""
    waiting = [ROOT / "docs" / file.src_uri for file in files if file.src_uri.endswith(".md")]
    seen = set(waiting)
    while waiting:
        page = waiting.pop()
        for _, target, _ in find_links(page.read_text(encoding="utf-8")):
            path = Path(posixpath.normpath(page.parent / target))
            if path.suffix != ".md" or path in seen or not path.is_file():
                continue
            seen.add(path)
            waiting.append(path)
            if not path.is_relative_to(ROOT / "docs"):
                files.append(File.generated(config, place_page(path), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Insert what is made from the code, and turn links into those of the site."""
    markdown = re.sub(r"^<!-- insert: (\w+) -->$", lambda found: "\n".join(MADE[found[1]]()), markdown, flags=re.M)
    source = Path(page.file.abs_src_path)

    def turn(found: re.Match[str]) -> str:
        words, target, anchor = found[1], found[2], found[3] or ""
        if target.startswith("../../actions/"):
            return found[0]
        path = Path(posixpath.normpath(source.parent / target))
        if not path.exists():
            log.warning("%s links to %s, which is not there", source.relative_to(ROOT), target)
        elif path.is_relative_to(ROOT / "docs"):
            return f"[{words}]({relate(path.relative_to(ROOT / 'docs').as_posix(), page)}{anchor})"
        elif files.get_file_from_path(place_page(path)):
            return f"[{words}]({relate(place_page(path), page)}{anchor})"
        return words if "`" in words or words == path.name else f"{words} (`{path.relative_to(ROOT)}`)"

    return replace_outside_code(LINK, turn, markdown)


def relate(target: str, page: Any) -> str:
    """Return the path of a source of the site from a page's."""
    return posixpath.relpath(target, posixpath.dirname(page.file.src_uri) or ".")


def place_page(path: Path) -> str:
    """Return where a file outside docs/ is in the site."""
    return f"{BESIDE}/{path.relative_to(ROOT).as_posix()}"


def find_links(markdown: str) -> list[tuple[str, str, str]]:
    """Return words, target and anchor of every relative link that stands outside code."""
    return LINK.findall(CODE.sub("", markdown))


def replace_outside_code(pattern: re.Pattern[str], turn: Any, markdown: str) -> str:
    """Replace in a page what a pattern finds, but not in its code blocks."""
    parts = re.split(r"(^```.*?^```$)", markdown, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if i % 2 else pattern.sub(turn, part) for i, part in enumerate(parts))


def write_commands() -> Iterator[str]:
    """Yield the commands with their arguments and options, from the app itself."""
    from bench.cli.app import COMMANDS, app

    group: Any = typer.main.get_command(app)
    context = group.context_class(group, info_name="bench")
    for name in COMMANDS:
        command = group.get_command(context, name)
        inner = command.context_class(command, info_name=name, parent=context)
        yield f"## bench {name}\n\n{inspect.cleandoc(command.help)}\n"
        yield f"```text\n{command.get_usage(inner).removeprefix('Usage: ')}\n```\n"
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in command.params:
            described = parameter.get_help_record(inner)
            if described and parameter.name != "help":
                groups.setdefault(getattr(parameter, "rich_help_panel", None) or "", []).append(described)
        for title, rows in groups.items():
            yield f"**{title}**\n" if title else ""
            yield "| | |\n| --- | --- |"
            yield from (write_row(f"<code>{html.escape(names)}</code>", html.escape(said)) for names, said in rows)
            yield ""


def write_python() -> Iterator[str]:
    """Yield what mkdocstrings makes pages of: all that `import bench` offers."""
    import bench

    for name in bench.__all__:
        if not name.startswith("__"):
            yield f"\n::: bench.{name}\n"


def write_records() -> Iterator[str]:
    """Yield the fields of a record and the columns of the file of exits, from the types that read them."""
    from bench.results.packed.references import follow_reference
    from bench.results.record import RunRecord

    loader = griffe.GriffeLoader(search_paths=[str(ROOT)])
    package: Any = loader.load("bench.results")
    loader.resolve_aliases(implicit=False)
    classes = {name: c for module in package.modules.values() for name, c in module.classes.items()}
    schema = RunRecord.model_json_schema()
    parts = {"RunRecord": schema, **schema["$defs"]}
    for name, part in parts.items():
        if "properties" not in part:
            continue
        yield f"## {name}\n"
        yield f"{part.get('description', '')}\n"
        yield "| field | type | |\n| --- | --- | --- |"
        for field, kind in part["properties"].items():
            yield write_row(f"`{field}`", describe_type(kind), find_docstring(classes.get(name), field, classes))
        yield ""
    yield "## Exits\n"
    yield f"{package['exits'].docstring.value}\n"
    example = follow_reference(next((ROOT / "results").glob("*/*/*/exits-*.parquet")))
    yield "| column | type |\n| --- | --- |"
    for column in pq.read_schema(example):
        yield write_row(f"`{column.name}`", f"`{column.type}`")


def find_docstring(kind: Any, field: str, classes: dict[str, Any]) -> str:
    """Return what a class says of a field, or the class that it is derived from; nothing where nobody does."""
    while kind is not None:
        member = kind.members.get(field)
        if member is not None and member.docstring:
            return " ".join(member.docstring.value.split())
        kind = next((classes[str(base)] for base in kind.bases if str(base) in classes), None)
    return ""


def describe_type(kind: dict[str, Any]) -> str:
    """Return a field's type in words, with links to the parts it consists of."""
    if "$ref" in kind:
        name = kind["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in kind or "oneOf" in kind:
        return " or ".join(dict.fromkeys(describe_type(one) for one in kind.get("anyOf", kind.get("oneOf"))))
    if "const" in kind or "enum" in kind:
        return " or ".join(f"`{value}`" for value in kind.get("enum", [kind.get("const")]))
    if kind.get("type") == "array":
        return f"list of {describe_type(kind.get('items', {}))}"
    if kind.get("type") == "object" and isinstance(kind.get("additionalProperties"), dict):
        return f"by name: {describe_type(kind['additionalProperties'])}"
    return str(kind.get("type", "anything"))


def write_row(*cells: str) -> str:
    """Return a row of a Markdown table."""
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "&#124;") for cell in cells) + " |"


MADE = {"commands": write_commands, "python": write_python, "records": write_records}

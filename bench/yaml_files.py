"""YAML that somebody gave: read without surprises, refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from bench.errors import UsageError

MOST_VALUES = 100_000


def read_text(path: Path) -> str:
    """Return the text of a file that somebody gave. Raises UsageError where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}.") from error


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a key that is there twice is an error instead of the last one winning."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":  # what is written beside it wins
                continue
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"key '{key}' is there twice", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def parse_yaml(text: str, where: str) -> Any:
    """Return what a YAML text holds; ``where`` names it in messages.

    Raises UsageError, one line, for what is no YAML, for a key that is there twice, and for what is small to write and
    has no end: aliases of aliases.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if _count_values(node, {}) > MOST_VALUES:
            raise UsageError(f"{where} holds more than {MOST_VALUES:,} values.")
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark is not None else ""
        raise UsageError(
            f"{where} is no YAML{line}: {getattr(error, 'problem', None) or 'cannot be parsed'}."
        ) from None
    except RecursionError:
        raise UsageError(f"{where} is nested without end.") from None
    except (ValueError, TypeError, AttributeError, OverflowError) as error:  # a !!int or a date that is none
        raise UsageError(f"{where} is no YAML: a value is not of its type ({error}).") from None


def _count_values(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node stands for with all aliases written out; ``known`` are counts by the node's id."""
    if id(node) not in known:
        inner: Any = node.value  # a scalar's text, a sequence's nodes, a mapping's pairs of nodes
        children = [x for pair in inner for x in pair] if isinstance(node, yaml.MappingNode) else inner
        known[id(node)] = 1 + (sum(_count_values(c, known) for c in children) if isinstance(children, list) else 0)
    return known[id(node)]

"""Published claims as data: one YAML a paper, with the runs that test them at the paper's scale and scaled down.

The claims' numbers are the papers' own (or, where marked, a second source's); nothing in these files was measured here.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from backbones.names import unknown_name
from bench.reproduce.papers.schema import Paper, parse_paper
from bench.yaml_files import parse_yaml, read_text


def papers() -> list[str]:
    """Names of all papers."""
    return sorted(entry.name.removesuffix(".yaml") for entry in files(__package__).iterdir() if _is_paper(entry.name))


def load_paper(name: str) -> Paper:
    """The claims and plans of a paper: a listed name, or a YAML file of your own.

    Raises UsageError for an unknown name or a file that is not as it should be.
    """
    if name.endswith(".yaml") and Path(name).is_file():
        return parse_text(read_text(Path(name)), name)
    if name not in papers():
        raise unknown_name("paper", name, papers())
    text = (files(__package__) / f"{name}.yaml").read_text(encoding="utf-8")
    return parse_text(text, f"{name}.yaml")


def parse_text(text: str, where: str) -> Paper:
    """A paper from the text of its file; ``where`` names the file in messages."""
    return parse_paper(parse_yaml(text, where), where)


def _is_paper(name: str) -> bool:
    return name.endswith(".yaml")

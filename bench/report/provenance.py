"""Where results come from: code, packages and machines, each said once and marked by a letter where it matters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.results.data import CellView, canonical


def machine_of(view: CellView) -> str:
    """The machine's id that latency belongs to."""
    environment = view.record.get("environment")
    return str(environment.get("machine_id", "unknown")) if isinstance(environment, Mapping) else "unknown"


def machine_text(view: CellView) -> str:
    """The machine in words."""
    environment: Any = view.record.get("environment") or {}
    machine = environment.get("machine") or {}
    parts = [machine.get("cpu"), _counted(machine.get("cores"), "core"), _counted(machine.get("threads"), "thread")]
    parts += [f"{machine['memory_gib']} GiB" if machine.get("memory_gib") else None, machine.get("system")]
    parts += [", ".join(map(str, machine.get("gpus") or ())) or "no GPU"]
    return ", ".join(str(p) for p in parts if p) if machine else "unknown machine"


def _counted(count: object, noun: str) -> str | None:
    return None if count is None else f"{count} {noun}{'' if count == 1 else 's'}"


def machines(cells: Sequence[CellView]) -> dict[str, str]:
    """Machine ids and what they are, in order of the cells."""
    return {machine_of(view): machine_text(view) for view in reversed(cells)}


@dataclass
class Revision:
    """A source revision or environment that results came from, with the letter that marks them in tables."""

    letter: str
    code: str
    packages: str
    cells: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Code and packages."""
        return f"{self.code}; {self.packages}"


def provenance(cells: Sequence[CellView]) -> dict[str, Revision]:
    """Every combination of commit, dirty flag and package versions, lettered in order of the cells."""
    found: dict[str, Revision] = {}
    for view in cells:
        key = provenance_key(view)
        if key not in found:
            found[key] = Revision(_letter(len(found)), *_code_and_packages(view))
        found[key].cells.append(view.name)
    return found


def provenance_key(view: CellView) -> str:
    """The same for results of the same code."""
    environment = view.record.get("environment")
    part = environment if isinstance(environment, Mapping) else {}
    return canonical([part.get("source"), part.get("versions")])


def _code_and_packages(view: CellView) -> tuple[str, str]:
    environment: Any = view.record.get("environment") or {}
    source, versions = environment.get("source"), environment.get("versions") or {}
    if isinstance(source, Mapping):
        commit = f"commit {str(source.get('commit'))[:10]}" + (
            " with uncommitted changes" if source.get("dirty") else ""
        )
    else:
        commit = f"release {versions.get('exitbench')}"
    named = ("python", "torch", "transformers", "tokenizers", "datasets", "numpy")
    return commit, ", ".join(f"{n} {versions[n]}" for n in named if versions.get(n))


def _letter(index: int) -> str:
    letters = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        letters = chr(ord("a") + rest) + letters
    return letters

"""A file in the place of logits that names the run beside its own which has the same. Needs no torch and no pyarrow.

It is a line of JSON, as `bench pack` writes it:

    {"same_as": "entropy-s0-3d89e96a", "sha256": "<that of the content>"}

``same_as`` is a folder beside the run's own, and the file of the same name in it is meant: nothing else can be named.
It is no Parquet on purpose: who opens it as such is told at once, where a table without rows would pass for data.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.errors import Damaged
from bench.files import write_text

REFERABLE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,254}")
"""What a run's folder is called that can be referred to: no dot before it, and nothing that leads elsewhere."""
START = b'{"same_as"'
LINE = re.compile(rf'\{{"same_as": "({REFERABLE.pattern})", "sha256": "([0-9a-f]{{64}})"\}}\s{{0,2}}'.encode())
MOST = 512
"""Bytes; none has more."""


@dataclass(frozen=True)
class LogitsReference:
    """The folder of the run that has the same logits, and the checksum of their content (AllExits.checksum)."""

    same_as: str
    sha256: str

    def locate(self, path: Path) -> Path:
        """Return where the logits are that the reference at ``path`` stands for."""
        return path.absolute().parent.parent / self.same_as / path.name


def read_reference(path: Path) -> LogitsReference | None:
    """Return the reference at ``path``; None where something else is there.

    Raises FileNotFoundError, and Damaged for a reference to what is no run beside its own.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST)
    except FileNotFoundError:
        raise
    except OSError:  # whoever reads it says what is wrong
        return None
    if not content.startswith(START):
        return None
    found = LINE.fullmatch(content)
    if found is None:
        raise Damaged(path, "it stands for another run's logits and names no run beside its own")
    return LogitsReference(*(part.decode() for part in found.groups()))


def write_reference(path: Path, reference: LogitsReference) -> None:
    """Write a reference in the place of logits, atomically."""
    write_text(path, json.dumps(asdict(reference)) + "\n")


def follow_reference(path: Path) -> Path:
    """Return the file that has the content of ``path``: itself, or the one that it refers to, which may be missing.

    Raises as :func:`read_reference`.
    """
    reference = read_reference(path)
    return path if reference is None else reference.locate(path)

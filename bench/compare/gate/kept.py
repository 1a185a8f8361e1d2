"""What the files of a baseline consist of: checked when they are read, since anybody may have written them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from bench.compare.gate.golden import PROBE_SAMPLES, SHAPES
from bench.errors import DataError
from bench.results.measures import Counts
from bench.results.part import Number, Part, describe_error

REMEDY = "take it from where it came, or make another with `bench gate --accept`"


class KeptCut(Part):
    """A golden cut, and what it gives."""

    cut: Number
    gap: Number
    layers: Annotated[str, Field(pattern=r"^[1-9]+$")]
    """The exit of every sample, a digit each."""
    flops: int | None = None
    correct: int | None = None


class KeptRule(Part):
    """What a criterion decides on recorded logits."""

    tie: bool | None
    cuts: tuple[KeptCut, ...]


class KeptCell(KeptRule):
    """A cell's file."""

    strategy: str
    backbone: str
    logits: str
    """The file of its model's logits, beside its own."""
    quality_key: str
    training: Mapping[str, Any]
    per_exit: Mapping[str, tuple[Number, ...]]
    samples: int
    tokens: int
    flops_by_exit: tuple[int, ...]
    plain_flops: int
    counts: Counts | None = None
    """Unset in baselines from before anything was counted, and of what cannot run live."""


class Platform(Part):
    """What trained the models."""

    version: int
    torch: str | None
    transformers: str | None
    cpu: str
    instructions: str | None = None
    """The widest instructions that torch used, which a machine's name may not tell: ``AVX512``."""


def read_kept(path: Path, kind: Any) -> Any:
    """Return the plain JSON in ``path``. Raises DataError, in one line, where it is no ``kind``."""
    try:
        text = path.read_text(encoding="utf-8")
        TypeAdapter(kind).validate_json(text)
        return json.loads(text)
    except FileNotFoundError as error:
        raise DataError(f"The baseline lacks {path}: {REMEDY}.") from error
    except ValidationError as error:
        raise DataError(f"{path} of the baseline is damaged ({describe_error(error)}): {REMEDY}.") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} of the baseline cannot be read ({error}): {REMEDY}.") from error


def count_exits(cell: Mapping[str, Any]) -> int:
    """Return how many exits a cell's model has: of a cut one, fewer than ``flops_by_exit`` counts."""
    return min(map(len, cell["per_exit"].values()), default=0)


def find_probe_misfit(probe: Mapping[str, Mapping[str, Any]]) -> str:
    """Return what was decided on another probe than there is, or nothing."""
    for name, shapes in probe.items():
        for shape, kept in shapes.items():
            fits = all(len(cut["layers"]) == PROBE_SAMPLES for cut in kept["cuts"])
            if shape not in SHAPES or not fits:
                return f"{name} was not decided on the probe's {PROBE_SAMPLES} samples with {', '.join(SHAPES)}"
    return ""


def find_misfit(cell: Mapping[str, Any], path: Path) -> str:
    """Return what in a cell's file does not go with the rest or with where it lies, or nothing."""
    exits = count_exits(cell)
    if cell["backbone"] != path.parent.name or Path(cell["logits"]).name != cell["logits"]:
        return "it names files elsewhere"
    for cut in cell["cuts"]:
        if len(cut["layers"]) != cell["samples"] or max(map(int, cut["layers"])) > exits:
            return f"a cut's exits are not those of {cell['samples']} samples at {exits} exits"
        if cut.get("flops") is None:
            return "a cut lacks its FLOPs"
    return ""

"""What a run answers at each of its points: made of its logits by its criterion, and kept beside the checkpoints.

The criterion takes torch, seconds and hundreds of megabytes; a table of hundreds of runs needs a number a sample. What
is kept lies in ``.cache/answers`` of the store under a key of everything that it is made of: the record, the content of
the logits, the source that makes answers of them and the libraries it uses. It is safe to delete, and what is damaged
is made again.
"""

from __future__ import annotations

import hashlib
import json
import platform
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import Damaged, UserError
from bench.measure.exits import AllExits
from bench.results.measures import SkillCheck
from bench.results.packed.references import follow_reference
from bench.results.places import make_cache
from strategies import STRATEGIES

KEPT_FORMAT = 2
EVERY_LAYER = ""
"""What all layers answer stands under this name among the points; no rule is called so."""
ANSWER_MAKERS = ("strategies", "bench/measure", "bench/inference", "bench/results")
"""Folders whose source makes answers of logits."""
ANSWER_LIBRARIES = ("torch", "numpy", "scipy")
INTEGERS = (np.uint8, np.uint16, np.int64)


@dataclass(frozen=True, eq=False)
class PointAnswers:
    """What a run answers on a split: ``given`` [N] by operating point, :data:`EVERY_LAYER` among them.

    ``layers`` [N], 1-based, are those after which each sample leaves, by point too.
    ``ids`` is a digest of the samples' ids, in order; ``labels`` [N]. ``moved``: the points at which the criterion as
    it is now gives other exits than are recorded, and how. ``skill``: the full model against one answer for all.
    """

    ids: str
    labels: NDArray[Any]
    given: Mapping[str, NDArray[Any]]
    layers: Mapping[str, NDArray[np.int64]]
    moved: Mapping[str, str]
    skill: SkillCheck


def make_answers(
    exits: AllExits, layers: Mapping[str, NDArray[np.int64]], recorded: Mapping[str, list[int]], skill: SkillCheck
) -> PointAnswers:
    """Return what samples answer that leave at ``layers`` [N], by point; ``recorded`` says how many left where."""
    moved = {}
    for rule, counts in recorded.items():
        now = np.bincount(layers[rule], minlength=len(counts) + 1)[1:].tolist()
        if now != counts:
            moved[rule] = f"recorded exits {counts}, the present rule gives {now}"
    rows, told = np.arange(len(exits.labels)), exits.predictions
    given = {rule: told[rows, at - 1] for rule, at in layers.items()}
    return PointAnswers(digest_ids(exits.ids), exits.labels, given, layers, moved, skill)


def digest_ids(ids: Iterable[str]) -> str:
    """Return a digest of sample ids and their order."""
    return hashlib.sha256(json.dumps(list(ids)).encode()).hexdigest()


def identify_answers(strategy: str, arguments: Mapping[str, object], files: Iterable[Path]) -> str:
    """Return the key of what ``strategy`` answers, made from ``files``: the record, and logits.

    Of a file that refers to another one that content counts. Empty for what nobody can identify: a criterion that is
    somebody's own, whose source may be anywhere, and files that cannot be read.
    """
    inner = arguments.get("of")
    if strategy not in STRATEGIES.table or (isinstance(inner, str) and inner not in STRATEGIES.table):
        return ""
    digest = hashlib.sha256(f"{KEPT_FORMAT} {_digest_makers()}".encode())
    try:
        for path in files:
            digest.update(path.name.encode() + hashlib.sha256(follow_reference(path).read_bytes()).digest())
    except (OSError, Damaged):
        return ""
    return digest.hexdigest()[:32]


@cache
def _digest_makers() -> str:
    """Return a digest of all source that makes answers, of the libraries' versions and the kind of processor."""
    root = Path(__file__).parents[3]
    digest = hashlib.sha256(f"{platform.machine()} {platform.python_version()}".encode())
    for name in ANSWER_LIBRARIES:
        try:
            digest.update(f"{name} {version(name)}".encode())
        except PackageNotFoundError:
            digest.update(f"{name} none".encode())
    for folder in ANSWER_MAKERS:
        for path in sorted((root / folder).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def read_answers(root: Path, key: str) -> PointAnswers | None:
    """Return what is kept under ``key`` in the store at ``root``; None where there is nothing, or it is damaged."""
    try:
        content = _locate(root, key).read_bytes()
        sealed, body = content[:32], content[32:]
        if hashlib.sha256(body).digest() != sealed:
            return None
        head, _, numbers = body.partition(b"\n")
        facts = json.loads(head)
        arrays, start = [], 0
        for kind in facts["kinds"]:
            arrays.append(np.frombuffer(numbers, kind, facts["samples"], start))
            start += arrays[-1].nbytes
        labels, *by_point = (one.astype(np.int64) if one.dtype.kind in "iu" else one for one in arrays)
        points, skill = facts["points"], SkillCheck.model_validate_json(json.dumps(facts["skill"]))
        given = dict(zip(points, by_point[: len(points)], strict=True))
        layers = dict(zip(points, by_point[len(points) :], strict=True))
        return PointAnswers(facts["ids"], labels, given, layers, facts["moved"], skill)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep_answers(root: Path, key: str, answers: PointAnswers) -> bool:
    """Keep ``answers`` under ``key`` and return whether that was possible: a store may be for reading alone."""
    arrays = [_narrow(one) for one in (answers.labels, *answers.given.values(), *answers.layers.values())]
    facts = {
        "ids": answers.ids,
        "samples": len(answers.labels),
        "points": list(answers.given),
        "kinds": [one.dtype.str for one in arrays],
        "moved": dict(answers.moved),
        "skill": answers.skill.model_dump(mode="json"),
    }
    body = json.dumps(facts).encode() + b"\n" + b"".join(one.tobytes() for one in arrays)
    path = _locate(root, key)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        make_cache(root, "answers")
        # sealed, so that half a file is found out: not synced, which takes longer than making hundreds of them
        temporary.write_bytes(hashlib.sha256(body).digest() + body)
        temporary.replace(path)
    except (OSError, UserError):
        return False
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return True


def _narrow(values: NDArray[Any]) -> NDArray[Any]:
    """Return whole numbers in the narrowest type that holds them; others as they are."""
    if values.dtype.kind not in "iu":
        return values
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    return values.astype(next(kind for kind in INTEGERS if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max))


def _locate(root: Path, key: str) -> Path:
    return root / ".cache" / "answers" / f"{key}.bin"

"""Which cell of the base is which cell of the candidate, and what forbids comparing them.

Cells pair by what was *asked*: strategy, task, backbone, head, recipe, every argument, training, length, limit, dtype
and seed. Not part of it, so that a change of code can be judged: versions of strategy, head and recipe, the code's
commit, the libraries, the device, the machine. They are told as notes. Two things that are not asked but found forbid
a comparison: another revision of the data, and other weights of the backbone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from backbones.names import unknown_name
from bench.compare.sources import Found

NAMES = ("strategy", "task", "backbone")
NOT_ASKED = ("thresholds", "latency", "device", "select", "rules")
"""Fields of a spec that change no prediction, or (the device) one that is told as a note."""


@dataclass(frozen=True)
class Pair:
    """Two cells that belong together; ``forbidden`` says why they must not be compared, ``notes`` what else differs."""

    base: Found
    candidate: Found
    forbidden: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Pairing:
    """Pairs, and the cells that only one side has."""

    pairs: list[Pair]
    missing: list[Found]
    new: list[Found]


def paired(base: Sequence[Found], candidate: Sequence[Found], across: Sequence[str] = ()) -> Pairing:
    """Pair the cells of two results; settings named in ``across`` may differ (``dtype``, ``seed``, ``train``).

    Cells with equal settings pair first. What is left pairs with the most similar cell of the same strategy, task and
    backbone, to be reported as not comparable with the settings that differ.
    """
    open_base, open_candidate = newest(base), newest(candidate)
    pairs: list[Pair] = []
    for most in (0, None):
        choices = sorted(
            (
                (len(differ), i, j, differ)
                for i, b in enumerate(open_base)
                for j, c in enumerate(open_candidate)
                if _same_names(b, c, across)
                for differ in [differences(b.spec, c.spec, across)]
                if most is None or len(differ) <= most
            ),
            key=lambda choice: choice[:3],
        )
        taken: tuple[set[int], set[int]] = (set(), set())
        for _, i, j, differ in choices:
            if i in taken[0] or j in taken[1]:
                continue
            taken[0].add(i)
            taken[1].add(j)
            forbidden, notes = found_differences(open_base[i].record, open_candidate[j].record)
            pairs.append(Pair(open_base[i], open_candidate[j], differ + forbidden, notes))
        open_base = [b for i, b in enumerate(open_base) if i not in taken[0]]
        open_candidate = [c for j, c in enumerate(open_candidate) if j not in taken[1]]
    return Pairing(sorted(pairs, key=lambda pair: pair.base.label), open_base, open_candidate)


def check_across(across: Sequence[str], cells: Sequence[Found]) -> None:
    """Raise UsageError for a name in ``across`` that no cell has a setting of, or settings below."""
    known = {name for cell in cells for name in (*cell.spec, *settings(cell.spec))}
    for name in across:
        if name not in known:
            raise unknown_name("setting", name, known, " in --across")


def newest(cells: Sequence[Found]) -> list[Found]:
    """Of cells with the same settings (left behind by older versions of the code), the last made."""
    kept: dict[str, Found] = {}
    for cell in sorted(cells, key=lambda c: str(c.record.get("created", ""))):
        kept[repr(sorted(settings(cell.spec).items()))] = cell
    return list(kept.values())


def settings(spec: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    """A spec as flat ``train.lr`` -> value, without what changes no prediction."""
    flat: dict[str, object] = {}
    for name, value in spec.items():
        if not prefix and name in NOT_ASKED:
            continue
        if isinstance(value, Mapping):
            flat |= settings(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def differences(base: Mapping[str, Any], candidate: Mapping[str, Any], across: Sequence[str] = ()) -> list[str]:
    """``["seed 0 -> 1"]``: the settings whose values differ. One that only one of them knows came with a version."""
    one, other = settings(base), settings(candidate)
    return [
        f"{name} {one[name]} -> {other[name]}"
        for name in one
        if name in other and one[name] != other[name] and not _allowed(name, across)
    ]


def found_differences(base: Mapping[str, Any], candidate: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """What forbids a comparison though the same was asked, and what is worth a note."""
    forbidden, notes = [], []
    old, new = base.get("identity", {}), candidate.get("identity", {})
    for kind, name, what in (("task", "revision", "data revision"), ("backbone", "digest", "backbone weights")):
        before, after = old.get(kind, {}).get(name), new.get(kind, {}).get(name)
        if before != after:
            forbidden.append(f"{what} {_short(before)} -> {_short(after)}")
    for kind in ("strategy", "head", "recipe"):
        before, after = old.get(kind, {}).get("version"), new.get(kind, {}).get("version")
        if before != after:
            notes.append(f"{kind} version {before} -> {after}")
    before, after = (identity.get("strategy", {}).get("wrapped", 1) for identity in (old, new))  # 1: all of them
    if before != after:
        notes.append(f"wrapped strategy version {before} -> {after}")
    if base["spec"].get("device") != candidate["spec"].get("device"):
        notes.append(f"device {base['spec'].get('device')} -> {candidate['spec'].get('device')}")
    before, after = (r.get("environment", {}).get("versions", {}) for r in (base, candidate))
    notes += [f"{name} {before[name]} -> {after[name]}" for name in before if before[name] != after.get(name)]
    one, other = ((r.get("environment", {}).get("source") or {}).get("commit") for r in (base, candidate))
    if one != other:
        notes.append(f"commit {_short(one)} -> {_short(other)}")
    return forbidden, notes


def _same_names(base: Found, candidate: Found, across: Sequence[str]) -> bool:
    return all(base.spec.get(n) == candidate.spec.get(n) for n in NAMES if n not in across)


def _allowed(name: str, across: Sequence[str]) -> bool:
    return any(name == free or name.startswith(f"{free}.") for free in across)


def _short(value: object) -> str:
    text = str(value)
    return text[:20] if text.startswith("sha256-") else text[:12]

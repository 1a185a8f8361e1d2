"""Which cell of the base is which cell of the candidate, and what forbids comparing them.

Cells pair by what was *asked*: strategy, task, backbone, head, recipe, every argument, training, length, limit, dtype
and seed. Not part of it, so that a change of code can be judged: versions of strategy, head and recipe, the code's
commit, the libraries, the device, the machine. They are told as notes. Two things that are not asked but found forbid
a comparison: another revision of the data, and other weights of the backbone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from backbones.names import make_unknown_error
from bench.results.facts import ExternalLogits, Identity
from bench.results.groups import label_runs, list_asked_settings, shorten_digests
from bench.results.run import Run

NAMES = ("strategy", "task", "backbone")


@dataclass(frozen=True)
class Pair:
    """Two cells that belong together, under the base's ``label``, which no other pair has.

    ``forbidden`` says why they must not be compared, ``notes`` what else differs.
    """

    label: str
    base: Run
    candidate: Run
    forbidden: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Pairing:
    """Pairs, and the labels of the cells that only one side has."""

    pairs: list[Pair]
    missing: list[str]
    new: list[str]


def pair_runs(base: Sequence[Run], candidate: Sequence[Run], across: Sequence[str] = ()) -> Pairing:
    """Pair the cells of two results; settings named in ``across`` may differ (``dtype``, ``seed``, ``train``).

    Cells with equal settings pair first. What is left pairs with the most similar cell of the same strategy, task and
    backbone, to be reported as not comparable with the settings that differ.
    """
    open_base, open_candidate = keep_newest(base), keep_newest(candidate)
    labels, new_labels = label_runs(open_base), label_runs(open_candidate)
    pairs: list[Pair] = []
    for most in (0, None):
        choices = sorted(
            (
                (len(differ), i, j, differ)
                for i, b in enumerate(open_base)
                for j, c in enumerate(open_candidate)
                if _has_same_names(b, c, across)
                for differ in [compare_settings(b, c, across)]
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
            forbidden, notes = find_differences(open_base[i], open_candidate[j])
            pair = Pair(labels[open_base[i]], open_base[i], open_candidate[j], differ + forbidden, notes)
            pairs.append(pair)
        open_base = [b for i, b in enumerate(open_base) if i not in taken[0]]
        open_candidate = [c for j, c in enumerate(open_candidate) if j not in taken[1]]
    missing, new = [labels[run] for run in open_base], [new_labels[run] for run in open_candidate]
    return Pairing(sorted(pairs, key=lambda pair: pair.label), missing, new)


def check_across(across: Sequence[str], cells: Sequence[Run]) -> None:
    """Raise UsageError for a name in ``across`` that no cell has a setting of, or settings below."""
    known = {name for run in cells for name in (*asdict(run.spec), *list_asked_settings(run))}
    for name in across:
        if name not in known:
            raise make_unknown_error("setting", name, known, " in --across")


def keep_newest(cells: Sequence[Run]) -> list[Run]:
    """Return the newest of the cells with the same settings, which older versions of the code left behind."""
    kept: dict[str, Run] = {}
    for cell in sorted(cells, key=lambda run: run.head.created):
        kept[repr(sorted(list_asked_settings(cell).items()))] = cell
    return list(kept.values())


def compare_settings(base: Run, candidate: Run, across: Sequence[str] = ()) -> list[str]:
    """Return ``["seed 0 -> 1"]``: the settings whose values differ. One that only one of them has is none."""
    one, other = list_asked_settings(base), list_asked_settings(candidate)
    return [
        f"{name} {one[name]} -> {other[name]}"
        for name in one
        if name in other and one[name] != other[name] and not _is_allowed(name, across)
    ]


def find_differences(base: Run, candidate: Run) -> tuple[list[str], list[str]]:
    """Return what forbids a comparison though the same was asked, and what is worth a note."""
    forbidden, notes = [], []
    old, new = base.head.identity, candidate.head.identity
    for what, before, after in (
        ("data revision", old.task.revision, new.task.revision),
        ("backbone weights", old.backbone.digest, new.backbone.digest),
    ):
        if before != after:
            forbidden.append(f"{what} {' -> '.join(shorten_digests((before, after)))}")
    for kind, one, other in (
        ("strategy", old.strategy, new.strategy),
        ("head", old.head, new.head),
        ("recipe", old.recipe, new.recipe),
    ):
        if one.version != other.version:
            notes.append(f"{kind} version {one.version} -> {other.version}")
    if old.strategy.wrapped != new.strategy.wrapped:
        notes.append(f"wrapped strategy version {_name_wrapped(old)} -> {_name_wrapped(new)}")
    if base.spec.device != candidate.spec.device:
        notes.append(f"device {base.spec.device} -> {candidate.spec.device}")
    files = [None if found is None else found.digest for found in map(_find_external, (base, candidate))]
    if files[0] != files[1]:
        notes.append(f"imported logits {' -> '.join(shorten_digests(files))}")
    made, remade = base.head.environment, candidate.head.environment
    notes += [
        f"{name} {version} -> {remade.versions.get(name)}"
        for name, version in made.versions.items()
        if version != remade.versions.get(name)
    ]
    commits = [None if of.source is None else of.source.commit for of in (made, remade)]
    if commits[0] != commits[1]:
        notes.append(f"commit {' -> '.join(shorten_digests(commits))}")
    return forbidden, notes


def _find_external(run: Run) -> ExternalLogits | None:
    return run.record.external if run.is_finished() else None


def _name_wrapped(identity: Identity) -> object:
    return list(identity.strategy.wrapped) if identity.strategy.wrapped else 1  # 1: all of them


def _has_same_names(base: Run, candidate: Run, across: Sequence[str]) -> bool:
    return all(getattr(base, n) == getattr(candidate, n) for n in NAMES if n not in across)


def _is_allowed(name: str, across: Sequence[str]) -> bool:
    return any(name == free or name.startswith(f"{free}.") for free in across)

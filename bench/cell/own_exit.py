"""Whether a backbone's own classifier is the last exit: asked for, or chosen because it is there and fits the task."""

from __future__ import annotations

from dataclasses import dataclass, replace

from backbones.errors import BackboneError
from backbones.labels import LabelMatch, OwnLabels, match_labels, read_longest_input, read_own_labels
from backbones.resolve import BackboneRequest, Resolved, resolve_backbone
from bench.errors import UsageError
from bench.results.spec import RunSpec
from bench.tasks.base import TaskData


@dataclass(frozen=True)
class OwnExit:
    """A checkpoint's own classifier as the last exit: what it answers, and which of it the task's classes are."""

    labels: OwnLabels
    match: LabelMatch


@dataclass(frozen=True)
class Settled:
    """A spec whose ``init`` is decided; its own last exit, if it has one; what the record is to warn of."""

    spec: RunSpec
    own: OwnExit | None = None
    notes: tuple[str, ...] = ()


def settle_init(spec: RunSpec, free: frozenset[str], request: BackboneRequest, data: TaskData) -> Settled:
    """Decide where the weights of a spec come from; ``free`` are its fields that nobody asked for.

    A checkpoint that is fine-tuned for this task keeps its classifier; of one that is fine-tuned for another it is
    said why it does not. The longest input is the checkpoint's own where nobody gave one. Raises UsageError where a
    classifier is asked for and there is none that fits.
    """
    asked = "init" not in free
    if spec.init == "scratch" or (asked and spec.init == "pretrained"):
        return Settled(spec)
    found = resolve_backbone(request)
    kept = found if asked else try_finetuned(request)
    name = found.source.partition(":")[2]
    try:
        labels = read_own_labels(found, asked=asked)
        own = None if labels is None else OwnExit(labels, match_labels(labels, list_class_names(data)))
    except BackboneError as error:
        if not asked:
            return Settled(spec, notes=(f"the classifier of {name} is left out: {str(error).removesuffix('.')}",))
        why = str(error).removesuffix(".")
        raise UsageError(
            f"The classifier of {name} is not for this task: {why}. Leave it out with --init pretrained."
        ) from error
    if own is None and asked:
        raise UsageError(f"{name} has no classifier of its own: take --init pretrained.")
    if own is None:
        return Settled(spec)
    if kept is None:
        return Settled(spec, notes=(f"the classifier of {name} is left out: num_hidden_layers cuts off what it reads",))
    length = read_longest_input(found) if "max_length" in free else spec.max_length
    settled = replace(spec, init="finetuned", max_length=length)
    return Settled(settled, own, tuple(describe_match(own, data, name)))


def try_finetuned(request: BackboneRequest) -> Resolved | None:
    """Return the backbone with its own classifier, or None where what is asked takes away the layer that it reads."""
    try:
        return resolve_backbone(replace(request, init="finetuned"))
    except BackboneError:
        return None


def list_class_names(data: TaskData) -> tuple[str, ...] | None:
    """Return the names of a task's classes; None for a regression."""
    return None if data.kind == "regression" else data.label_names


def describe_own_exit(own: OwnExit, backbone: str, layers: int) -> str:
    """Return the line that says that the last of ``layers`` exits is the backbone's own classifier."""
    names = own.labels.names
    what = "one number" if own.match.how == "regression" else f"{', '.join(names[:10])}{', ...' * (len(names) > 10)}"
    return f"Exit {layers} is the classifier that {backbone} came with ({what}); --init pretrained leaves it out."


def describe_match(own: OwnExit, data: TaskData, name: str) -> list[str]:
    """Return the lines that a record warns of: classes that were matched by anything but their names."""
    if own.match.how != "position":
        return []
    pairs = [f"{ours} = {own.labels.names[i]}" for ours, i in zip(data.label_names, own.match.order, strict=True)]
    shown = ", ".join(pairs[:10]) + (", ..." if len(pairs) > 10 else "")
    return [f"the classes of {name} and of the task have no names in common and are matched by number: {shown}"]

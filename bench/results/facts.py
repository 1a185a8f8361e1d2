"""What a record says besides measured numbers: data, weights, training, code and machine."""

from __future__ import annotations

from typing import Any, Literal

from bench.results.part import Frozen, Number, Part


class Rows(Part):
    """How much of a split was used."""

    used: int
    available: int | None
    """None where that is not known."""
    truncated: int | None = None
    """Samples longer than the longest input, where the split was encoded for evaluation."""


class TaskFacts(Part):
    """Where the data came from and how much of it was used."""

    name: str
    kind: Literal["classification", "regression"]
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    """The first is the one that points are chosen by."""
    revision: str
    source: str
    select: str
    """The split that thresholds are chosen on."""
    evaluation: tuple[str, ...]
    """The reported splits, the primary one first."""
    rows: Frozen[Rows]
    given: str | None = None
    """What was typed where it is not the name: a folder, or ``module:Class``; unset in older records."""
    max_length: int | None = None
    """Tokens that longer samples were cut to; unset in older records."""


class ClassifierFacts(Part):
    """The classifier that a fine-tuned backbone came with, which is the last exit."""

    labels: tuple[str, ...]
    """Its own names of the classes, in its order; one of a regression."""
    order: tuple[int, ...]
    """For each of the task's classes the number that it has there: the logits are recorded in the task's order."""
    matched: Literal["name", "case", "position", "regression"]
    """By what the task's classes were found: the same names, but for upper case, by number; or it has none."""


class BackboneFacts(Part):
    """Which weights, and the shape of the model."""

    name: str
    model_type: str
    source: str
    revision: str | None
    digest: str
    init: str
    layers: int
    """Exits of this model."""
    depth: int | None = None
    """Layers of the whole backbone, of which this one may be a part; unset in the oldest records."""
    hidden: int | None
    parameters: int | None
    head_parameters: int | None
    """Width and sizes; None of imported logits whose backbone or head nobody named."""
    pooling: str
    classifier: ClassifierFacts | None = None
    """Of init "finetuned"; unset in all other records."""

    @property
    def whole_depth(self) -> int:
        """Layers of the whole backbone."""
        return self.layers if self.depth is None else self.depth


class Training(Part):
    """How the checkpoint was fitted, or that it was reused."""

    key: str
    """Identity of the checkpoint: the same for all runs that share it."""
    reused: bool
    truncated: int
    """Training samples longer than the longest input."""
    stages: Frozen[tuple[Number, ...]]
    """Mean loss of each tenth of each stage."""
    steps: Frozen[int]
    recipe: Frozen[tuple[Number, ...]]
    """What the recipe itself learned."""
    seconds: Number
    resumed: int
    micro_batch: int | None = None
    """Samples that fitted into the device's memory at once, where a whole batch did not."""


class ExternalLogits(Part):
    """Where the logits of a run come from that were made elsewhere: files, and no model that is here."""

    name: str
    """What the user calls the model."""
    file: str
    """The reported logits, or the folder of a checkpoint; its name without the path."""
    digest: str
    """SHA-256 of that file, or of the checkpoint's weights."""
    held_out: str | None
    """The file that thresholds were chosen on, in words for a checkpoint; None where it is a part of the first one."""
    held_out_digest: str | None
    backbone: str | None
    head: str | None
    """Whose FLOPs are counted; None where they were not named, and costs are layers."""


class FittedProbe(Part):
    """What a criterion's probe learned from training features."""

    key: str
    samples: int
    numbers: Frozen[tuple[Number, ...]]


class SharedHeldOut(Part):
    """How the select split was used by a criterion that is fitted."""

    fitted_on: int
    """Samples that the criterion was fitted on."""
    chosen_on: int
    """Samples that points were chosen on."""
    apart: bool
    """Whether these are others than those: if not, they were too few, and nothing is certified."""


class FittedCriterion(Part):
    """What was fitted after the model."""

    probe: FittedProbe | None
    fitted: Frozen[tuple[Number, ...]]
    """The criterion's own numbers, from the select split."""
    held_out: SharedHeldOut | None = None
    """Of a criterion with numbers of its own; unset in older records, whose select split was used for both."""


class Source(Part):
    """The checkout of ExitBench that ran."""

    commit: str
    dirty: bool


class Machine(Part):
    """The machine, as far as it can change a timing."""

    system: str
    cpu: str
    cores: int
    memory_gib: Number | None
    threads: int
    gpus: tuple[str, ...]


class Environment(Part):
    """Code, packages and machine."""

    versions: Frozen[str | None]
    machine: Machine
    machine_id: str
    """Two results with the same one may be compared in time."""
    source: Source | None
    """None for an installed release."""


class BackboneIdentity(Part):
    """The backbone's part of an identity."""

    name: str
    init: str
    args: Frozen[Any]
    digest: str


class TaskIdentity(Part):
    """The data's part of an identity."""

    name: str
    revision: str
    limit: int | None
    max_length: int


class PartIdentity(Part):
    """The head's or the recipe's part of an identity."""

    name: str
    args: Frozen[Any]
    version: int


class StrategyIdentity(Part):
    """The criterion's part of an identity."""

    name: str
    version: int
    args: Frozen[Any]
    wrapped: tuple[int, ...] | None = None
    """Versions of the strategies that a wrapper is around, where one is not 1."""


class Identity(Part):
    """Everything that can change a prediction; see :mod:`bench.results.spec`."""

    identity_version: int
    backbone: BackboneIdentity
    task: TaskIdentity
    head: PartIdentity
    recipe: PartIdentity
    train: Frozen[Any]
    seed: int
    dtype: str
    device: str
    padding: str
    strategy: StrategyIdentity


class RunError(Part):
    """Why a run failed: a user's error in one line, one of ours with its traceback, or a worker that was lost."""

    kind: Literal["user", "internal", "died"]
    message: str
    traceback: str

"""A cell before any of its work is done: what is asked, its data, and what its parts are filed under."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from backbones.resolve import BackboneRequest, resolve_backbone
from bench.cell.own_exit import OwnExit, settle_init
from bench.cell.request import Context
from bench.cell.resolve import Parts, find_overrides, is_timed
from bench.cell.sources import TRAINED, digest_own_sources
from bench.environment import identify_machine
from bench.results.spec import (
    Facts,
    RunSpec,
    hash_identity,
    identify_exits,
    identify_quality,
    identify_speed,
    identify_training,
    make_cache_key,
)
from bench.tasks.base import LoadOptions, Split, TaskData, name_primary
from bench.tasks.contract import load_task

Warn = Callable[[str], None]
"""Takes a line that the record is to warn of."""


@dataclass(frozen=True)
class Keys:
    """What the parts of a cell are filed under; :mod:`bench.results.spec` says what each is a hash of.

    ``reference`` is the key of the logits in fp32, which half precision is compared with; ``speed`` is None where no
    time is measured.
    """

    training: str
    exits: str
    reference: str
    quality: str
    speed: str | None


@dataclass(frozen=True)
class Cell:
    """One cell of an experiment, with its data and its place; no weights are loaded yet."""

    spec: RunSpec
    parts: Parts
    data: TaskData
    facts: Facts
    keys: Keys
    folder: Path
    context: Context
    own: OwnExit | None = None
    """The backbone's own classifier, where that is the last exit."""
    notes: tuple[str, ...] = ()
    """What the record is to warn of, known before any of the work is done."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Digests of what is the user's own: the source of parts, the rows of a task."""

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits that logits are recorded of: the held-out one, and those that are reported."""
        return (self.data.select, *self.data.evaluation.values())

    @property
    def primary(self) -> str:
        """The first of the reported splits, which is run live."""
        return name_primary(self.data.evaluation)

    @property
    def texts(self) -> list[str]:
        """The training texts, of which a demo backbone's vocabulary is made."""
        return [*self.data.train.first, *(self.data.train.second or ())]


def load_data(spec: RunSpec, parts: Parts, context: Context) -> TaskData:
    """Load the data of the task. Raises DataError where they cannot be had."""
    return load_task(parts.task, LoadOptions(spec.seed, spec.limit, context.hub_root, context.offline))


def request_backbone(spec: RunSpec, parts: Parts, context: Context, *, whole: bool = False) -> BackboneRequest:
    """Return what :mod:`backbones` is asked for; ``whole`` leaves out what the strategy takes away from it."""
    own = {} if whole else find_overrides(parts.strategy, spec.criterion_args)
    return BackboneRequest(spec.backbone, spec.init, {**spec.backbone_args, **own}, context.hub_root, context.offline)


def identify_cell(spec: RunSpec, parts: Parts, data: TaskData, context: Context) -> Cell:
    """Return the cell with its keys and its place in the store, where its weights come from decided.

    Raises BackboneError for an unknown backbone, UsageError for a classifier that is asked for and does not fit.
    """
    settled = settle_init(spec, parts.free, request_backbone(spec, parts, context), data)
    spec = settled.spec
    backbone = resolve_backbone(request_backbone(spec, parts, context))
    spec = write_out_depth(spec, parts, int(str(backbone.config["num_hidden_layers"])))
    versions, wrapped = parts.versions(data.num_outputs), parts.list_wrapped_versions(spec, data.num_outputs)
    sources = digest_own_sources(spec, parts, data)
    trained = {name: digest for name, digest in sources.items() if name in TRAINED}
    facts = Facts(backbone.digest, data.revision, versions, wrapped, backbone.name, trained)
    keys = Keys(
        training=make_cache_key(identify_training(spec, facts), facts),
        exits=make_cache_key(identify_exits(spec, facts), facts),
        reference=make_cache_key(identify_exits(replace(spec, dtype="fp32"), facts), facts),
        quality=hash_identity(identify_quality(spec, facts)),
        speed=hash_identity(identify_speed(spec, facts, identify_machine())) if is_timed(spec, parts) else None,
    )
    folder = context.store.place(spec.task, backbone.name, spec.strategy, spec.seed, keys.quality)
    return Cell(spec, parts, data, facts, keys, folder, context, settled.own, settled.notes, sources)


def write_out_depth(spec: RunSpec, parts: Parts, num_layers: int) -> RunSpec:
    """Return the spec with the criterion's defaults that follow the backbone's depth as the numbers they become."""
    followed = parts.criterion(spec).follow_depth(num_layers)
    return replace(spec, criterion_args={**spec.criterion_args, **followed}) if followed else spec

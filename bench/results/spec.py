"""What is asked, frozen and validated, and the identities that results are filed under.

Two identities (:func:`identify_quality`, :func:`identify_speed`), plus the part that makes a checkpoint
(:func:`identify_training`) and the part that makes its logits (:func:`identify_exits`). They hash everything that can
change the thing they name and nothing else: no paths, no verbosity, no worker counts.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Annotated, Any

from pydantic import SerializerFunctionWrapHandler, WrapSerializer

from backbones.catalog import Init
from bench.errors import UsageError
from bench.inference.placement import EXECUTORS, Dtype, check_placement
from bench.latency import FORMER_PROTOCOLS, PROTOCOLS, SINGLE_STREAM, is_single_stream
from bench.latency.names import parse_baselines
from bench.training.args import TrainArgs

IDENTITY_VERSION = 1

LATENCY_SINCE_KEYS = ("executor", "batch_size", "baselines", "threads")
"""Settings that came after the first keys: left out of these where they are the default, so that older keys stand."""

LATENCY_SINCE_RECORDS = ("baselines", "threads")
"""Settings that records of the present version lack where they are the default: they came later."""


@dataclass(frozen=True)
class LatencyArgs:
    """How latency is measured: the protocol's name, how many samples, for how long at most, by which executor.

    ``batch_size`` is the number of samples of a query in offline-batch-v2 (0: 32 there, 1 in single-stream-v2).
    ``depth`` adds the depth table: forced exits at every layer, with and without checks, and the self-test of its
    prediction; it takes as long again. ``baselines`` are plain models to time beside (``bf16,int8,compile,first-6``):
    the fastest of those with all layers is what speed-ups are against. ``threads`` are torch's for all that is timed
    (0: what torch chooses).
    """

    protocol: str = SINGLE_STREAM
    samples: int = 64
    seconds: float = 30.0
    depth: bool = False
    executor: str = "eager"
    batch_size: int = 0
    baselines: str = ""
    threads: int = 0

    def __post_init__(self) -> None:
        parse_baselines(self.baselines)
        if self.threads < 0:
            raise UsageError(f"latency.threads must be positive, not {self.threads}.")
        if self.samples < 1:
            raise UsageError(f"latency.samples must be at least 1, not {self.samples}.")
        if not 0 < self.seconds < math.inf:
            raise UsageError(f"latency.seconds must be a finite number above 0, not {self.seconds:g}.")
        for name, known in {"protocol": (*PROTOCOLS, *FORMER_PROTOCOLS), "executor": EXECUTORS}.items():
            if getattr(self, name) not in known:
                raise UsageError(f"latency.{name} must be one of {', '.join(known)}, not '{getattr(self, name)}'.")
        if self.batch_size < 0 or (self.is_single_stream and self.batch_size > 1):
            raise UsageError(f"latency.batch_size must be positive, and 1 in {SINGLE_STREAM}.")
        if self.depth and not self.is_single_stream:
            raise UsageError(f"latency.depth is a table of single samples: it needs {SINGLE_STREAM}.")

    @property
    def is_single_stream(self) -> bool:
        """Whether a query is one sample."""
        return is_single_stream(self.protocol)

    @property
    def samples_per_query(self) -> int:
        """``batch_size`` with its default filled in."""
        return self.batch_size or (1 if self.is_single_stream else 32)

    def identity(self) -> dict[str, object]:
        """Return every setting; those that came later only where they are not the default, so that older keys stand."""
        later = {f.name: f.default for f in fields(self) if f.name in LATENCY_SINCE_KEYS}
        return {name: value for name, value in asdict(self).items() if name not in later or value != later[name]}


def _write_known(value: LatencyArgs | None, write: SerializerFunctionWrapHandler) -> Any:
    """Leave out settings that came while records were of the present version, where they are the default: as before."""
    plain = write(value)
    defaults = {one.name: one.default for one in fields(LatencyArgs) if one.name in LATENCY_SINCE_RECORDS}
    if plain is None:
        return None
    return {name: found for name, found in plain.items() if name not in defaults or found != defaults[name]}


@dataclass(frozen=True)
class RunSpec:
    """One cell: a strategy on a backbone for a task with a seed."""

    strategy: str
    task: str
    backbone: str
    head: str
    recipe: str
    init: Init = "pretrained"
    criterion_args: Mapping[str, Any] = field(default_factory=dict)
    head_args: Mapping[str, Any] = field(default_factory=dict)
    recipe_args: Mapping[str, Any] = field(default_factory=dict)
    backbone_args: Mapping[str, Any] = field(default_factory=dict)
    train: TrainArgs = field(default_factory=TrainArgs)
    max_length: int = 128
    limit: int | None = None
    seed: int = 0
    dtype: Dtype = "fp32"
    device: str = "cpu"
    thresholds: tuple[float, ...] | None = None
    select: tuple[str, ...] = ()
    latency: Annotated[LatencyArgs | None, WrapSerializer(_write_known)] = LatencyArgs()

    def __post_init__(self) -> None:
        if self.max_length < 4:
            raise UsageError(f"max_length must be at least 4, not {self.max_length}.")
        if self.limit is not None and self.limit < 8:
            raise UsageError(f"--limit must be at least 8, not {self.limit}: part of it is held out.")
        if not 0 <= self.seed < 2**32:
            raise UsageError(f"--seed must be in 0..4294967295, not {self.seed}.")
        check_placement(self.device, self.dtype, "eager" if self.latency is None else self.latency.executor)


@dataclass(frozen=True)
class Facts:
    """What resolving a spec found out, as far as it can change a result.

    ``backbone`` is the digest of the weights (or of the configuration, from scratch); ``task`` the data's
    revision; ``versions`` those of strategy, head and recipe; ``wrapped`` those of the strategies that a wrapper's
    criterion is around, the outermost first; ``name`` is the backbone's where the spec gives a path, its last part.
    ``sources`` are digests of the source of head, recipe and task where they are a user's own; they are no part of an
    identity, but of what is kept for reuse.
    """

    backbone: str
    task: str
    versions: Mapping[str, int]
    wrapped: tuple[int, ...] = ()
    name: str | None = None
    sources: Mapping[str, str] = field(default_factory=dict)


def make_cache_key(identity: Mapping[str, object], facts: Facts) -> str:
    """Return the key under which what has this ``identity`` is kept for reuse; own parts count by their source too."""
    return hash_identity({**identity, "sources": dict(facts.sources)} if facts.sources else identity)


def identify_training(spec: RunSpec, facts: Facts) -> dict[str, object]:
    """Return everything that makes the checkpoint. The criterion is not in it: all criteria share it."""
    train = {**asdict(spec.train), "precision": resolve_precision(spec)}
    name = facts.name or spec.backbone
    if spec.train.accumulate > 1:  # came later: older keys stand, of trainings that weighed each micro-batch alike
        train["weight"] = "samples"
    return {
        "identity_version": IDENTITY_VERSION,
        "backbone": {"name": name, "init": spec.init, "args": spec.backbone_args, "digest": facts.backbone},
        "task": {"name": spec.task, "revision": facts.task, "limit": spec.limit, "max_length": spec.max_length},
        "head": {"name": spec.head, "args": spec.head_args, "version": facts.versions["head"]},
        "recipe": {"name": spec.recipe, "args": spec.recipe_args, "version": facts.versions["recipe"]},
        "train": train,
        "seed": spec.seed,
    }


def identify_exits(spec: RunSpec, facts: Facts) -> dict[str, object]:
    """Return everything that makes the logits of all exits."""
    # autocast kernels differ between device kinds, so logits are not shared across them
    return {
        **identify_training(spec, facts),
        "dtype": spec.dtype,
        "device": find_device_kind(spec),
        "padding": "dynamic-1",
    }


def identify_quality(spec: RunSpec, facts: Facts) -> dict[str, object]:
    """Return everything that can change a prediction."""
    strategy = {"name": spec.strategy, "version": facts.versions["strategy"], "args": spec.criterion_args}
    if any(version != 1 for version in facts.wrapped):  # came later: older keys stand
        strategy["wrapped"] = list(facts.wrapped)
    return {**identify_exits(spec, facts), "strategy": strategy}


def identify_speed(spec: RunSpec, facts: Facts, machine: str) -> dict[str, object]:
    """Return everything that can change a latency: the quality identity, the protocol, the machine."""
    latency = None if spec.latency is None else spec.latency.identity()
    return {**identify_quality(spec, facts), "latency": latency, "machine": machine}


def resolve_precision(spec: RunSpec) -> str:
    """Return the precision of training; "auto" is bf16 on a GPU and fp32 elsewhere."""
    if spec.train.precision != "auto":
        return spec.train.precision
    return "bf16" if find_device_kind(spec) == "cuda" else "fp32"


def find_device_kind(spec: RunSpec) -> str:
    """Return the kind of device: ``cuda`` of ``cuda:1``."""
    return spec.device.partition(":")[0]


def hash_identity(identity: Mapping[str, object]) -> str:
    """Return 16 hex digits for an identity: SHA-256 of its canonical JSON."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]

"""Which runs belong together, what tells others apart, and numbers over seeds; each said once.

What differs in data, weights, settings or version is never averaged: it is a series or a panel of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import UserError
from bench.measure.seeds import SeedSummary, summarise_seeds
from bench.results.judged_by.judging import find_judge
from bench.results.kept.answers import EVERY_LAYER
from bench.results.part import Estimate
from bench.results.run import Run

Settings = Mapping[str, Any]
ARGUMENTS = (
    ("criterion_args", ""),
    ("head_args", "head."),
    ("recipe_args", "recipe."),
    ("backbone_args", "backbone."),
)
"""Arguments of a spec, and what their names start with."""

NOT_ASKED = ("thresholds", "latency", "device", "select")
"""Fields of a spec that change no prediction, or (the device) one that is told as a note."""

DIGEST = re.compile(r"(?:sha256-)?([0-9a-f]{12,64})")

SAME = 1e-5  # records keep six digits of some values


def make_series_key(run: Run) -> str:
    """Return a key that runs share if they differ in nothing but the seed."""
    return _list_identity_without(run, "seed")


def group_seeds(runs: Iterable[Run]) -> list[list[Run]]:
    """Return the runs by series, in the order in which these begin; each in the order of its seeds."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(make_series_key(run), []).append(run)
    return [sorted(group, key=lambda run: (run.seed, run.name)) for group in groups.values()]


def make_training_key(run: Run) -> str:
    """Return a key that runs share if only criterion and seed differ: those of one seed have the same checkpoint."""
    return _list_identity_without(run, "strategy", "seed")


def make_checkpoint_key(run: Run) -> str:
    """Return a key that runs share if they read the same logits: of one checkpoint, in one format, from one device."""
    return f"{run.record.training.key} {run.spec.dtype} {run.spec.device}"


def _list_identity_without(run: Run, *names: str) -> str:
    return write_canonical({name: value for name, value in run.head.identity.to_plain().items() if name not in names})


def list_panel_settings(run: Run, split: str) -> dict[str, Any]:
    """Return what must be the same for two runs to be comparable on ``split``, flat.

    The backbone counts with its whole depth, whether or not a model has all of its layers: plain compression is
    compared with the backbone that it is a part of.
    """
    spec, record, backbone = run.spec, run.record, run.record.backbone
    arguments = {k: v for k, v in spec.backbone_args.items() if k != "num_hidden_layers"}  # said by the depth
    return {
        "task": spec.task,
        "split": split,
        "backbone": run.backbone,
        "depth": backbone.whole_depth,
        "width": backbone.hidden,
        "init": spec.init,
        "data": record.task.revision,
        "metrics": record.task.metrics,
        "limit": spec.limit,
        "max_length": spec.max_length,
        "weights": backbone.revision if spec.init != "scratch" or backbone.source.startswith("folder:") else None,
        **{f"backbone.{k}": v for k, v in arguments.items()},
        **_tell_external(run, split),
    }


def _tell_external(run: Run, split: str) -> dict[str, Any]:
    """Return what parts imported logits from runs of ours: another unit of cost, a part of the samples."""
    rows = run.record.task.rows.get(split)
    if run.record.external is None or rows is None:
        return {}
    unit = run.result(split).full.cost_unit
    part = rows.available is not None and rows.used < rows.available
    return {**({"cost": unit} if unit != "flops" else {}), **({"rows": run.describe_used(split)} if part else {})}


def list_series_settings(run: Run) -> dict[str, Any]:
    """Return everything that makes a run but the seed, flat."""
    spec = run.spec
    flat: dict[str, Any] = {name: getattr(spec, name) for name in ("strategy", "recipe", "head", "dtype", "device")}
    for part, prefix in ARGUMENTS:
        flat |= {f"{prefix}{name}": value for name, value in getattr(spec, part).items()}
    flat |= {f"train.{name}": value for name, value in vars(spec.train).items()}
    external = run.record.external
    imported = {} if external is None else {"recipe.logits": external.digest}
    return flat | imported | {"identity": make_series_key(run), "version": run.head.identity.strategy.version}


def pick_telling(settings: Sequence[Settings], first: Iterable[str] = (), always: Iterable[str] = ()) -> list[str]:
    """Return the settings to tell runs apart by: ``always``, then those that differ, ``first``, recipe and head first.

    Two settings that differ together are both said: which of them made the difference, nobody can know. A head that
    goes with its recipe is not, nor are arguments that another recipe or head does not have: they follow from it.
    """
    found = list(always)
    everyone = {k for s in settings for k in s} - {"identity", "strategy", *found}
    before = [n for n in [*sorted(first), "recipe", "head"] if n in everyone]
    for name in [*before, *sorted(everyone - set(before))]:
        values = [write_canonical(s.get(name)) for s in settings]
        if len({*values}) > 1 and not _is_implied(name, values, settings):
            found.append(name)
    return found


def _is_implied(name: str, values: Sequence[str], settings: Sequence[Settings]) -> bool:
    """Whether a head is always that of its recipe, or an argument always that of its recipe and head."""
    if name != "head" and not name.startswith(("recipe.", "head.")):
        return False
    owners = [write_canonical([s.get("recipe"), None if name == "head" else s.get("head")]) for s in settings]
    return len({*zip(owners, values, strict=True)}) == len({*owners})


def label_runs(runs: Sequence[Run]) -> dict[Run, str]:
    """Return what each of several runs is called: its label, and by what it differs from those of the same label."""
    settings = []
    for run in runs:
        made = run.head.identity
        ours = {"data": made.task.revision, "weights": made.backbone.digest, "version": made.strategy.version}
        settings.append({**list_asked_settings(run), **ours})
    apart = tell_apart([run.label for run in runs], settings)
    return {run: " | ".join(filter(None, (run.label, ", ".join(more)))) for run, more in zip(runs, apart, strict=True)}


def list_asked_settings(run: Run) -> dict[str, Any]:
    """Return what was asked for, flat, without what changes no prediction; a backbone by its name, not by its path."""
    asked = {name: value for name, value in asdict(run.spec).items() if name not in NOT_ASKED}
    return {**_flatten(asked), "backbone": run.backbone}


def _flatten(values: Mapping[str, object], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


def tell_apart(names: Sequence[object], settings: Sequence[Settings], said: Sequence[str] = ()) -> list[list[str]]:
    """Return by what each of several settings differs from those of the same name: ``["data=520dfd52", "seed=1"]``.

    What is ``said`` elsewhere is left out.
    """
    alike: dict[object, list[int]] = {}
    for i, name in enumerate(names):
        alike.setdefault(name, []).append(i)
    found: list[list[str]] = [[] for _ in settings]
    for rows in alike.values():
        some = [settings[i] for i in rows]
        for setting in pick_telling(some):
            texts = shorten_digests([one.get(setting) for one in some])
            for i, text in zip(rows, texts, strict=True):
                found[i] += [f"{setting}={text}"] if setting in settings[i] and setting not in said else []
    return found


def shorten_digests(values: Iterable[object]) -> list[str]:
    """Return a text for each of ``values``; of hex digests as many digits as tell them apart, 8 at least."""
    texts = ["none" if value is None else str(value) for value in values]
    digests = {text: found[1] for text in texts if (found := DIGEST.fullmatch(text))}
    different = {*digests.values()}
    digits = next(n for n in range(8, 65) if len({digest[:n] for digest in different}) == len(different))
    return [digests[text][:digits] if text in digests else text for text in texts]


def write_canonical(value: object) -> str:
    """Return a text that is the same for equal JSON values."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


# --------------------------------------------------------------------------- numbers over seeds


@dataclass(frozen=True)
class OverSeeds:
    """The mean of a number over seeds; ``low`` and ``high`` are over samples, for these seeds.

    ``std`` (with S - 1), ``lowest`` and ``highest`` are None for a single seed, which shows no spread; ``both`` is the
    interval over seeds and samples, None where it is not known.
    """

    value: float
    low: float
    high: float
    seeds: int = 1
    std: float | None = None
    lowest: float | None = None
    highest: float | None = None
    both: tuple[float, float] | None = None

    def to_plain(self) -> dict[str, Any]:
        """Return plain JSON values: of one seed the value and its interval, of several all fields."""
        return {k: v for k, v in vars(self).items() if v is not None and (k != "seeds" or self.seeds > 1)}


def average_seeds(values: Sequence[Estimate]) -> OverSeeds:
    """Return the mean of one estimate a seed.

    The mean of intervals is exact where all seeds err on the same samples, and too wide rather than too narrow
    elsewhere.
    """
    found = np.array([v.value for v in values], dtype=np.float64)
    low, high = float(np.mean([v.low for v in values])), float(np.mean([v.high for v in values]))
    if len(found) == 1:
        return OverSeeds(float(found[0]), low, high)
    spread = float(found.std(ddof=1)), float(found.min()), float(found.max())
    return OverSeeds(float(found.mean()), low, high, len(found), *spread)


def average_numbers(rows: Sequence[Sequence[float]]) -> list[float]:
    """Return the means of numbers that have no interval, from a row of them a seed."""
    return np.mean(np.array(rows, dtype=np.float64), axis=0).tolist()


def average_quality(runs: Sequence[Run], split: str, rule: str | None = None) -> OverSeeds:
    """Return what ``runs`` are judged by at an operating point that all reached (None: all layers), over seeds.

    For several seeds whose logits are stored the interval over samples is the bootstrap's for the mean of these seeds,
    and ``both`` is known; unless the present criterion does not give the recorded value.
    """
    metric, results = runs[0].metric, [run.result(split) for run in runs]
    made = average_seeds([(r.full if rule is None else r.reached[rule]).metrics[metric] for r in results])
    found = _pool_seeds(tuple(runs), split, rule) if len(runs) > 1 else None
    if found is None or found.both is None or abs(found.mean - made.value) >= SAME:
        return made
    return replace(made, low=found.samples.low, high=found.samples.high, both=(found.both.low, found.both.high))


@lru_cache(maxsize=4096)  # a report asks for the same numbers in tables, charts and sentences
def _pool_seeds(runs: tuple[Run, ...], split: str, rule: str | None) -> SeedSummary | None:
    """Return both bootstraps from the stored logits; None where a run's are missing or are of other samples."""
    judge = find_judge(runs[0]).sums
    sums = [one for run in runs if (one := sum_answers(run, split, rule)) is not None]
    if judge is None or len(sums) < len(runs):
        return None
    if any(run.answers(split).ids != runs[0].answers(split).ids for run in runs):
        return None
    return summarise_seeds(np.stack(sums), judge[1])


def sum_answers(run: Run, split: str, rule: str | None) -> NDArray[Any] | None:
    """Return the additive statistics [N, K] of a run's answers at a point (None: all layers), from its stored logits.

    None where the criterion or the logits are not at hand any more, it is another one by now, or the metric is not a
    function of sums.
    """
    judge = find_judge(run)
    if judge.sums is None or not run.has_exits(split):
        return None
    try:
        found = run.answers(split)
    except UserError:
        return None
    point = EVERY_LAYER if rule is None else rule
    if point in found.moved or point not in found.given:
        return None
    reads_logits = judge.reads == "logits"
    answers = judge.read_answers(run.exits(split), found.layers[point]) if reads_logits else found.given[point]
    return judge.sums[0](answers, found.labels)

"""What panels and series are called: by no more than tells them apart."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.results.groups import canonical
from bench.results.run import Run

Settings = Mapping[str, Any]
PARTS = (
    ("criterion_args", ""),
    ("head_args", "head."),
    ("recipe_args", "recipe."),
    ("backbone_args", "backbone."),
)
LONGEST = 24  # letters of a setting's value


def panel_name(run: Run, split: str) -> tuple[str, str, str]:
    """Return task, split and backbone."""
    return run.task, split, run.backbone


def panel_settings(run: Run, split: str) -> dict[str, Any]:
    """Return what must be the same for two runs to be comparable on ``split``, flat.

    The backbone counts with its whole depth, whether or not a model has all of its layers: plain compression is
    compared with the backbone that it is a part of.
    """
    spec, record = run.spec, run.record
    arguments = {k: v for k, v in spec.backbone_args.items() if k != "num_hidden_layers"}  # said by the depth
    return {
        "task": spec.task,
        "split": split,
        "backbone": spec.backbone,
        "depth": record.backbone.whole_depth,
        "init": spec.init,
        "data": record.task.revision,
        "metrics": record.task.metrics,
        "limit": spec.limit,
        "max_length": spec.max_length,
        "weights": record.backbone.revision if spec.init == "pretrained" else None,
        **{f"backbone.{k}": v for k, v in arguments.items()},
    }


def series_settings(run: Run) -> dict[str, Any]:
    """Return everything that makes a run but the seed, flat."""
    spec, identity = run.spec, run.head.identity
    flat: dict[str, Any] = {name: getattr(spec, name) for name in ("strategy", "recipe", "head", "dtype", "device")}
    for part, prefix in PARTS:
        flat |= {f"{prefix}{name}": value for name, value in getattr(spec, part).items()}
    flat |= {f"train.{name}": value for name, value in vars(spec.train).items()}
    flat["identity"] = canonical({k: v for k, v in identity.to_plain().items() if k != "seed"})
    return flat | {"version": identity.strategy.version}


class Namer:
    """Names of series, the same on all panels of a store.

    The recipe that a strategy usually has here is not said; another one is, on every panel. Of what else differs within
    a panel as much is said as tells its series apart, arguments of the criterion first; an argument that must be said
    on one panel is said on all of them, so that a name means the same everywhere.
    """

    def __init__(self, panels: Iterable[Sequence[tuple[Run, str]]]) -> None:
        groups = [list(p) for p in panels]
        self.recipes = _recipes(member for members in groups for member in members)
        self.needed: dict[str, set[str]] = defaultdict(set)
        for members in groups:
            for strategy in {run.strategy for run, _ in members}:
                runs = [run for run, _ in members if run.strategy == strategy]
                arguments = {name for run in runs for name in run.spec.criterion_args}
                self.needed[strategy] |= set(telling([series_settings(run) for run in runs], arguments)) & arguments

    def labels(self, runs: Sequence[Run]) -> dict[str, str]:
        """Return canonical settings to label, for the runs of one strategy on one panel."""
        settings = {canonical(s): s for s in map(series_settings, runs)}
        arguments = {name for run in runs for name in run.spec.criterion_args}
        strategy = runs[0].strategy
        recipes = self.recipes[strategy]
        always = [*sorted(self.needed[strategy]), *(["recipe"] if len(recipes) > 1 else [])]
        names = telling(list(settings.values()), arguments, always)
        return {key: _label(strategy, s, names, _usual(recipes)) for key, s in settings.items()}


def telling(settings: Sequence[Settings], first: Iterable[str] = (), always: Iterable[str] = ()) -> list[str]:
    """``always`` and as few more names as tell ``settings`` apart: of ``first``, recipe and head, then the rest."""
    found = list(always)
    everyone = {k for s in settings for k in s} - {"identity", "strategy", *found}
    before = [n for n in [*sorted(first), "recipe", "head"] if n in everyone]
    apart = len({canonical([s.get(n) for n in found]) for s in settings})
    for name in [*before, *sorted(everyone - set(before))]:
        now = len({canonical([s.get(n) for n in [*found, name]]) for s in settings})
        if now > apart:
            found, apart = [*found, name], now
    return found


def _recipes(members: Iterable[tuple[Run, str]]) -> dict[str, Counter[str]]:
    """Count on how many panels each strategy has each recipe."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for strategy, recipe, _ in sorted(
        {(r.strategy, r.spec.recipe, canonical(panel_settings(r, s))) for r, s in members}
    ):
        counts[strategy][recipe] += 1
    return counts


def _usual(recipes: Counter[str]) -> str | None:
    """The recipe that is on most panels; none where two are on as many."""
    [(recipe, most), *others] = recipes.most_common(2)
    return None if others and others[0][1] == most else recipe


def _label(strategy: str, settings: Settings, names: Sequence[str], usual: str | None) -> str:
    said = [
        f"{name}={_value(settings[name])}"
        for name in names
        if settings.get(name) is not None and not (name == "recipe" and settings[name] == usual)
    ]
    return f"{strategy} ({', '.join(said)})" if said else strategy


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else "none" if value is None else canonical(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def natural(text: str) -> list[Any]:
    """Sort key that puts window=4 before window=12."""
    parts: list[Any] = []
    for word in text.replace("=", " ").replace(",", " ").replace(")", " ").split():
        try:
            parts.append((0, float(word), ""))
        except ValueError:
            parts.append((1, 0.0, word))
    return parts


def panel_titles(settings: Sequence[Settings]) -> list[str]:
    """A title for each panel: task and backbone; the split where a task has several; and what else differs."""
    splits: dict[Any, set[Any]] = defaultdict(set)
    for one in settings:
        splits[one["task"]].add(one["split"])
    alike: dict[tuple[Any, Any], list[Settings]] = defaultdict(list)
    for one in settings:
        alike[one["task"], one["backbone"]].append(one)
    titles = []
    for one in settings:
        several = len(splits[one["task"]]) > 1
        names = [str(one["task"]), *([str(one["split"])] if several else []), str(one["backbone"])]
        rest = [{k: v for k, v in o.items() if k != "split"} for o in alike[one["task"], one["backbone"]]]
        always = [n for n in ("depth", "limit") if len({o[n] for o in rest}) > 1]
        titles.append(" · ".join([*names, *(_said(n, one.get(n)) for n in telling(rest, always=always))]))
    return titles


def _said(name: str, value: Any) -> str:
    if name == "depth":
        return f"{value} layers"
    if name == "limit":
        return "no limit" if value is None else f"limit {value}"
    return f"{name}={_value(value)}"

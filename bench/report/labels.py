"""What panels and series are called: by no more than tells them apart."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.results.data import Record, Result, canonical

PARTS = (
    ("criterion_args", ""),
    ("head_args", "head."),
    ("recipe_args", "recipe."),
    ("train", "train."),
    ("backbone_args", "backbone."),
)
LONGEST = 24  # letters of a setting's value


def panel_name(result: Result) -> tuple[str, str, str]:
    """Task, split and backbone."""
    return str(result.view.spec["task"]), result.split, str(result.view.spec["backbone"])


def panel_settings(result: Result) -> dict[str, Any]:
    """What must be the same for two results to be comparable, flat.

    The backbone counts with its whole depth, whether or not a model has all of its layers: plain compression is
    compared with the backbone that it is a part of.
    """
    spec, record = result.view.spec, result.view.record
    backbone = record["backbone"]
    arguments = dict(spec.get("backbone_args") or {})
    arguments.pop("num_hidden_layers", None)  # said by the depth
    pretrained = spec.get("init", "pretrained") == "pretrained"
    return {
        "task": spec["task"],
        "split": result.split,
        "backbone": spec["backbone"],
        "depth": backbone.get("depth", backbone["layers"]),
        "init": spec.get("init"),
        "data": record["task"].get("revision"),
        "metrics": record["task"]["metrics"],
        "limit": spec.get("limit"),
        "max_length": spec.get("max_length"),
        "weights": backbone.get("revision") if pretrained else None,
        **{f"backbone.{k}": v for k, v in arguments.items()},
    }


def series_settings(result: Result) -> dict[str, Any]:
    """Everything that makes a result but the seed, flat; from the identity where the record has one."""
    spec = result.view.spec
    flat = {name: spec.get(name) for name in ("strategy", "recipe", "head", "dtype", "device")}
    for part, prefix in PARTS:
        flat |= {f"{prefix}{name}": value for name, value in dict(spec.get(part) or {}).items()}
    identity = result.view.record.get("identity")
    if isinstance(identity, Mapping):
        flat["identity"] = canonical({k: v for k, v in identity.items() if k != "seed"})
        strategy = identity.get("strategy")
        flat["version"] = strategy.get("version") if isinstance(strategy, Mapping) else None
    return flat


class Namer:
    """Names of series, the same on all panels of a store.

    The recipe that a strategy usually has here is not said; another one is, on every panel. Of what else differs within
    a panel as much is said as tells its series apart, arguments of the criterion first; an argument that must be said
    on one panel is said on all of them, so that a name means the same everywhere.
    """

    def __init__(self, panels: Iterable[Sequence[Result]]) -> None:
        groups = [list(p) for p in panels]
        self.recipes = _recipes(r for results in groups for r in results)
        self.needed: dict[str, set[str]] = defaultdict(set)
        for results in groups:
            for strategy, settings in _by_strategy(results).items():
                arguments = {k for r in results if r.view.strategy == strategy for k in _arguments(r)}
                self.needed[strategy] |= set(telling(settings, arguments)) & arguments

    def labels(self, results: Sequence[Result]) -> dict[str, str]:
        """Canonical settings to label, for the results of one strategy on one panel."""
        settings = {canonical(s): s for s in map(series_settings, results)}
        arguments = {k for r in results for k in _arguments(r)}
        strategy = results[0].view.strategy
        recipes = self.recipes[strategy]
        always = [*sorted(self.needed[strategy]), *(["recipe"] if len(recipes) > 1 else [])]
        names = telling(list(settings.values()), arguments, always)
        return {key: _label(strategy, s, names, _usual(recipes)) for key, s in settings.items()}


def telling(settings: Sequence[Record], first: Iterable[str] = (), always: Iterable[str] = ()) -> list[str]:
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


def _recipes(results: Iterable[Result]) -> dict[str, Counter[str]]:
    """On how many panels each strategy has each recipe."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    seen = {(r.view.strategy, str(r.view.spec.get("recipe")), canonical(panel_settings(r))) for r in results}
    for strategy, recipe, _ in sorted(seen):
        counts[strategy][recipe] += 1
    return counts


def _usual(recipes: Counter[str]) -> str | None:
    """The recipe that is on most panels; none where two are on as many."""
    [(recipe, most), *others] = recipes.most_common(2)
    return None if others and others[0][1] == most else recipe


def _by_strategy(results: Iterable[Result]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for result in results:
        found[result.view.strategy].append(series_settings(result))
    return found


def _arguments(result: Result) -> list[str]:
    return list(result.view.spec.get("criterion_args") or {})


def _label(strategy: str, settings: Record, names: Sequence[str], usual: str | None) -> str:
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


def panel_titles(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """A title for each panel: task and backbone; the split where a task has several; and what else differs."""
    splits: dict[Any, set[Any]] = defaultdict(set)
    for one in settings:
        splits[one["task"]].add(one["split"])
    alike: dict[tuple[Any, Any], list[Mapping[str, Any]]] = defaultdict(list)
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

"""What panels and series are called: by no more than tells them apart."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from bench.results.groups import Settings, canonical, panel_settings, pick_telling, series_settings
from bench.results.run import Run

LONGEST = 24  # letters of a setting's value


def panel_name(run: Run, split: str) -> tuple[str, str, str]:
    """Return task, split and backbone."""
    return run.task, split, run.backbone


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
                self.needed[strategy] |= (
                    set(pick_telling([series_settings(run) for run in runs], arguments)) & arguments
                )

    def labels(self, runs: Sequence[Run]) -> dict[str, str]:
        """Return canonical settings to label, for the runs of one strategy on one panel."""
        settings = {canonical(s): s for s in map(series_settings, runs)}
        arguments = {name for run in runs for name in run.spec.criterion_args}
        strategy = runs[0].strategy
        recipes = self.recipes[strategy]
        always = [*sorted(self.needed[strategy]), *(["recipe"] if len(recipes) > 1 else [])]
        names = pick_telling(list(settings.values()), arguments, always)
        return {key: _label(strategy, s, names, _usual(recipes)) for key, s in settings.items()}


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
        titles.append(" · ".join([*names, *(_said(n, one.get(n)) for n in pick_telling(rest, always=always))]))
    return titles


def _said(name: str, value: Any) -> str:
    if name == "depth":
        return f"{value} layers"
    if name == "limit":
        return "no limit" if value is None else f"limit {value}"
    return f"{name}={_value(value)}"

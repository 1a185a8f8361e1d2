"""What panels and series are called: by no more than tells them apart."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from bench.results.groups import Settings, list_series_settings, pick_telling, shorten_digests, write_canonical
from bench.results.run import Run

VALUE_LENGTH = 24  # letters of a setting's value


def label_series(panels: Sequence[Sequence[Sequence[Run]]]) -> list[dict[Run, str]]:
    """Return for the series of every panel of a store their labels, by their first runs.

    The recipe that a strategy usually has here is not said; another one is, on every panel. Of what else differs within
    a panel as much is said as tells its series apart, arguments of the criterion first; an argument that must be said
    on one panel is said on all of them, so that a name means the same everywhere.
    """
    recipes: dict[str, Counter[str]] = defaultdict(Counter)  # of a strategy: on how many panels
    needed: dict[str, set[str]] = defaultdict(set)
    groups = []
    for number, members in enumerate(panels):
        for strategy in {runs[0].strategy for runs in members}:
            firsts = [runs[0] for runs in members if runs[0].strategy == strategy]
            settings = {run: list_series_settings(run) for run in firsts}
            arguments = {name for run in firsts for name in run.spec.criterion_args}
            groups.append((number, strategy, settings, arguments))
            recipes[strategy].update({run.spec.recipe for run in firsts})
            needed[strategy] |= arguments.intersection(pick_telling([*settings.values()], arguments))
    labels: list[dict[Run, str]] = [{} for _ in panels]
    for number, strategy, settings, arguments in groups:
        [(recipe, most), *others] = recipes[strategy].most_common(2)
        usual = None if others and others[0][1] == most else recipe  # none where two are on as many
        always = [*sorted(needed[strategy]), *(["recipe"] if others else [])]
        names = pick_telling([*settings.values()], arguments, always)
        labels[number] |= {run: _label(strategy, one, names, usual) for run, one in settings.items()}
    return labels


def _label(strategy: str, settings: Settings, names: Sequence[str], usual: str | None) -> str:
    said = [
        f"{name}={_format_value(settings[name])}"
        for name in names
        if settings.get(name) is not None and not (name == "recipe" and settings[name] == usual)
    ]
    return f"{strategy} ({', '.join(said)})" if said else strategy


def _format_value(value: Any) -> str:
    text = value if isinstance(value, str) else "none" if value is None else write_canonical(value)
    return text if len(text) <= VALUE_LENGTH else f"{text[: VALUE_LENGTH - 1]}…"


def make_natural_key(text: str) -> list[Any]:
    """Return a sort key that puts window=4 before window=12."""
    parts: list[Any] = []
    for word in text.replace("=", " ").replace(",", " ").replace(")", " ").split():
        try:
            parts.append((0, float(word), ""))
        except ValueError:
            parts.append((1, 0.0, word))
    return parts


def title_panels(settings: Sequence[Settings]) -> list[str]:
    """Return a title for each panel: task and backbone; the split where a task has several; and what else differs."""
    titles = []
    for one in settings:
        same_task = [other for other in settings if other["task"] == one["task"]]
        several = len({other["split"] for other in same_task}) > 1
        names = [str(one["task"]), *([str(one["split"])] if several else []), str(one["backbone"])]
        alike = [{**other, "split": ""} for other in same_task if other["backbone"] == one["backbone"]]
        always = [n for n in ("depth", "limit") if len({other[n] for other in alike}) > 1]
        titles.append(" · ".join([*names, *(_say(n, one, alike) for n in pick_telling(alike, always=always))]))
    return titles


def _say(name: str, one: Settings, alike: Sequence[Settings]) -> str:
    """Return the value of a setting in ``one``, as short as tells it from those that are ``alike``."""
    value = one.get(name)
    if name == "depth":
        return f"{value} layers"
    if name == "limit":
        return "no limit" if value is None else f"limit {value}"
    if isinstance(value, str):
        value = shorten_digests([value, *(other.get(name) for other in alike)])[0]
    return f"{name}={_format_value(value)}"

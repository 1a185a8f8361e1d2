"""What stands in a figure: one line a published system, trained and decided as its paper does, and what is left out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import numpy as np

from backbones.names import make_unknown_error
from bench.report.content import choose_best
from bench.report.provenance import describe_runs, describe_thresholds
from bench.report.series import Panel, Series
from bench.report.style import Look, choose_look
from bench.results.series_doubts import add_marks
from strategies import STRATEGIES

ALIKE = 0.0005  # curves that are nowhere further apart are one line
COMPARED = 200  # places at which curves are compared


@dataclass(frozen=True)
class System:
    """A published system: the strategies that are its criteria, the first one first, and its own training."""

    name: str
    strategies: tuple[str, ...]
    recipe: str
    head: str


SYSTEMS = (
    System("ELBERT", ("elbert-mono", "elbert-label", "elbert-range"), "elbert", "shared"),
    System("DeeBERT", ("deebert",), "deebert", "highway"),
    System("FastBERT", ("fastbert",), "fastbert", "student"),
    System("PABEE", ("patience",), "patience", "shared-pooler"),
    System("RomeBERT", ("romebert",), "romebert", "highway"),
    System("BERxiT", ("learned-exit",), "berxit", "highway"),
    System("Entropy", ("entropy",), "joint", "linear"),
)
"""In the order of legends. A test holds recipe and head against what the strategies say."""


@dataclass(frozen=True, eq=False)
class Shown:
    """A series as a figure shows it: under which name, how it looks, and the names of those whose curve is the same."""

    name: str
    series: Series
    look: Look
    alike: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        """Its name, that it is an upper bound where it is one, and what makes it void; the caption has other doubts."""
        bound = f"{self.name} (upper bound)" if self.series.upper_bound else self.name
        return add_marks(bound, [one for one in self.series.doubts if one.doubt.void])

    @property
    def described(self) -> str:
        """Which variant it is: ``ELBERT: elbert-mono, window 4, trained as elbert / shared``."""
        window = self.series.first.spec.criterion_args.get("window")
        said = f", window {window}" if isinstance(window, int) else ""
        return f"{self.name}: {self.series.strategy}{said}, trained as {self.series.trained_as}"


def is_own(system: System, series: Series) -> bool:
    """Return whether a series is ``system`` as published: one of its criteria on its own training."""
    spec = series.first.spec
    return series.strategy in system.strategies and (spec.recipe, spec.head) == (system.recipe, system.head)


def find_system(series: Series) -> System | None:
    """Return the published system that a series is, None where it is none as published."""
    return next((system for system in SYSTEMS if is_own(system, series)), None)


def has_learned(series: Series) -> bool:
    """Return whether no seed is in doubt of being better than the commonest class."""
    return not any(one.doubt.kind == "no-skill" for one in series.doubts)


def choose_variant(panel: Panel, found: Iterable[Series]) -> Series | None:
    """Return the one of several variants that stands for them, None for none.

    A system's own training goes before another, its first criterion before the others, then the window that is
    nearest to the paper's 8 of 24 layers, in proportion, then more seeds.
    """

    def rank(series: Series) -> tuple[bool, int, float, int, str]:
        window = series.first.spec.criterion_args.get("window")
        away = abs(window - panel.layers / 3) if isinstance(window, int) else 0.0
        order = next((s.strategies.index(series.strategy) for s in SYSTEMS if series.strategy in s.strategies), 0)
        return find_system(series) is None, order, float(away), -len(series.runs), series.label

    return min(found, key=rank, default=None)


def choose_shown(panel: Panel, names: Sequence[str] = (), most: int = 8) -> list[Shown]:
    """Return what a figure of ``panel`` shows: what ``names`` say, else each published system once.

    A name is a system's, a strategy's (one variant stands for it), or a series' whole label; ``*`` stands for any
    letters, and case does not count. Without names a strategy of the user's own is shown beside the systems; where
    there is no system at all, the best of all series. Raises UsageError for a name that is not on the panel.
    """
    early = [series for series in panel.series if series.early]
    if names:
        chosen = [series for name in names for series in _find_named(panel, early, name)]
    else:
        groups = [[series for series in early if is_own(system, series)] for system in SYSTEMS]
        own = dict.fromkeys(series.strategy for series in early if series.strategy not in STRATEGIES.builtin)
        groups += [[series for series in early if series.strategy == strategy] for strategy in own]
        chosen = [series for group in groups if (series := choose_variant(panel, group))]
        chosen = chosen or choose_best(early, most)
    return name_shown(list(dict.fromkeys(chosen)))


def _find_named(panel: Panel, early: Sequence[Series], name: str) -> list[Series]:
    wanted = name.strip().lower()
    exact = [series for series in early if series.label.lower() == wanted]
    if exact:
        return exact
    groups = {
        key: [series for series in early if test(series)]
        for key, test in _list_names(early).items()
        if fnmatchcase(key.lower(), wanted)
    }
    if "*" in wanted:  # whole strategies only, each once
        groups = {key: found for key, found in groups.items() if key in {series.strategy for series in early}}
    found = [series for group in groups.values() if (series := choose_variant(panel, group))]
    if not found:
        known = [*_list_names(early), *(series.label for series in early)]
        raise make_unknown_error("strategy", name, dict.fromkeys(known), f" on {panel.title}")
    return found


def _list_names(early: Sequence[Series]) -> dict[str, Callable[[Series], bool]]:
    """Return what can be asked for, and which series it is: strategies, then systems."""

    def is_strategy(name: str) -> Callable[[Series], bool]:
        return lambda series: series.strategy == name

    def is_of(system: System) -> Callable[[Series], bool]:
        return lambda series: series.strategy in system.strategies

    strategies = {series.strategy: is_strategy(series.strategy) for series in early}
    return strategies | {s.name: is_of(s) for s in SYSTEMS if any(map(is_of(s), early))}


def name_shown(chosen: Sequence[Series]) -> list[Shown]:
    """Return series under the shortest names that tell them apart: system, strategy, label."""

    def suggest(series: Series) -> list[str]:
        system = find_system(series)
        return [*([system.name] if system else []), series.strategy, series.label]

    often = Counter(name for series in chosen for name in dict.fromkeys(suggest(series)))
    names = [next((name for name in suggest(series) if often[name] == 1), series.label) for series in chosen]
    twice = Counter(series.strategy for series in chosen)
    looks = [series.look if twice[series.strategy] > 1 else choose_look(series.strategy) for series in chosen]
    return [Shown(name, series, look) for name, series, look in zip(names, chosen, looks, strict=True)]


def merge_alike(shown: Sequence[Shown]) -> list[Shown]:
    """Return ``shown`` with those whose curves are the same as an earlier one's named there instead."""
    kept: list[Shown] = []
    for one in shown:
        at = next((i for i, other in enumerate(kept) if draw_alike(one.series, other.series)), None)
        if at is None:
            kept.append(one)
        else:
            kept[at] = replace(kept[at], alike=(*kept[at].alike, one.name))
    return kept


def draw_alike(one: Series, other: Series) -> bool:
    """Return whether two series have the same curve, within :data:`ALIKE`, and reach as far."""
    a, b = one.curve, other.curve
    ends = np.array([a.speedup[[0, -1]], b.speedup[[0, -1]]])
    if one.upper_bound != other.upper_bound or np.abs(ends[0] / ends[1] - 1).max() > 0.01:
        return False
    grid = np.linspace(ends[:, 0].max(), ends[:, 1].min(), COMPARED)
    apart = np.interp(grid, a.speedup, a.quality) - np.interp(grid, b.speedup, b.quality)
    return float(np.abs(apart).max()) <= ALIKE


def describe_drawn(series: Sequence[Series], rules: Collection[str] = ("no-loss", "2x", "3x", "4x")) -> str:
    """Return sizes, seeds and machines, and where the thresholds of the drawn points come from, for a caption."""
    return f"{describe_runs(series)} {describe_thresholds(series, rules)}"


def share_seeds(found: Sequence[Series]) -> list[Series]:
    """Return series with the seeds that all of them have, if there are any, so that nothing but the rule differs."""
    common = set.intersection(*({run.seed for run in series.runs} for series in found))
    if not common:
        return list(found)
    return [replace(series, runs=tuple(run for run in series.runs if run.seed in common)) for series in found]


def describe_shown(panels: Sequence[tuple[Panel, Sequence[Shown]]]) -> str:
    """Return which variant stands for each name, and whose curves are the same, for a caption.

    A variant stands there once, with the panels that have it where not all have, and its seeds where they differ.
    """
    variants: dict[str, dict[str, str]] = defaultdict(dict)
    alike: dict[str, list[str]] = defaultdict(list)
    for panel, shown in panels:
        for one in shown:
            if one.name != one.series.label or find_system(one.series):
                runs = one.series.runs
                variants[one.described][panel.title] = f"seed{'s' * (len(runs) > 1)} {one.series.seeds}"
            if one.alike:
                alike[f"{one.name} and {', '.join(one.alike)} have the same curve"].append(panel.title)
    differ = len({one.series.seeds for _, shown in panels for one in shown}) > 1
    said = [name + _say_seeds(seeds, len(panels), differ) for name, seeds in variants.items()]
    same = [name + (f" ({', '.join(where)})" if len(where) < len(panels) else "") for name, where in alike.items()]
    return " ".join([*([f"{'; '.join(said)}."] if said else []), *(f"{sentence}." for sentence in same)])


def _say_seeds(seeds: Mapping[str, str], panels: int, differ: bool) -> str:
    """Return the ``seeds`` by panel of a variant, if they ``differ`` anywhere, and which of so many panels have it."""
    each = list(dict.fromkeys(seeds.values()))
    if differ and len(each) > 1:
        return f" ({'; '.join(f'{panel}: {said}' for panel, said in seeds.items())})"
    where = f" ({', '.join(seeds)})" if len(seeds) < panels else ""
    return (f", {each[0]}" if differ else "") + where

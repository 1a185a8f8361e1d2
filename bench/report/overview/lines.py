"""What a reader sees first of a panel: one line a system, and what is found at an operating point."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from bench.compare.ranking import Ranking, rank_series
from bench.compare.standings import Standing
from bench.errors import UsageError
from bench.measure.rules import STANDARD, Rule
from bench.report import content, numbers
from bench.report.marks import Chart, Point, Reference, Whisker, pad_range
from bench.report.overview.families import CONTROL_FAMILY, find_family
from bench.report.plots.comparison import build_comparison
from bench.report.plots.published import find_published_of
from bench.report.plots.systems import Shown, choose_shown, find_system, has_learned, merge_alike
from bench.report.series import Panel, Series
from bench.report.style import Look, choose_look
from bench.results.matched import label_rows, match_runs
from strategies import STRATEGIES

DEFAULT_RULE = "2x"
RECIPE_SAID = re.compile(r" \(recipe=[^(),]+\)|, recipe=[^(),]+|(?<=\()recipe=[^(),]+, ")
"""In a series' label, where recipe and head stand beside it."""


@dataclass(frozen=True, eq=False)
class SystemLine:
    """A line of a panel's first table: a system, or a ``plain`` model that never leaves early."""

    name: str
    series: Series
    look: Look
    family: str
    plain: bool = False
    apart: bool = False
    """Whether its training must be said: it is not the system's own, or the panel has another one beside it."""

    @property
    def described(self) -> str:
        """What it is in the words of the other tables, its training and seeds, and what is doubted of it."""
        seeds = len(self.series.runs)
        label = RECIPE_SAID.sub("", self.series.label) if self.apart else self.series.label
        parts = [label] if label.lower() != self.name.lower() else []
        parts += [self.series.trained_as] if self.apart else []
        parts += [f"{seeds} seeds"] if seeds > 1 else []
        return ", ".join([*parts, *filter(None, [self.series.marks])])


@dataclass(frozen=True, eq=False)
class PlacedLine:
    """A line at an operating point: its numbers there, or why it has none."""

    line: SystemLine
    standing: Standing | None
    verdict: str
    ranked: bool = False

    @property
    def whole(self) -> bool:
        """Whether it is a plain model with all of the backbone's layers."""
        first = self.line.series.first
        return self.line.plain and first.layers == first.record.backbone.whole_depth

    @property
    def mean_exit(self) -> float:
        """The mean exit layer at its point; all layers of a plain model."""
        point = self.standing and self.line.series.points.get(self.standing.rule)
        return point.mean_layer if point else float(self.line.series.first.layers)


@dataclass(frozen=True, eq=False)
class Headline:
    """What is found at an operating point, and the table's lines: ranked ones, plain models, what is not there."""

    rule: str
    ranking: Ranking
    entries: Sequence[PlacedLine]

    @property
    def words(self) -> str:
        """What the point asks for, as a sentence begins."""
        goal = self.ranking.goal
        if goal.kind == "speedup":
            return f"At {goal.value:g}× or more"
        points = f"{100 * goal.value:g} point{'' if 100 * goal.value == 1 else 's'}"
        return f"Losing at most {points}" if goal.value else "Without loss"

    @property
    def best(self) -> PlacedLine | None:
        """The best system; None where none is there, or nothing can be said of any."""
        return self.entries[0] if self.ranking.best is not None else None

    @property
    def near(self) -> list[PlacedLine]:
        """Those within noise of the best."""
        return [e for e in self.entries[1:] if e.ranked and e.verdict == "within noise"]

    @property
    def behind(self) -> list[PlacedLine]:
        """Those that are worse than the best, or slower."""
        return [e for e in self.entries if e.ranked and e.verdict == "behind"]

    @property
    def plain(self) -> list[PlacedLine]:
        """The best plain model of that cost, and the whole one."""
        found = [e for e in self.entries if e.line.plain and e.standing]
        goal = self.ranking.goal
        cheap = [
            e for e in found if goal.kind == "speedup" and e.standing and goal.is_met(e.standing.cost_speedup.value)
        ]
        best = max(cheap, key=lambda e: e.standing.quality.value if e.standing else 0.0, default=None)
        whole = [e for e in found if e.whole]
        return list(dict.fromkeys([*([best] if best else []), *whole[:1]]))

    def say(self, entry: PlacedLine) -> str:
        """Return ``DeeBERT 0.861``, ``… at 1.95×`` where that is short; for a loss ``DeeBERT 1.95× (0.861)``."""
        assert entry.standing is not None
        quality, speedup = entry.standing.quality.value, entry.standing.cost_speedup.value
        if self.ranking.goal.kind == "speedup":
            short = round(speedup, 2) < self.ranking.goal.value  # its neighbours in the sentence are where it says
            at = f" at {numbers.format_factor(speedup)}" if short else ""
            return f"{entry.line.name} {numbers.format_number(quality)}{at}"
        return f"{entry.line.name} {numbers.format_factor(speedup)} ({numbers.format_number(quality)})"

    @property
    def void(self) -> str:
        """Why nothing can be said of any system; the empty string where something can."""
        first = self.ranking.ranked[0] if self.ranking.ranked else None
        said = [one.doubt.said for one in first.doubts if one.doubt.void] if first and self.best is None else []
        return said[0] if said else ""


@dataclass(frozen=True, eq=False)
class Overview:
    """A panel as a reader meets it."""

    panel: Panel
    shown: Sequence[Shown]
    lines: Sequence[SystemLine]
    published: bool = True
    """Whether its chart has what others have published."""

    @property
    def systems(self) -> list[SystemLine]:
        """The lines that leave early."""
        return [line for line in self.lines if not line.plain]

    @property
    def timed(self) -> bool:
        """Whether the clock was used on any of its systems."""
        return any(point.timed for line in self.systems for point in line.series.points.values())

    @cached_property
    def headlines(self) -> dict[str, Headline]:
        """What is found at every operating point that asks for a speed-up or a loss, on the split that is compared."""
        if not self.systems or self.panel.split != self.panel.series[0].first.primary:
            return {}
        found = match_runs((run for line in self.lines for run in line.series.runs), ())
        lines = {line.series.first.name: line for line in self.lines}
        named = dict(
            zip(label_rows([one.row for one in found]), (lines[one.runs[0].name] for one in found), strict=True)
        )
        goals = {rule: goal for rule in list_point_rules([self.panel]) if (goal := read_goal(rule))}
        rankings = {rule: rank_series(self.panel.title, found, goal) for rule, goal in goals.items()}
        return {rule: Headline(rule, one, _list_entries(one, named)) for rule, one in rankings.items()}

    @property
    def first_rule(self) -> str:
        """The operating point that is shown first."""
        return DEFAULT_RULE if DEFAULT_RULE in self.headlines else next(iter(self.headlines), "")

    @property
    def exits_used(self) -> dict[SystemLine, list[float]]:
        """The share of samples that leave at each exit at the first operating point, by system."""
        points = {line: p for line in self.systems if (p := line.series.points.get(self.first_rule))}
        return {line: [count / sum(p.exit_counts) for count in p.exit_counts] for line, p in points.items()}

    @property
    def trained_on(self) -> int:
        """Samples that its systems were trained on; 0 where all were imported, of whose training nothing is known."""
        rows = [run.record.task.rows.get("train") for run in self.panel.runs]
        return max((train.used for train in rows if train is not None), default=0)

    def find_richer(self, others: Sequence[Overview]) -> Overview | None:
        """Return the overview of the same task that has something to say and most training data, where that is more."""
        able = [one for one in others if (head := one.headlines.get(one.first_rule)) and head.best]
        most = max(able, key=lambda one: one.trained_on, default=self)
        return most if most.trained_on > self.trained_on > 0 else None

    @property
    def short_title(self) -> str:
        """Its title without the task."""
        return self.panel.title.removeprefix(self.panel.task).removeprefix(" · ") or self.panel.title

    @cached_property
    def chart(self) -> Chart:
        """Its systems' curves, as far up and down as operating points, plain models and what is published lie."""
        others = find_published_of(self.panel) if self.published else []
        made = build_comparison(self.panel, self.shown, rules=None, published=others)
        return crop_chart(made, self.first_rule, self.shown)


def _list_entries(found: Ranking, named: Mapping[str, SystemLine]) -> list[PlacedLine]:
    entries = []
    for one in found.ranked:
        marks = ", ".join(doubt.doubt.mark for doubt in one.doubts if doubt.doubt.void)
        best = one is found.ranked[0] and not marks
        verdict = marks or ("best" if best else "within noise" if one.level else "behind")
        entries += [PlacedLine(named[name], one, verdict, ranked=not marks) for name in one.names]
    entries.sort(key=lambda entry: not entry.ranked)
    ranked = [entry for entry in entries if entry.ranked]
    plain = [PlacedLine(named[name], one, "") for one in found.plain for name in one.names]
    missing = [PlacedLine(named[name], None, why) for name, why in found.missing.items()]
    return [*ranked, *plain, *entries[len(ranked) :], *missing]


def list_point_rules(panels: Sequence[Panel]) -> list[str]:
    """Return the operating points of some panels, the standard ones first."""
    found = dict.fromkeys(rule for panel in panels for series in panel.series for rule in series.rules)
    return [r for r in STANDARD if r in found] + sorted(r for r in found if r not in STANDARD)


def read_goal(rule: str) -> Rule | None:
    """Return the goal that an operating point stands for; None where it asks for neither a speed-up nor a loss."""
    try:
        goal = Rule.parse(rule)
    except UsageError:
        return None
    return goal if goal.kind in ("speedup", "max_loss") else None


def overlook_panel(panel: Panel, published: bool = True) -> Overview:
    """Return the overview of a panel: its systems by name, plain models by their layers, what others ``published``."""
    shown = [one for one in choose_shown(panel) if not one.series.upper_bound]
    lines = [
        SystemLine(one.name, one.series, one.look, find_family(one.series.strategy), apart=_is_apart(panel, one.series))
        for one in shown
    ]
    for series in sorted(content.find_stars(panel), key=lambda series: (-series.first.layers, series.label)):
        lines.append(SystemLine(_name_plain(panel, series), series, choose_look("full"), CONTROL_FAMILY, plain=True))
    return Overview(panel, merge_alike(shown), lines, published)


def _is_apart(panel: Panel, series: Series) -> bool:
    """Return whether a system's training is another than its own, or one of several that its strategy has here."""
    own = find_system(series) is not None or series.strategy not in STRATEGIES.builtin
    return not own or len({one.trained_as for one in panel.series if one.strategy == series.strategy}) > 1


def _name_plain(panel: Panel, series: Series) -> str:
    layers = series.first.layers
    return "Full model" if layers == panel.layers else f"Plain, {layers} layer{'' if layers == 1 else 's'}"


def arrange_panels(panels: Sequence[Panel], published: bool = True) -> list[tuple[str, list[Overview]]]:
    """Return overviews by task, of each task and of all tasks first what says most.

    That is: models that have learned something, pretrained before from scratch, the comparison of most systems, with
    plain models beside them, of most runs.
    """
    tasks: dict[str, list[Overview]] = defaultdict(list)
    for panel in panels:
        tasks[panel.task].append(overlook_panel(panel, published))
    ordered = {task: sorted(found, key=_rank_overview) for task, found in tasks.items()}
    return sorted(ordered.items(), key=lambda item: _rank_overview(item[1][0]))


def _rank_overview(one: Overview) -> tuple[bool, bool, int, bool, int, int]:
    panel, systems = one.panel, one.systems
    learned = sum(has_learned(line.series) for line in systems) * 2 > len(systems)
    pretrained = panel.series[0].first.spec.init != "scratch"
    plain = len(one.lines) > len(systems)
    return not learned, not pretrained, -len(systems), not plain, -len(panel.runs), panel.number


def crop_chart(chart: Chart, rule: str, shown: Sequence[Shown]) -> Chart:
    """Return a trade-off chart whose axes end where its markers do: lines fall to chance beyond them.

    Intervals stay at the operating point ``rule`` alone; those of all points would hide the lines.
    """
    points = [mark for mark in chart.marks if isinstance(mark, Point)]
    if not points:
        return chart
    levels = [level for mark in chart.marks if isinstance(mark, Reference) for level in (mark.start[1], mark.end[1])]
    low, high = pad_range([*(mark.y for mark in points), *levels], 0.1, 0.01)
    x_low, x_high = pad_range([1.0, *(mark.x for mark in points)], 0.05)
    x, y = replace(chart.x, low=x_low, high=x_high), replace(chart.y, low=low, high=high)
    kept = {(one.name, round(p.speedup.value, 6)) for one in shown if (p := one.series.points.get(rule))}
    marks = [mark for mark in chart.marks if not isinstance(mark, Whisker) or (mark.series, mark.x) in kept]
    marks = [replace(mark, tip=_shorten_tip(mark.tip)) if isinstance(mark, Point) else mark for mark in marks]
    marks = [replace(mark, start=(x_low, mark.start[1]), end=(x_high, mark.end[1]))
             if isinstance(mark, Reference) else mark for mark in marks]  # fmt: skip
    return replace(chart, x=x, y=y, marks=marks)


def _shorten_tip(tip: str) -> str:
    """Return the lines of a point's tip that tell where it lies; the table of all points has the rest."""
    return "\n".join(line for line in tip.split("\n") if not line.startswith(("mean exit", "measured")))

"""What can be asked of a figure, and which panels it is drawn from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from backbones.names import make_unknown_error
from bench.errors import NothingComparable, UsageError
from bench.report.figures import COLUMN, WIDE
from bench.report.plots.systems import Shown, choose_shown, has_learned, name_shown
from bench.report.series import Panel, make_panels
from bench.results.run import Run

WIDTHS = {"single": COLUMN, "double": WIDE}
LEGENDS = ("direct", "below", "none")
SHORTEST_SIDE, LONGEST_SIDE = 1.5, 20.0  # inches of a figure's side
MOST_PANELS = 6


@dataclass(frozen=True)
class PlotOptions:
    """What can be asked of every figure; what is empty or None is the figure's own choice.

    ``labels`` are names for the lines, ``line=name`` or in the order of the legend. ``bands``: True draws a 95 % band
    for every line, False none, None for a line that is alone or in ``highlight``. ``whole`` shows every series of the
    runs, as where the runs were named one by one. ``published``: with what others have published of the same task and
    backbone.
    """

    strategies: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    backbones: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    x: str = ""
    labels: tuple[str, ...] = ()
    highlight: tuple[str, ...] = ()
    bands: bool | None = None
    legend: str = ""
    width: float | None = None
    height: float | None = None
    font: str = "sans"
    dpi: int = 200
    title: str = ""
    whole: bool = False
    published: bool = True

    def __post_init__(self) -> None:
        if self.legend and self.legend not in LEGENDS:
            raise make_unknown_error("legend", self.legend, LEGENDS)
        for name, value in (("width", self.width), ("height", self.height)):
            if value is not None and not SHORTEST_SIDE <= value <= LONGEST_SIDE:
                raise UsageError(f"--{name} is in inches, from {SHORTEST_SIDE:g} to {LONGEST_SIDE:g}, not {value:g}.")
        if not 30 <= self.dpi <= 1200:
            raise UsageError(f"--dpi is from 30 to 1200, not {self.dpi}.")


def read_width(text: str) -> float:
    """Return the inches that ``single``, ``double`` or a number means. Raises UsageError for anything else."""
    if text in WIDTHS:
        return WIDTHS[text]
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"--width is single, double or a number of inches, not '{text}'.") from None


def select_panels(runs: Iterable[Run], options: PlotOptions) -> list[Panel]:
    """Return the panels of the finished runs that are asked for. Raises as :func:`choose_runs`."""
    return make_panels(choose_runs(runs, options))


def choose_runs(runs: Iterable[Run], options: PlotOptions) -> list[Run]:
    """Return the finished runs that are asked for. Raises UsageError for what no run has."""
    finished = [run for run in runs if run.is_finished()]
    if not finished:
        raise NothingComparable("There is no finished run to draw.")
    wanted: list[tuple[str, Sequence[object], Callable[[Run], set[object]]]] = [
        ("task", options.tasks, lambda run: {run.task}),
        ("backbone", options.backbones, lambda run: {run.backbone, run.spec.backbone}),
        ("seed", options.seeds, lambda run: {run.seed}),
    ]
    for what, names, read in wanted:
        known = {name for run in finished for name in read(run)}
        for name in names:
            if name not in known:
                raise make_unknown_error(what, str(name), sorted(map(str, known)), " among these runs")
        finished = [run for run in finished if not names or read(run) & set(names)]
    if not finished:
        raise NothingComparable("No finished run has this task, this backbone and this seed together.")
    return finished


def choose_lines(panel: Panel, options: PlotOptions, only: Sequence[str] = ()) -> list[Shown]:
    """Return what is shown of a panel: what was asked for, of a figure that is about ``only`` some systems these.

    Empty where a panel beside others has nothing of it.
    """
    if options.whole and not options.strategies:
        return name_shown([series for series in panel.series if series.early])
    shown = choose_shown(panel, options.strategies)
    return [one for one in shown if one.name in only] if only and not options.strategies else shown


def find_lines(
    panels: Sequence[Panel], options: PlotOptions, only: Sequence[str] = ()
) -> list[tuple[Panel, list[Shown]]]:
    """Return every panel that has something to show, with it. Raises UsageError where a name is on none of them."""
    found, errors = [], []
    for panel in panels:
        try:
            found.append((panel, choose_lines(panel, options, only)))
        except UsageError as error:
            errors.append((len(panel.series), error))
    if errors and not found:
        raise max(errors, key=lambda item: item[0])[1]
    return [(panel, shown) for panel, shown in found if shown]


def choose_panels(
    found: Sequence[tuple[Panel, list[Shown]]], options: PlotOptions, one_model: bool = False
) -> tuple[list[tuple[Panel, list[Shown]]], str]:
    """Return the best panel of each task, and a sentence on what is left out because nothing was learned there.

    Best is where the most cells have learned something (each seed of a system is one), then the most systems, then the
    most cells of any kind, then most training data, then the deeper backbone. With ``one_model`` all are of the
    backbone on which the most tasks are learned, as far as it has them.
    """
    if options.whole:
        return list(found)[:MOST_PANELS], ""

    def rank(item: tuple[Panel, list[Shown]]) -> tuple[int, int, int, int, int]:
        panel, shown = item
        learned = [one.series for one in shown if has_learned(one.series)]
        runs = [run for one in shown for run in one.series.runs]
        trained = [run.record.task.rows.get("train") for run in runs]  # none of imported logits
        rows = max(0 if found is None else found.used for found in trained)
        return sum(len(series.runs) for series in learned), len(learned), len(runs), rows, panel.layers

    models: dict[tuple[str, int], dict[str, list[tuple[Panel, list[Shown]]]]] = defaultdict(lambda: defaultdict(list))
    for panel, shown in found:
        models[(panel.backbone, panel.layers) if one_model else ("", 0)][panel.task].append((panel, shown))
    best = [[max(items, key=rank) for items in tasks.values()] for tasks in models.values()]

    def rate(chosen: list[tuple[Panel, list[Shown]]]) -> tuple[int, int, int]:
        ranks = [rank(item) for item in chosen]
        return sum(bool(one[1]) for one in ranks), sum(one[1] for one in ranks), max(one[-1] for one in ranks)

    chosen = max(best, key=rate, default=[])
    missing = [task for task in options.tasks if task not in {panel.task for panel, _ in chosen}]
    elsewhere = [[item for item in found if item[0].task == task] for task in missing]
    chosen += [max(items, key=rank) for items in elsewhere if items]
    learned = [item for item in chosen if options.tasks or any(has_learned(one.series) for one in item[1])]
    left = [panel.title for panel, _ in chosen if panel.title not in {other.title for other, _ in learned}]
    chosen = learned or chosen
    said = f"Left out, as no system is shown to have learned anything: {', '.join(left)}." if left and learned else ""
    return chosen[:MOST_PANELS], said


def find_banded(groups: Sequence[Sequence[Shown]], options: PlotOptions) -> list[list[str]]:
    """Return the names of the lines that have a 95 % band, of each group: all of them, or those of ``highlight``.

    Raises UsageError for a name that no group has.
    """
    wanted = {name.lower() for name in options.highlight}
    drawn = [one for found in groups for one in found]
    for name in sorted(wanted.difference(*map(_list_names, drawn))):
        raise make_unknown_error("line", name, sorted({one.name for one in drawn}), " to highlight")
    return [[one.name for one in found if options.bands or wanted & _list_names(one)] for found in groups]


def _list_names(one: Shown) -> set[str]:
    return {one.name.lower(), one.series.strategy.lower(), one.series.label.lower()}


def rename_lines(groups: Sequence[Sequence[Shown]], labels: Sequence[str]) -> list[list[Shown]]:
    """Return the lines of every chart under the names of ``labels``; a line that is in several has one name.

    Labels without a sign name lines in their order, chart after chart. Raises UsageError for one that names no line, or
    too many.
    """
    named = {key.strip().lower(): value.strip() for key, sign, value in (t.rpartition("=") for t in labels) if sign}
    plain = [text for text in labels if "=" not in text]
    lines = list(dict.fromkeys(one.name for found in groups for one in found))
    if len(plain) > len(lines):
        raise UsageError(f"--labels names {len(plain)} lines, but {len(lines)} are drawn.")
    in_order, used = dict(zip(lines, plain, strict=False)), set()

    def rename(one: Shown) -> Shown:
        keys = [one.name.lower(), one.series.strategy.lower(), one.series.label.lower()]
        key = next((key for key in keys if key in named), None)
        used.add(key)
        return replace(one, name=named[key] if key else in_order.get(one.name, one.name))

    found = [[rename(one) for one in group] for group in groups]
    for key in named:
        if key not in used:
            raise make_unknown_error("line", key, lines, " to label")
    return found

"""What was found, in a sentence that a person can repeat: of one run, and of several at a goal."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bench.compare.ranking import LOST_MORE, Ranking
from bench.compare.standings import ALL_LAYERS, Standing, is_whole
from bench.measure.metrics import title_metric
from bench.measure.rules import Rule, shorten_rule
from bench.results.groups import OverSeeds
from bench.results.measures import OperatingPoint
from bench.results.run import Run

MOST_NAMED = 3
"""Names that a sentence spells out."""
PARTED = re.compile(r"[^()]+ \(.+\)")
"""A name with what tells it apart."""
WORTH_SAYING = 1.1
"""A speed-up below this is none."""
QUALITY_FIRST = ("no-loss", "-0.5", "-1")


def join_names(names: Sequence[str], most: int = MOST_NAMED) -> str:
    """Return ``a, b and c``; of many the first ones: ``a, b, c and 4 more``."""
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def join_equal(names: Sequence[str], most: int = MOST_NAMED) -> str:
    """Return the names of series with the same numbers, without repeating what they have in common in parentheses."""
    pairs = [(name, "") if not PARTED.fullmatch(name) else tuple(name[:-1].split(" (", 1)) for name in names]
    common = {more for _, more in pairs}
    if len(names) == 1 or len(common) > 1 or common == {""}:
        return join_names(names, most)
    return f"{join_names([name for name, _ in pairs], most)} ({common.pop()})"


def write_quality(value: OverSeeds) -> str:
    """Return ``0.862 [0.841, 0.884]``: 95 % over samples, over seeds too where there are several."""
    low, high = value.both or (value.low, value.high)
    return f"{value.value:.3f} [{low:.3f}, {high:.3f}]"


def name_goal(goal: Rule) -> str:
    """Return ``2x or more``, ``no loss`` or ``at most 0.5 points lost``."""
    if goal.kind == "speedup":
        return f"{goal.format()} or more"
    points = f"{100 * goal.value:g}"
    return f"at most {points} point{'' if points == '1' else 's'} lost" if goal.value else "no loss"


def name_place(found: Ranking) -> str:
    """Return on what was ranked: ``sst2 (minilm-l6, pretrained, 6 layers)``."""
    some = (*found.ranked, *found.plain, *found.bounds)
    task, *rest = found.title.split(" | ")
    inner = ", ".join((rest[0], *rest[1:-1])) if len(rest) > 1 else ""
    return f"{some[0].series.row['task'] if some else task}" + (f" ({inner})" if inner else "")


def say_ranking(found: Ranking) -> str:
    """Return which strategy is best at the goal, what is within noise of it, and what plain layers do there."""
    where, goal, best = name_place(found), name_goal(found.goal), found.best
    at = f"{'At' if found.goal.kind == 'speedup' else 'With'} {goal} on {where}"
    if best is None:
        return f"{at}, {_say_nothing(found)}"
    metric = title_metric(best.series.runs[0].metric)
    names = join_equal(best.names)
    if found.goal.kind == "speedup":
        alone = "has" if len(best.names) == 1 else "have"
        said = f"{names} {alone} the best {metric}: {write_quality(best.quality)} at {_write_costs(best)}"
    else:
        full = found.reference
        said = f"{names} {'is' if len(best.names) == 1 else 'are'} the fastest: {_write_costs(best)}"
        said += f" with {metric} {write_quality(best.quality)}"
        said += "" if full is None else f", where the best full model ({full.name}) has {full.quality.value:.3f}"
    return f"{at}, {said}.{_say_others(found, best)}{_say_plain(found, best)}"


def _say_nothing(found: Ranking) -> str:
    if found.ranked:  # all are void
        doubt = next(one.doubt for one in found.ranked[0].doubts if one.doubt.void)
        return f"nothing can be said: {doubt.mark}, {doubt.found}."
    if (fastest := found.fastest) is not None:
        quality = f"{title_metric(fastest.series.runs[0].metric)} {write_quality(fastest.quality)}"
        return f"there is none: the fastest is {fastest.name}, {_write_costs(fastest)} with {quality}."
    if found.missing and set(found.missing.values()) == {LOST_MORE}:
        return f"there is none: all {len(found.missing)} lose more there."
    why = [f"{name}: {reason}" for name, reason in found.missing.items()]
    return "there is none" + (f" ({'; '.join(why[:MOST_NAMED])}{'; …' * (len(why) > MOST_NAMED)})." if why else ".")


def _say_others(found: Ranking, best: Standing) -> str:
    others = found.ranked[1:]
    if not others:
        return ""
    near = [name for one in others if one.level for name in one.names]
    if not near:
        return " No other is within noise of it."
    if len(near) == sum(len(one.names) for one in others) and len(near) > MOST_NAMED:
        return f" All {len(near)} others are within noise of it."
    return f" Within noise of it: {join_names(near)}."


def _say_plain(found: Ranking, best: Standing) -> str:
    """What the best model of fewer layers without exits does there, and the best with all layers."""
    if found.goal.kind != "speedup":
        return ""
    there = [one for one in found.plain if found.goal.is_met(one.cost_speedup.value)]
    cut = max(there, key=lambda one: one.quality.value, default=None)
    said = "" if cut is None else f" {name_plain(cut)}: {write_quality(cut.quality)} at {cut.cost_speedup.value:.2f}x."
    whole = [one for one in found.plain if one.rule == ALL_LAYERS and is_whole(one.series)]
    full = max(whole, key=lambda one: one.quality.value, default=None)
    if full is None:
        return f"{said} With all layers it has {best.all_layers.value:.3f}."
    return f"{said} All layers ({full.name}): {write_quality(full.quality)}."


def name_plain(one: Standing) -> str:
    """Return ``3 of 6 plain layers`` for a model that was cut, else the name."""
    run = one.series.runs[0]
    return one.name if is_whole(one.series) else f"{run.layers} of {run.record.backbone.whole_depth} plain layers"


def _write_costs(one: Standing) -> str:
    unit = "FLOPs" if one.series.runs[0].result().full.cost_unit == "flops" else "layers"
    clock = one.latency if not one.timing_problem else None
    former = " by a former protocol" * one.is_formerly_timed
    time = "" if clock is None else f" ({clock.value:.2f}x in time{one.timing_over}{former})"
    return f"{one.cost_speedup.value:.2f}x fewer {unit}{time}"


# --------------------------------------------------------------------------- one run


def say_run(run: Run) -> str:
    """Return what a finished run found on its primary split: its best point without loss, else its fastest."""
    result, metric = run.result(), title_metric(run.metric)
    full = result.full.metrics[run.metric]
    where = f"{run.strategy} on {run.task}"
    point = choose_telling_point(run)
    unit = "FLOPs" if result.full.cost_unit == "flops" else "layers"
    if point is None:
        faster = result.full.cost_speedup.value
        fewer = f" at {faster:.2f}x fewer {unit}" if faster >= WORTH_SAYING else ""
        said = f"{where} has {metric} {full.write()}{fewer}; it leaves no earlier than its last layer"
    else:
        clock = None if point.latency is None or run.timing_problem else point.latency.speedup.value
        than = f" than {run.timing_baseline} without exits" if run.timing_baseline else ""
        former = " by a former protocol" * bool(run.timing_caution)
        time = "" if clock is None else f" and {write_factor(clock)} time{than}{former}"
        quality, faster = point.metrics[run.metric].write(), point.cost_speedup.value
        said = f"{where} has {metric} {quality} with {faster:.2f}x fewer {unit}{time}"
        said += f" (point {shorten_rule(point.rule)}); all layers have {full.value:.3f}"
    void = [doubt for doubt in run.doubts if doubt.void and (not doubt.rules or (point and point.rule in doubt.rules))]
    return f"{said}.{''.join(f' But {doubt.mark}: {doubt.found}.' for doubt in void[:1])}"


def write_factor(faster: float) -> str:
    """Return 2.00x less, of a speed-up, or 1.25x more where it is none."""
    return f"{faster:.2f}x less" if faster >= 1 else f"{1 / faster:.2f}x more"


def choose_telling_point(run: Run) -> OperatingPoint | None:
    """Return the first point without much loss that is worth saying, else the fastest; None where none is faster."""
    reached = run.result().reached
    fast = [point for point in reached.values() if point.cost_speedup.value >= WORTH_SAYING]
    safe = [reached[rule] for rule in QUALITY_FIRST if rule in reached and reached[rule] in fast]
    return safe[0] if safe else min(fast, key=lambda point: point.cost_speedup.value, default=None)

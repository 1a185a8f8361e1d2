"""An advice as text and as plain data: the verdict, what it rests on, how it was obtained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from bench.advise.advise import MOST_ANSWERED, Advice
from bench.advise.ceiling import describe_ceiling
from bench.advise.goal import format_share, write_percent
from bench.advise.groups import GroupResult
from bench.advise.note import AdviceNote, save_advice_note
from bench.advise.verdict import VALUE_METRICS, Way, format_gain
from bench.cell.command import write_from_here
from bench.files import write_json, write_text
from bench.measure.metrics import title_metric
from bench.report import numbers
from bench.report.figures import Figure, save_figure
from bench.report.formats import TextTable
from bench.report.marks import Axis, Chart, Key, Mark, Point, Reference, Whisker, pad_range
from bench.report.page import make_environment
from bench.report.style import assign_looks
from bench.text import build_table

WAYS_NOTE = "Speed-up: of the same texts, paired by rounds, 95 %, against the fastest way to run the model itself."
CHANGED_NOTE = (
    "Changed: share of the reported texts that are answered otherwise than by the model itself, Wilson's 95 % interval."
)
MOVED_NOTE = (
    "Moved by: how far answers are from the model's own on average, each by 1 at most, 95 % (bootstrap over texts)."
)
PARTLY_NOTE = (
    f"Ways that answer otherwise were asked for {MOST_ANSWERED:,} of the texts: how good they are on all is how good "
    "the model itself is, and what differs from it on these."
)
CANDIDATES_NOTE = "Promised: on the texts that cuts are chosen on, by the times of the layers."


def build_advice_tables(found: Advice) -> list[TextTable]:
    """Build every table that there is something for."""
    made = [build_ways(found)] if found.ways else []
    made += [build_batches(found, timings.batch_size) for timings in found.timings[1:]]
    made += [build_candidates(found)] if found.candidates else []
    made.append(build_depths(found))
    if found.balance is not None:
        scores = f"macro-F1 {found.balance.macro_f1_early:.3f} against the model's own {found.balance.macro_f1_own:.3f}"
        made.append(build_groups("classes", f"Uneven classes: {scores}", "recall", found.balance.classes))
    if found.groups:
        what = "mean absolute error" if is_regression(found) else "accuracy"
        title = f"Groups by {found.question.slice_column}"
        made.append(build_groups("groups", title, what, found.groups, is_regression(found)))
    return made


def is_regression(found: Advice) -> bool:
    """Return whether answers are values, which move by so much, and not classes, which change or do not."""
    return found.metric in VALUE_METRICS


def name_change(regression: bool) -> str:
    """Return the heading of the column that says what becomes of answers."""
    return "moved by" if regression else "changed"


def format_change(changed: float, regression: bool) -> str:
    """Return ``0.63 %`` of answers, or ``0.012`` by which those of a regression move."""
    return f"{changed:.3f}" if regression else format_share(changed)


def build_ways(found: Advice) -> TextTable:
    """Build the table of early exit and what else makes the model faster, at batch 1."""
    regression = is_regression(found)
    columns = ["way", "ms a text", "speed-up", name_change(regression), title_metric(found.metric), "mean exit"]
    rows = [describe_way(way, regression) for way in found.ways if not way.why]
    note = f"{WAYS_NOTE} {MOVED_NOTE if regression else CHANGED_NOTE}"
    if found.samples[2] > MOST_ANSWERED:
        note += f" {PARTLY_NOTE}"
    note += "".join(f" {way.name} cannot run here: {way.why}." for way in found.ways if way.why)
    return TextTable("ways", "Early exit, and what else makes the model faster, at batch 1", columns, rows, note)


def build_batches(found: Advice, size: int) -> TextTable:
    """Build the table of what the same ways take in batches of a ``size``."""
    rows = [[way.name, *_describe_times(way, size)] for way in found.ways if not way.why]
    return TextTable(f"batch-{size}", f"In batches of {size}", ["way", "ms a text", "speed-up"], rows, "")


def describe_way(way: Way, regression: bool) -> list[str]:
    """Return the cells of one way to answer, text by text."""
    cells = [way.name, *_describe_times(way, 1)]
    changed, quality = way.changed, way.quality
    if changed is None:
        cells.append(numbers.MISSING)
    elif regression:
        cells.append(f"{changed.estimate:.3f} [{changed.low:.3f}, {changed.high:.3f}]")
    else:
        ends = f"[{write_percent(changed.low)}, {write_percent(changed.high)}]"
        cells.append(f"{format_change(changed.estimate, False)} {ends}")
    cells.append(
        numbers.MISSING if quality is None else f"{quality.estimate:.3f} [{quality.low:.3f}, {quality.high:.3f}]"
    )
    return [*cells, numbers.MISSING if way.mean_exit is None else f"{way.mean_exit:.2f}"]


def _describe_times(way: Way, size: int) -> list[str]:
    ratio = way.speedup.get(size)
    return [f"{way.ms[size]:.2f}", "1" if ratio is None else format_gain(ratio)]


def build_candidates(found: Advice) -> TextTable:
    """Build the table of criteria on the same exits."""
    regression = is_regression(found)
    columns = ["criterion", "threshold", "promised speed-up"]
    columns += [name_change(regression), title_metric(found.metric), "mean exit"]
    rows = []
    for one in found.candidates:
        if one.chosen is None:
            rows.append([one.name, numbers.MISSING, one.reason, *[numbers.MISSING] * 3])
            continue
        said = one.chosen
        threshold = f"{one.threshold:.4g}" if math.isfinite(one.cut) else "nobody leaves early"
        cells = [f"{said.speedup:.2f}x", format_change(said.changed, regression), f"{said.quality:.3f}"]
        rows.append([one.name, threshold, *cells, f"{said.mean_exit:.2f}"])
    return TextTable("criteria", "Criteria on the same exits, chosen for the goal", columns, rows, CANDIDATES_NOTE)


def build_depths(found: Advice) -> TextTable:
    """Build the table of the exits: the most that each can save, and how good it is alone."""
    columns = [
        "exit",
        "speed-up if all left here",
        *([f"{title_metric(found.metric)} alone"] if found.per_exit else []),
    ]
    rows = [
        [str(i), format_gain(ratio), *([f"{found.per_exit[i - 1]:.3f}"] if found.per_exit else [])]
        for i, ratio in enumerate(found.times.speedups, start=1)
    ]
    oracles = found.oracles
    bound = "" if oracles is None else (
        f" An oracle that knows the labels would reach {oracles.label:.1f}x, one that knows the model's own answers "
        f"{oracles.answer:.1f}x."
    )  # fmt: skip
    note = f"{describe_ceiling(found.times)}{bound} Heads and checks included."
    return TextTable("exits", "What each exit can save", columns, rows, note)


def build_groups(
    name: str, title: str, what: str, groups: Sequence[GroupResult], regression: bool = False
) -> TextTable:
    """Build the table of classes or groups."""
    columns = [name, "texts", f"{what}: the model itself", f"{what}: early exit", name_change(regression), "mean exit"]
    rows = [
        [g.name, str(g.samples), f"{g.own:.3f}", f"{g.early:.3f}", format_change(g.changed, regression),
         f"{g.mean_exit:.2f}"]
        for g in groups
    ]  # fmt: skip
    return TextTable(name, title, columns, rows, "")


def list_doubts(found: Advice) -> list[str]:
    """Return what could make the verdict void, without full stops: disturbed times, a model without skill, ..."""
    disturbed = [t for t in found.timings if t.reasons]
    said = [f"the times of batch {t.batch_size} are INVALID: {'; '.join(t.reasons)}" for t in disturbed]
    if found.run is not None:
        rules = [p.rule for p in found.run.result().reached.values() if p.chosen_on == "given"]
        said += [doubt.said for doubt in found.run.find_doubts(rules=rules)]
    return said


def list_how(found: Advice) -> list[str]:
    """Return how the advice was obtained: the command, the samples, the record, what is doubted of the times."""
    fitted, chosen, reported = found.samples
    question = found.question
    what = "the model's own answers" if question.train else "labels"
    lines = [f"Goal: {question.goal.describe()}."]
    if found.candidates:
        criteria = "1 criterion" if len(found.candidates) == 1 else f"{len(found.candidates)} criteria"
        lines.append(
            f"Exits were fitted on {fitted:,} texts ({what}) with the model left as it is, {criteria} "
            f"compared and the cut chosen on {chosen:,} others, all reported on {reported:,} others again."
        )
        if question.goal.is_certified and len(found.candidates) > 1:
            confidence = 1 - (1 - (question.goal.confidence or 0)) / len(found.candidates)
            lines.append(
                f"Each criterion is certified with {100 * confidence:.4g} % confidence, so that the best of "
                f"{len(found.candidates)} keeps its {100 * (question.goal.confidence or 0):.4g} %."
            )
    lines += list_times(found)
    lines += [f"Note: {note}." for note in found.notes]
    if found.run is not None:
        lines.append(f"Record: {found.run.folder}")
        given = [p.rule for p in found.run.result().reached.values() if p.chosen_on == "given"]
        if given:
            lines.append(f"Take it home: bench export {found.run.folder} DIR --point={given[0]}")
        lines.append(f"Command: {found.run.record.command}")
    return lines


def list_times(found: Advice) -> list[str]:
    """Return how each batch size was timed, and whether that is valid."""
    lines = []
    for timings in found.timings:
        raw = timings.raw
        state = f"INVALID: {'; '.join(timings.reasons)}" if timings.reasons else "valid"
        lines.append(
            f"Batch {timings.batch_size}: {raw.protocol}, {timings.samples} texts, {len(raw.rounds)} interleaved "
            f"rounds, {raw.threads} thread{'s' if raw.threads != 1 else ''}, {raw.dtype}, {raw.device}, baseline "
            f"'{timings.baseline}', {state}."
        )
        lines += [f"Batch {timings.batch_size}: {note}." for note in timings.notes]
    return lines


def print_advice(found: Advice, out: Any) -> None:
    """Print the verdict first, then the tables, then how it was obtained, and the verdict again, where it is seen."""
    out.print(found.verdict.sentence, soft_wrap=True)
    for doubt in list_doubts(found):
        out.print(f"But: {doubt}.")
    for table in build_advice_tables(found):
        out.print(build_table(table.title, table.columns, table.rows))
        if table.caption:
            out.print(table.caption)
    for line in list_how(found):
        out.print(line)
    out.print()
    out.print(found.verdict.sentence)


def keep_advice(found: Advice) -> None:
    """Write what was advised beside the record of its run, so that `bench show` says it again; nothing without one."""
    if found.run is None:
        return
    given = [point.rule for point in found.run.result().reached.values() if point.chosen_on == "given"]
    ways = build_ways(found) if found.ways else None
    save_advice_note(
        found.run,
        AdviceNote(
            created=found.run.head.created,
            verdict=found.verdict.sentence,
            point=given[0] if given else None,
            columns=tuple(ways.columns) if ways else (),
            ways=tuple(tuple(map(str, row)) for row in ways.rows) if ways else (),
            notes=(*((ways.caption,) if ways else ()), *list_times(found)),
        ),
    )


def build_advice_chart(found: Advice) -> Chart | None:
    """Build the chart of every way that ran: how much faster, and how many answers change; None without any."""
    ways = [way for way in found.ways if 1 in way.speedup and way.changed is not None]
    if not ways:
        return None
    looks, regression = assign_looks([way.name for way in ways], []), is_regression(found)
    scale = 1 if regression else 100
    marks: list[Mark] = []
    for way in ways:
        ratio, changed = way.speedup[1], way.changed
        assert changed is not None
        said = format_change(changed.estimate, regression)
        said = f"answers move by {said} on average" if regression else f"{said} of answers change"
        tip = f"{way.name}\n{format_gain(ratio)}\n{said}"
        marks.append(Whisker(way.name, looks[way.name], ratio.estimate, scale * changed.low, scale * changed.high))
        marks.append(Point(way.name, looks[way.name], ratio.estimate, scale * changed.estimate, tip))
    highest = [scale * way.changed.high for way in ways if way.changed is not None]
    x = Axis("speed-up at batch 1", *pad_range([1.0, *(way.speedup[1].estimate for way in ways)]))
    y = Axis("answers move by" if regression else "answers that change, %", *pad_range([0.0, *highest]))
    if found.question.goal.is_certified:
        level = scale * found.question.goal.value
        marks += draw_goal(level, x, y, marks)
    legend = [Key(way.name, way.name, looks[way.name]) for way in ways]
    interval = "bootstrap" if regression else "Wilson"
    words = (
        f"Ways to be faster than the model itself: to the right is faster, further down is truer ({interval}, 95 %)."
    )
    source = f"{write_from_here(found.question.model)}, {found.samples[2]:,} reported texts."
    return Chart("What each way gives and costs", "advise", words, source, x, y, marks, legend)


def draw_goal(level: float, x: Axis, y: Axis, marks: Sequence[Mark]) -> list[Reference]:
    """Draw the line of what may change across the chart, its label where the most room is between marks beside it."""
    room = y.span / 8  # of a label, on either side of the line
    near = {m.x for m in marks if isinstance(m, Whisker) and m.low <= level + room and m.high >= level - room}
    left, right = max(pairwise(sorted({x.low, *near, x.high})), key=lambda gap: gap[1] - gap[0])
    here = right if right > (x.low + x.high) / 2 else left  # a label stands towards the middle of its line's end
    line = Reference((x.low, level), (here, level), "goal")
    return [line] if here == x.high else [line, Reference((here, level), (x.high, level), "")]


def write_advice(found: Advice, folder: Path) -> list[Path]:
    """Write the page, the JSON and the figure; return the files."""
    chart, plain = build_advice_chart(found), make_plain_advice(found)
    page = make_environment().get_template("advise.html.j2")
    text = page.render(
        model=Path(found.question.model).name,
        sentence=found.verdict.sentence,
        doubts=list_doubts(found),
        chart=chart,
        tables=build_advice_tables(found),
        how=list_how(found),
    )
    files = [folder / "advise.html", folder / "advise.json"]
    write_text(files[0], f"{text}\n")
    write_json(files[1], plain)
    if chart is not None:
        rows = [
            {"way": way.name, "speedup": way.speedup[1].estimate, "changed": way.changed and way.changed.estimate}
            for way in found.ways
            if 1 in way.speedup
        ]
        files += save_figure(Figure("advise", f"{found.verdict.sentence} {chart.caption}", rows, [chart]), folder)
    return files


def make_plain_advice(found: Advice) -> dict[str, Any]:
    """Return the advice as plain JSON values; the raw times stay out."""
    question = asdict(found.question)
    question |= {name: write_from_here(question[name]) for name in ("model", "data", "train") if question[name]}
    candidates = [
        {
            "criterion": one.name,
            "threshold": one.threshold if math.isfinite(one.cut) else None,
            "promised": None if one.chosen is None else asdict(one.chosen),
            "reason": one.reason or None,
            "exit_counts": np.bincount(one.layers, minlength=len(found.times.rounds) + 1)[1:].tolist(),
        }
        for one in found.candidates
    ]
    timings = [
        {"batch_size": t.batch_size, "samples": t.samples, "baseline": t.baseline, "protocol": t.raw.protocol,
         "threads": t.raw.threads, "device": t.raw.device, "rounds": len(t.raw.rounds), "reasons": list(t.reasons),
         "notes": list(t.notes), "ways": {name: asdict(row) for name, row in t.rows.items()}}
        for t in found.timings
    ]  # fmt: skip
    return {
        "verdict": found.verdict.sentence,
        "pays": found.verdict.pays,
        "doubts": list_doubts(found),
        "question": question,
        "samples": dict(zip(("fitted", "chosen", "reported"), found.samples, strict=True)),
        "metric": found.metric,
        "ceiling": {"plain_ms": found.times.plain_ms, "speedups": [asdict(one) for one in found.times.speedups]},
        "oracles": None if found.oracles is None else asdict(found.oracles),
        "per_exit": list(found.per_exit),
        "criteria": candidates,
        "ways": [asdict(way) for way in found.ways],
        "classes": None if found.balance is None else asdict(found.balance),
        "groups": [asdict(one) for one in found.groups],
        "timings": timings,
        "notes": list(found.notes),
        "record": None if found.run is None else str(found.run.folder),
        "command": None if found.run is None else found.run.record.command,
    }

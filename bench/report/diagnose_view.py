"""A diagnosis as tables on a terminal and in Markdown, and as files: JSON, CSV and the figure of a shift."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.files import write_json, write_text
from bench.report import numbers
from bench.report.figures import Figure, save_figure
from bench.report.formats import TextTable, format_csv, format_markdown
from bench.report.marks import Axis, Chart, Key, Line, Mark, Reference, pad_range
from bench.report.style import Look
from bench.results.groups import OverSeeds
from bench.text import build_table, escape_markdown

Found = Mapping[str, Any]

EXITS_NOTE = (
    "AUROC: how well max p, or the criterion's own score, tells this exit's right answers from its wrong ones (1: "
    "perfectly, 0.5: not at all), with DeLong's interval. ECE: of max p, 15 bins. Inversion: share of pairs of samples "
    "in which the harder one is the surer one, ties half (0: none, 0.5: at random); a sample is as hard as the first "
    "exit from which on every exit is right."
)
CONSISTENCY_NOTE = "Agreement: the answer at the exit taken is the last exit's. Wilson's 95 % intervals."
SLOWDOWN_NOTE = (
    "{samples} samples, {edits} changes of words each (two words swapped, two letters exchanged, a word dropped). "
    "Random: any. Targeted: for each change the best of {candidates} and of none, judged by the exit alone. Intervals: "
    "paired bootstrap over samples, 95 %; accuracy takes the labels as unchanged."
)
SHIFT_NOTE = "Thresholds as chosen for the run's own task. Speed-up: FLOPs, over all layers of the same model."


def build_tables(found: Found) -> list[TextTable]:
    """Build every table that there is something for."""
    made = [_build_exits(found), _build_consistency(found)]
    made += [_build_slowdown(found["slowdown"])] if found["slowdown"] else []
    made += [_build_shift(found["shift"])] if found["shift"] else []
    return made


def format_finding(value: Found | None, sign: str = "") -> str:
    """Return ``0.912 [0.890, 0.930]``."""
    if value is None:
        return numbers.MISSING
    texts = [f"{value[k]:{sign}.3f}".replace("-", "−") for k in ("estimate", "low", "high")]
    return f"{texts[0]} [{texts[1]}, {texts[2]}]"


def _build_exits(found: Found) -> TextTable:
    columns = ["exit", "accuracy", "ECE", "AUROC max p", "AUROC own score", "inversion max p", "inversion own score"]
    number = numbers.format_number
    rows = [
        [str(row["exit"]), format_finding(row["accuracy"]), number(row["ece"]), format_finding(row["auroc_max_p"]),
         format_finding(row["auroc_own"]), number(row["inversion_max_p"]), number(row["inversion_own"])]
        for row in found["exits"]
    ]  # fmt: skip
    title = f"Does an exit know when it is right? {found['run']}, {found['split']}, n = {found['samples']}"
    return TextTable("exits", title, columns, rows, EXITS_NOTE)


def _build_consistency(found: Found) -> TextTable:
    columns = ["point", "threshold", "mean exit", "agreement with all layers"]
    rows = [
        [numbers.format_rule(row["point"]), numbers.format_threshold(row["threshold"]), f"{row['mean_exit']:.2f}",
         format_finding(row["agreement"])]
        for row in found["consistency"]
    ]  # fmt: skip
    flips = found["flips"]
    words = f"{CONSISTENCY_NOTE} Answers change {format_finding(flips['mean'])} times from exit to exit on average; in "
    words += f"{numbers.format_percent(flips['back']['estimate'])} of samples they come back to one that was left."
    return TextTable("consistency", "Is the early answer the late one?", columns, rows, words)


def _build_slowdown(found: Found) -> TextTable:
    columns = ["point", "change", "mean exit", "shift of the mean exit", "FLOPs, times", "later / earlier",
               "other answer", "change in accuracy"]  # fmt: skip
    percent = numbers.format_percent
    rows = [
        [numbers.format_rule(row["point"]), row["change"], f"{row['before']:.2f} → {row['after']:.2f}",
         format_finding(row["difference"], "+"), format_finding(row["cost_ratio"]),
         f"{percent(row['later'])} / {percent(row['earlier'])}", percent(row["other"]),
         format_finding(row["right"], "+")]
        for row in found["rows"]
    ]  # fmt: skip
    return TextTable("slowdown", "Can small changes slow it down?", columns, rows, SLOWDOWN_NOTE.format(**found))


def _build_shift(found: Found) -> TextTable:
    columns = ["point", "threshold", "texts", "accuracy", "all layers", "mean exit", "FLOPs speed-up"]
    full = {texts: values["accuracy"]["value"] for texts, values in found["full"].items()}
    rows = [
        [numbers.format_rule(row["point"]), numbers.format_threshold(row["threshold"]), row["texts"],
         numbers.format_quality(OverSeeds(**row["metrics"]["accuracy"])), numbers.format_number(full[row["texts"]]),
         f"{row['mean_layer']:.2f}", numbers.format_times(OverSeeds(**row["cost_speedup"]))]
        for row in found["points"]
    ]  # fmt: skip
    words = " ".join([SHIFT_NOTE, *(f"Warning: {w}" for w in found["warnings"])])
    return TextTable("shift", "The same thresholds on other texts", columns, rows, words)


# --------------------------------------------------------------------------- where it goes


def print_diagnosis(found: Found, out: Any) -> None:
    """Print the tables, with what they mean below each."""
    for table in build_tables(found):
        out.print(build_table(table.title, table.columns, table.rows))
        out.print(table.caption)
    for note in list_notes(found):
        out.print(note)


def list_notes(found: Found) -> list[str]:
    """Return what is doubted of the run, then what else is to be said."""
    return [*(f"{doubt['said']}." for doubt in found["doubts"]), *found["notes"]]


def render_diagnosis(found: Found) -> str:
    """Render the tables as Markdown."""
    return "\n".join(
        [format_markdown(table) for table in build_tables(found)]
        + [f"{escape_markdown(note)}\n" for note in list_notes(found)]
    )


def flatten_row(row: Found) -> dict[str, Any]:
    """Return a flat row for CSV: a nested value is named after both keys, ``agreement_low``; lists are left out."""
    made: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            made |= {f"{name}_{inner}": v for inner, v in flatten_row(value).items() if inner != "level"}
        elif not isinstance(value, list):
            made[name] = value
    return made


def write_diagnosis(found: Found, folder: Path) -> list[Path]:
    """Write diagnosis.json, a CSV for each part, and shift.svg where there is a shift."""
    parts = {"exits": found["exits"], "consistency": found["consistency"]}
    parts |= {"slowdown": found["slowdown"]["rows"]} if found["slowdown"] else {}
    parts |= {"shift-points": found["shift"]["points"]} if found["shift"] else {}
    doubts = "; ".join(doubt["said"] for doubt in found["doubts"]) or None
    written = [folder / "diagnosis.json"]
    write_json(written[0], found, compact=True)
    for name, rows in parts.items():
        written.append(folder / f"{name}.csv")
        write_text(written[-1], format_csv([{**flatten_row(row), "doubts": doubts} for row in rows]))
    if found["shift"]:
        written += save_figure(build_shift_figure(found), folder, ("svg",))
    return written


def build_shift_figure(found: Found) -> Figure:
    """Return the figure of accuracy against FLOPs speed-up on both tasks' texts, and of mean exits at equal thresholds.

    The right chart has a line for how far both would agree.
    """
    shift = found["shift"]
    own, other = shift["texts"]
    words = f"{found['run']} on {own} and {other}: at equal thresholds the curves' points belong together."
    words = " ".join([words, *(f"{doubt['said']}." for doubt in found["doubts"])])
    looks = {own: Look("blue", "o", ""), other: Look("vermillion", "s", "5 2.5")}
    columns = {
        name: {k: [row[k] for row in shift["curve"] if row["texts"] == name]
               for k in ("flops_speedup", "accuracy", "mean_exit")}
        for name in looks
    }  # fmt: skip
    x, y = (
        Axis(label, *pad_range((v for c in columns.values() for v in c[key]), 0.04))
        for key, label in (("flops_speedup", "FLOPs speed-up over all layers"), ("accuracy", "accuracy"))
    )
    lines = [Line(name, looks[name], c["flops_speedup"], c["accuracy"]) for name, c in columns.items()]
    keys = [Key(name, name, look) for name, look in looks.items()]
    quality = Chart("Quality", "Accuracy against FLOPs speed-up", words, "", x, y, lines, keys)
    here, there = columns[own]["mean_exit"], columns[other]["mean_exit"]
    low, high = pad_range([*here, *there], 0.04)
    marks: list[Mark] = [Reference((low, low), (high, high), ""), Line(other, looks[other], here, there)]
    x, y = (Axis(f"mean exit, {name}", low, high) for name in looks)
    exits = Chart("Mean exits", "Mean exits at equal thresholds", words, "", x, y, marks, keys)
    return Figure("shift", words, shift["curve"], [quality, exits], 2.4, 6.8, columns=2)

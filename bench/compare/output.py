"""A comparison as a table, as Markdown for a job summary, as JUnit XML, and as JSON for benchmark trackers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from bench.compare.compare import Comparison
from bench.compare.verdict import VERDICTS, Row
from bench.files import replace_file, write_json, write_text
from bench.results.groups import label_runs
from bench.results.measures import OperatingPoint, Performance
from bench.results.part import Estimate
from bench.results.run import Run
from bench.text import FittedTable, build_table, escape_markdown, quote_markdown, show_hidden

MARKS = {"worse": "🔴", "inconclusive": "🟡", "not comparable": "⚪", "better": "🟢", "same": "✔"}


def write_headline(comparison: Comparison) -> str:
    """Return ``2 worse, 1 better, 30 same`` or that nothing could be compared."""
    said = ", ".join(f"{n} {verdict}" for verdict, n in comparison.counts.items() if n)
    return said if comparison.compared else f"Nothing could be compared ({said or 'no cells at all'})"


def explain_nothing(comparison: Comparison) -> str:
    """Return the reasons for a comparison without a single comparable number, in one line."""
    reasons = list(dict.fromkeys(f"{row.cell}: {row.reason}" for row in comparison.rows))
    more = f"; and {len(reasons) - 3} more" if len(reasons) > 3 else ""
    return "Nothing could be compared. " + "; ".join(reasons[:3]) + more + "."


def format_value(row: Row, value: float | None) -> str:
    """Return a base or candidate value in the metric's usual form."""
    if value is None:
        return ""
    return f"{value:,.0f}" if row.metric.startswith(("FLOPs", "samples")) else f"{value:.4g}"


def format_sides(row: Row) -> tuple[str, str]:
    """Return the values of base and candidate in the metric's usual form."""
    return format_value(row, row.base), format_value(row, row.candidate)


def pick_rows(comparison: Comparison, everything: bool) -> list[Row]:
    """Return the rows in the order of interest; without ``everything`` only those that are not the same."""
    ordered = sorted(comparison.rows, key=lambda row: VERDICTS.index(row.verdict))
    return [row for row in ordered if everything or row.verdict != "same"]


def make_table(comparison: Comparison, everything: bool = False) -> FittedTable:
    """Make the table of a comparison for a terminal."""
    rows = [
        (row.verdict, comparison.mark_cell(row), row.name, *format_sides(row), row.reason)
        for row in pick_rows(comparison, everything)
    ]
    columns, right = ("verdict", "cell", "what", "base", "candidate", "why"), ("base", "candidate")
    return build_table(f"{comparison.base} -> {comparison.candidate}", columns, rows, right)


def write_markdown(comparison: Comparison) -> str:
    """Write the comparison for a job summary: the verdict first, what changed in a table, the rest folded away."""
    lines = [
        f"## ExitBench: {write_headline(comparison)}",
        "",
        f"{quote_markdown(comparison.base)} → {quote_markdown(comparison.candidate)}",
        "",
    ]
    if not comparison.compared:
        lines += [escape_markdown(explain_nothing(comparison)), ""]
    lines += _write_rows(comparison, pick_rows(comparison, everything=False))
    same = [row for row in comparison.rows if row.verdict == "same"]
    if same:
        lines += [
            "",
            f"<details><summary>{len(same)} the same</summary>",
            "",
            *_write_rows(comparison, same),
            "",
            "</details>",
        ]
    for cell, notes in comparison.notes.items():
        lines += ["", escape_markdown(f"{cell}: {'; '.join(notes)}.")]
    for sentence in comparison.describe_doubts():
        lines += ["", escape_markdown(sentence)]
    margins = comparison.margins
    lines += [
        "",
        f"Quality: paired tests on the same samples (exact McNemar for accuracy, else bootstrap), Holm over cells, "
        f"worse only if significant at {margins.alpha:g} and beyond {100 * margins.quality:g} points. FLOPs and exits: "
        f"exact, {100 * margins.cost:g} % at operating points. Latency: same machine and protocol only, "
        f"{100 * margins.latency:g} %.",
    ]
    return "\n".join(lines) + "\n"


def _write_rows(comparison: Comparison, rows: Sequence[Row]) -> list[str]:
    if not rows:
        return []
    lines = ["| verdict | cell | what | base | candidate | why |", "|---|---|---|---:|---:|---|"]
    for row in rows:
        fields = [f"{MARKS[row.verdict]} {row.verdict}", comparison.mark_cell(row), row.name]
        fields += [*format_sides(row), row.reason]
        lines.append("| " + " | ".join(map(escape_markdown, fields)) + " |")
    return lines


def write_junit(comparison: Comparison, fail_on: Sequence[str]) -> bytes:
    """Write JUnit XML: a test case a row; verdicts of ``fail_on`` fail, what is not comparable is skipped."""
    rows = comparison.rows
    failed = [row for row in rows if row.verdict in fail_on]
    skipped = [row for row in rows if row.verdict == "not comparable" and row.verdict not in fail_on]
    counts = {"tests": str(len(rows)), "failures": str(len(failed)), "skipped": str(len(skipped)), "errors": "0"}
    suites = ElementTree.Element("testsuites", counts)
    suite = ElementTree.SubElement(suites, "testsuite", {"name": "bench compare", **counts})
    for row in rows:
        name = f"{row.name} ({row.split})" if row.split else row.name
        case = ElementTree.SubElement(
            suite, "testcase", {"classname": show_hidden(row.cell), "name": show_hidden(name)}
        )
        reason = show_hidden(row.reason)
        if row in failed:
            ElementTree.SubElement(case, "failure", {"message": f"{row.verdict}: {reason}", "type": row.verdict})
        elif row in skipped:
            ElementTree.SubElement(case, "skipped", {"message": reason})
        else:
            ElementTree.SubElement(case, "system-out").text = f"{row.verdict}: {reason}"
    if comparison.doubts:
        ElementTree.SubElement(suite, "system-out").text = show_hidden("\n".join(comparison.describe_doubts()))
    return bytes(ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True))


def make_tracker(runs: Sequence[Run], bigger: bool) -> list[dict[str, Any]]:
    """Return what github-action-benchmark reads: quality and speed-ups (customBiggerIsBetter), else FLOPs and times.

    ``range`` is half the width of the 95 % interval where there is one, ``extra`` what is doubted of the number.
    """
    entries: list[dict[str, Any]] = []
    for run, label in label_runs([run for run in runs if run.is_finished()]).items():
        timing = run.timing_notes if bigger else run.milliseconds_notes
        for split, result in run.record.evaluation.items():
            doubts = run.find_doubts(split)
            for rule, point in result.performances.items():
                said = [f"{doubt.said}." for doubt in doubts if not doubt.rules or rule in doubt.rules]
                for entry in _track_point(f"{label} | {split} | {rule}", point, bigger):
                    extra = [*said, *timing] if " | latency" in entry["name"] else said
                    entries.append({**entry, "extra": " ".join(extra)} if extra else entry)
    return entries


def _track_point(where: str, point: Performance, bigger: bool) -> list[dict[str, Any]]:
    timed = point.latency if isinstance(point, OperatingPoint) else None
    if not bigger:
        costs = [{"name": f"{where} | {point.cost_unit} per sample", "unit": point.cost_unit, "value": point.cost_mean}]
        return costs + ([{"name": f"{where} | latency", "unit": "ms", "value": timed.mean_ms}] if timed else [])
    values: dict[str, tuple[str, Estimate]] = {name: ("fraction", value) for name, value in point.metrics.items()}
    values[f"{point.cost_unit} speed-up"] = ("x", point.cost_speedup)
    if timed:
        values["latency speed-up"] = ("x", timed.speedup)
    return [
        {"name": f"{where} | {name}", "unit": unit, "value": of.value, "range": f"± {(of.high - of.low) / 2:.4g}"}
        for name, (unit, of) in values.items()
    ]


def write_files(
    comparison: Comparison,
    candidate: Sequence[Run],
    fail_on: Sequence[str],
    markdown_file: Path | None = None,
    junit_file: Path | None = None,
    tracker_file: Path | None = None,
    costs_file: Path | None = None,
) -> None:
    """Write whichever files were asked for. Markdown is appended to what a job summary already holds."""
    if markdown_file is not None:
        before = markdown_file.read_text(encoding="utf-8") if markdown_file.exists() else ""
        write_text(markdown_file, before + write_markdown(comparison))
    if junit_file is not None:
        with replace_file(junit_file) as temporary:
            temporary.write_bytes(write_junit(comparison, fail_on))
    for path, bigger in ((tracker_file, True), (costs_file, False)):
        if path is not None:
            write_json(path, make_tracker(candidate, bigger))

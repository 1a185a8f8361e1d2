"""Tables as Markdown, LaTeX (booktabs) and CSV; the page draws the same ones."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.measure.areas import DEFINITIONS
from bench.report import content, numbers
from bench.report.content import Row, metric_name
from bench.report.data import StoreData
from bench.report.provenance import Mark, machine_of, provenance_key
from bench.report.series import Panel, Series

AREA_NAMES = {
    "area": "area",
    "hypervolume": "hypervolume",
    "speedup_no_loss": "speed-up, no loss",
    "speedup_minus_1": "speed-up, −1 point",
    "quality_2x": "best at 2×",
    "quality_3x": "best at 3×",
    "elue": "ELUE-style",
}


@dataclass(frozen=True)
class Table:
    """A table: ``rows`` are formatted cells, ``values`` the numbers behind them under full names, for CSV."""

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str
    values: Sequence[Row]


def points_tables(panels: Sequence[Panel], marks: Mapping[str, Mark]) -> list[Table]:
    """Operating points, a table a panel."""
    return [_points_table(panel, marks) for panel in panels]


def _points_table(panel: Panel, marks: Mapping[str, Mark]) -> Table:
    metric = panel.metric
    columns = [
        "strategy",
        "point",
        "threshold",
        metric_name(metric),
        "mean exit",
        "FLOPs speed-up",
        "measured speed-up",
    ]
    rows: list[list[str]] = []
    values: list[Row] = []
    speedups = {id(star.series): star.speedup for star in content.stars(panel)}
    for series in panel.series:
        label = series.label + (" (upper bound)" if series.upper_bound else "")
        label += mark_of(series, marks)
        full, layers = series.full(metric), series.first.view.layers
        alone = speedups.get(id(series))
        flops = numbers.MISSING if alone is None else f"{alone:.2f}×"
        rows.append([label, "all layers", numbers.MISSING, numbers.quality(full), f"{layers}", flops, numbers.MISSING])
        values.append(_value_row(panel, series, "all layers", full, {"flops_speedup": alone, "mean_exit": layers}))
        for rule in series.rules:
            point = series.point(rule, metric)
            if point is None:
                rows.append([label, numbers.rule(rule), "not reached", *[numbers.MISSING] * 4])
                values.append(_value_row(panel, series, rule, None, {"reason": series.reason(rule)}))
                continue
            rows.append([label, *_point_cells(point, rule)])
            values.append(_value_row(panel, series, rule, point["quality"], _numbers_of(point)))
    words = f"{metric_name(metric)} with 95 % intervals on {panel.title}. {content.caption(panel)}"
    letters = {m.letter for m in _marks_of(panel, marks)}
    if len(marks) > 1 and letters:
        words += " Marks in brackets: code revision (" + ", ".join(sorted(letters)) + "), see the provenance."
    return Table(f"points-{panel.slug}", panel.title, columns, rows, words, values)


def _point_cells(point: Mapping[str, Any], rule: str) -> list[str]:
    reached = "" if point["reached"] == point["seeds"] else f" ({point['reached']} of {point['seeds']} seeds)"
    given = "" if point["chosen_on"] in ("select", "given", "default") else f" (on {point['chosen_on']})"
    thresholds = [numbers.threshold(t) for t in point["thresholds"]]
    measured = numbers.times(point["latency"]) + ("" if point.get("valid", True) else " INVALID")
    return [
        numbers.rule(rule) + reached + given,
        ", ".join(thresholds),
        numbers.quality(point["quality"]),
        f"{point['mean_layer']:.2f}",
        numbers.times(point["speedup"]),
        measured,
    ]


def _numbers_of(point: Mapping[str, Any]) -> Row:
    latency = point["latency"] or {}
    return {
        "threshold": point["thresholds"][0] if len(point["thresholds"]) == 1 else None,
        "thresholds_chosen_on": point["chosen_on"],
        "mean_exit": point["mean_layer"],
        "flops_speedup": point["speedup"]["value"],
        "flops_speedup_low": point["speedup"]["low"],
        "flops_speedup_high": point["speedup"]["high"],
        "measured_speedup": latency.get("value"),
        "measured_speedup_low": latency.get("low"),
        "measured_speedup_high": latency.get("high"),
        "realisation": point.get("realisation"),
        "latency_valid": point.get("valid"),
        "machine": point.get("machine"),
    }


VALUE_COLUMNS = (
    "task", "split", "backbone", "panel", "strategy", "series", "seeds", "samples", "point", "metric", "value", "low",
    "high", "threshold", "thresholds_chosen_on", "mean_exit", "flops_speedup", "flops_speedup_low",
    "flops_speedup_high", "measured_speedup", "measured_speedup_low", "measured_speedup_high", "realisation",
    "latency_valid", "machine", "reason",
)  # fmt: skip


def _value_row(panel: Panel, series: Series, rule: str, quality: Mapping[str, Any] | None, more: Row) -> Row:
    found: Row = dict.fromkeys(VALUE_COLUMNS)
    found |= {"task": panel.task, "split": panel.split, "backbone": panel.backbone, "panel": panel.title}
    found |= {"strategy": series.strategy, "series": series.label, "seeds": content.seeds(series)}
    found |= {"samples": panel.samples, "point": rule, "metric": panel.metric, **(quality or {}), **more}
    return found


def curves_table(panels: Sequence[Panel]) -> Table:
    """One number for a whole curve, several ways."""
    columns = ["task", "strategy", *AREA_NAMES.values()]
    rows: list[list[str]] = []
    values: list[Row] = []
    for panel in panels:
        for found in content.curve_summaries(panel):
            bound = " (upper bound)" if found["upper_bound"] else ""
            cells = [numbers.number(found[k]) if k not in _FACTORS else _factor(found[k]) for k in AREA_NAMES]
            rows.append([panel.title, found["series"] + bound, *cells])
            values.append({"panel": panel.title, **found})
    words = "Whole curves on the reported split, thresholds picked on it: they compare curves and promise nothing. "
    words += " ".join(f"{AREA_NAMES[k]}: {DEFINITIONS[k]}." for k in AREA_NAMES)
    words += " The reference of the ELUE-style score is every exit of the same model alone, at cost k / L."
    return Table("curves", "Curves in one number", columns, rows, words, values)


_FACTORS = ("speedup_no_loss", "speedup_minus_1")


def _factor(value: float | None) -> str:
    return numbers.MISSING if value is None else f"{value:.2f}×"


def cells_table(data: StoreData, marks: Mapping[str, Mark]) -> Table:
    """Every cell with its status and the exact command behind it."""
    columns = ["cell", "status", "code", "machine", "created", "command"]
    rows, values = [], []
    for view in data.cells:
        mark = marks[provenance_key(view)].letter
        machine, created = machine_of(view), str(view.record.get("created", ""))
        status = view.status + (", latency INVALID" if view.latency_problem else "")
        rows.append([view.name, status, mark, machine, created, view.command])
        values.append(dict(zip(columns, rows[-1], strict=True)) | {"error": view.error})
    rows += [[name, "damaged", numbers.MISSING, numbers.MISSING, numbers.MISSING, why] for name, why in data.damaged]
    return Table("cells", "Cells", columns, rows, "Every cell of the store and the command that made it.", values)


def mark_of(series: Series, marks: Mapping[str, Mark]) -> str:
    """`` [a,b]`` where the store has results of several code revisions, else nothing."""
    if len(marks) < 2:
        return ""
    found = sorted({marks[provenance_key(r.view)].letter for r in series.results})
    return f" [{','.join(found)}]"


def _marks_of(panel: Panel, marks: Mapping[str, Mark]) -> list[Mark]:
    return [marks[provenance_key(r.view)] for r in panel.results]


# --------------------------------------------------------------------------- formats


def to_csv(rows: Sequence[Row]) -> str:
    """RFC 4180 with a header of the keys of all rows; numbers in full, None empty.

    Text that a spreadsheet would take for a formula gets an apostrophe in front.
    """
    columns = list(dict.fromkeys(k for row in rows for k in row))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_csv_cell(row.get(k)) for k in columns])
    return out.getvalue()


def _csv_cell(value: object) -> object:
    if (
        isinstance(value, str)
        and value[:1] in ("=", "+", "-", "@", "\t", "\r")
        and not re.fullmatch(r"-?[\d.]+", value)
    ):
        return "'" + value
    return value


def to_markdown(table: Table) -> str:
    """A heading, the table, its caption; cells cannot break out of it."""
    lines = [f"### {md(table.title)}", ""]
    if table.rows:
        lines.append("| " + " | ".join(md(c) for c in table.columns) + " |")
        lines.append("|" + " --- |" * len(table.columns))
        lines += ["| " + " | ".join(md(c) for c in row) + " |" for row in table.rows]
    else:
        lines.append("Nothing to show.")
    return "\n".join([*lines, "", md(table.caption), ""])


def md(text: str) -> str:
    """Text for Markdown: nothing in it is markup, HTML or the end of a cell."""
    flat = " ".join(text.split())
    safe = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]()#+!|~$])", r"\\\1", safe)


LONGEST = 60  # letters of a cell in print; the CSV has all of them
LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "×": r"$\times$", "−": r"$-$", "–": "--", "“": "``", "”": "''",
    "·": r"$\cdot$", "…": r"\ldots{}", "'": r"\textquotesingle{}", "`": r"\textasciigrave{}",
}  # fmt: skip


def tex(text: str) -> str:
    """Text for LaTeX with any engine: what ASCII cannot say is named by its code point."""
    flat = " ".join(text.split())
    made = []
    for c in flat:
        if c in LATEX:
            made.append(LATEX[c])
        else:
            made.append(c if " " <= c < "\x7f" else rf"{{\footnotesize U+{ord(c):04X}}}")
    return re.sub(r"-(?=-)", "-{}", "".join(made)) if "--" in flat else "".join(made)


def to_latex(table: Table) -> str:
    r"""A booktabs table of its own float, no wider than the text; needs \usepackage{booktabs,graphicx,textcomp}."""
    columns = "l" * len(table.columns)
    lines = [r"\begin{table}", r"\centering\scriptsize\setlength{\tabcolsep}{3pt}"]
    lines += [r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"]
    lines += [rf"\begin{{tabular}}{{@{{}}{columns}@{{}}}}", r"\toprule"]
    lines += [" & ".join(tex(c) for c in table.columns) + r" \\", r"\midrule"]
    for before, row in zip([None, *table.rows], table.rows, strict=False):
        if before is not None and before[0] != row[0]:
            lines.append(r"\addlinespace")
        shown = ["" if i == 0 and before is not None and before[0] == c else c for i, c in enumerate(row)]
        lines.append(" & ".join(tex(c if len(c) <= LONGEST else c[: LONGEST - 1] + "…") for c in shown) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}}", rf"\caption{{{tex(table.caption)}}}"]
    return "\n".join([*lines, rf"\label{{tab:{table.name}}}", r"\end{table}", ""])

"""Tables as Markdown, LaTeX (booktabs) and CSV; whatever is in them stays text."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.text import escape_latex, escape_markdown, guard_csv, write_markdown_table

DataRow = dict[str, Any]


@dataclass(frozen=True)
class TextTable:
    """A table: ``rows`` are formatted cells, ``values`` the numbers behind them under full names, for CSV."""

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str
    values: Sequence[DataRow] = ()


def format_csv(rows: Sequence[DataRow]) -> str:
    """Return RFC 4180 text with a header of the keys of all rows; numbers in full, None empty.

    Text that a spreadsheet would take for a formula gets an apostrophe in front.
    """
    columns = list(dict.fromkeys(k for row in rows for k in row))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([guard_csv(k) for k in columns])
    for row in rows:
        writer.writerow([guard_csv(row.get(k)) for k in columns])
    return out.getvalue()


def format_markdown(table: TextTable) -> str:
    """Return a heading, the table, its caption; cells cannot break out of it."""
    shown = write_markdown_table(table.columns, table.rows) if table.rows else ["Nothing to show."]
    return "\n".join([f"### {escape_markdown(table.title)}", "", *shown, "", escape_markdown(table.caption), ""])


CELL_LENGTH = 60  # letters of a cell in print; the CSV has all of them


def format_latex(table: TextTable) -> str:
    r"""Return a booktabs table that floats, no wider than the text; needs \usepackage{booktabs,graphicx,textcomp}."""
    columns = "l" * len(table.columns)
    lines = [r"\begin{table}", r"\centering\scriptsize\setlength{\tabcolsep}{3pt}"]
    lines += [r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"]
    lines += [rf"\begin{{tabular}}{{@{{}}{columns}@{{}}}}", r"\toprule"]
    lines += [_write_row(table.columns), r"\midrule"]
    grouped = len({row[0] for row in table.rows}) < len(table.rows)
    for before, row in zip([None, *table.rows], table.rows, strict=False):
        if grouped and before is not None and before[0] != row[0]:
            lines.append(r"\addlinespace")
        shown = ["" if i == 0 and before is not None and before[0] == c else c for i, c in enumerate(row)]
        lines.append(_write_row([c if len(c) <= CELL_LENGTH else c[: CELL_LENGTH - 1] + "…" for c in shown]))
    lines += [r"\bottomrule", r"\end{tabular}}", rf"\caption{{{escape_latex(table.caption)}}}"]
    return "\n".join([*lines, rf"\label{{tab:{table.name}}}", r"\end{table}", ""])


def _write_row(cells: Sequence[str]) -> str:
    r"""Return a row; a first cell such as [0.8, 0.9] must not be taken for an option of the \\ before it."""
    written = [escape_latex(cell) for cell in cells]
    written[0] = f"{{}}{written[0]}" if written[0].startswith(("[", "*")) else written[0]
    return " & ".join(written) + r" \\"

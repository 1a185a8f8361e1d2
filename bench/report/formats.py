"""Tables as Markdown, LaTeX (booktabs) and CSV; whatever is in them stays text."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """A table: ``rows`` are formatted cells, ``values`` the numbers behind them under full names, for CSV."""

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str
    values: Sequence[Row]


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

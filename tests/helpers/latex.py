r"""What would keep LaTeX from compiling a table of ours: braces, environments, cells a row, characters that act."""

from __future__ import annotations

import re

TOKEN = re.compile(r"\\[A-Za-z]+|\\.|[{}$&#_^~]|\n|[^\\{}$&#_^~\n]+", re.DOTALL)
TABULAR = re.compile(r"\\begin\{tabular\}\{@\{\}([lcr]+)@\{\}\}(.*?)\\end\{tabular\}", re.DOTALL)
KNOWN = set(
    "begin end centering scriptsize footnotesize setlength tabcolsep resizebox ifdim width linewidth else fi toprule "
    "midrule bottomrule addlinespace caption label times pm cdot ldots textbackslash textasciitilde "
    "textasciicircum textless textgreater textbar textquotedbl textquotesingle textasciigrave".split()
)
TAKES_OPTION = re.compile(r"(?:\\\\|\\(?:toprule|midrule|bottomrule|addlinespace))\s*([\[*])")
"""What would be read as an argument of the command before it, though it begins a cell."""


def find_latex_faults(text: str) -> list[str]:
    """Return a line for each fault; nothing where the text can be compiled with booktabs, graphicx and textcomp."""
    plain = re.sub(r"(?<!\\)%[^\n]*\n", "", text)
    faults = [f"{plain.count(mark)} of {mark!r}" for mark in ("\t", "\r") if mark in plain]
    faults += [f"not ASCII: {mark!r}" for mark in sorted(set(plain)) if not mark.isascii()]
    faults += [f"taken for an option: {found[0]!r}" for found in TAKES_OPTION.finditer(plain)]
    depth, formula = 0, False
    for found in TOKEN.finditer(plain):
        token = found[0]
        depth += {"{": 1, "}": -1}.get(token, 0)
        formula ^= token == "$"
        if depth < 0:
            return [*faults, f"a brace too many at {plain[: found.end()][-40:]!r}"]
        if token in ("#", "_", "^", "~"):
            faults.append(f"{token!r} acts at {plain[: found.end()][-40:]!r}")
        if re.fullmatch(r"\\[A-Za-z]+", token) and token[1:] not in KNOWN:
            faults.append(f"unknown command {token}")
        if formula and token in ("&", "\n", "\\\\"):
            faults.append(f"a formula goes on after {plain[: found.end()][-40:]!r}")
    faults += [f"{depth} braces stay open"] * bool(depth) + ["a formula stays open"] * formula
    open_ones: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", plain):
        if kind == "begin":
            open_ones.append(name)
        elif not open_ones or open_ones.pop() != name:
            faults.append(f"{name} ends where it was not begun")
    faults += [f"{name} stays open" for name in open_ones]
    for columns, body in TABULAR.findall(plain):
        inner = re.sub(r"\\(?:toprule|midrule|bottomrule|addlinespace)\b", "", body)
        *rows, rest = re.split(r"(?<!\\)\\\\", inner)
        faults += [f"text after the last row: {rest.strip()!r}"] if rest.strip() else []
        counts = [len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows]
        faults += [f"{n} cells in {row.strip()!r}" for n, row in zip(counts, rows, strict=True) if n != len(columns)]
    return faults

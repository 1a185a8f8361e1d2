"""Hostile text through every view, LaTeX that compiles, figures that open."""

from __future__ import annotations

import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from bench.progress import Progress
from bench.report import figures
from bench.report.charts import build_charts
from bench.report.formats import TextTable, format_csv, format_latex, format_markdown
from bench.report.marks import round_ticks
from bench.report.plots.collection import build_panel_figures
from bench.report.provenance import find_revisions
from bench.report.series import make_panels
from bench.report.tables import build_points_table
from bench.report.write import write_report
from bench.results.store import Store
from tests.helpers.latex import find_latex_faults
from tests.helpers.pages import HOSTILE, Reader
from tests.helpers.report_store import make_cell, varied_store

NAMES = {k: v.replace("\ud800", "").replace("/", "∕") for k, v in HOSTILE.items()}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which every text that can come from outside is an attack."""
    store = tmp_path_factory.mktemp("hostile")
    for name, text in NAMES.items():
        for i, strategy in enumerate((text, "entropy")):
            make_cell(store, strategy, f"task {text}", f"backbone {text}", i, criterion={"window": text},
                      labels=(text, "b"), ids=(text,), warnings=[text], command=f"bench run {text}",
                      latency="invalid", samples=30, place=f"t-{name}/b/c{i}")  # fmt: skip
        make_cell(store, "deebert", text, status="error", error=text, place=f"t-{name}/b/failed")
    return store


@pytest.fixture(scope="module")
def written(hostile: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    write_report(hostile, out, ["html", "md", "latex", "csv", "figures"], Progress(quiet=True))
    return out


def test_nothing_in_the_page_comes_alive(written: Path) -> None:
    page = (written / "report.html").read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(page)
    assert reader.tags.count("script") == 1
    assert "img" not in reader.tags
    allowed = {"onsubmit"}
    assert {name for name, _ in reader.attributes if name.startswith("on")} <= allowed
    assert "<script>alert" not in page
    assert "49 ]]" not in page
    text = "".join(reader.text)
    assert "alert(1)" in text
    assert "مرحبا" in text
    assert "👩" in text


def test_nothing_breaks_out_of_markdown_or_csv(written: Path) -> None:
    text = (written / "report.md").read_text(encoding="utf-8")
    assert "<script" not in text
    assert "<img" not in text
    assert text.index("| strategy |") < text.index("- machine ")  # the numbers first, where they come from last
    for table in text.split("\n\n"):
        rows = [line for line in table.splitlines() if line.startswith("|")]
        widths = {len([1 for i, c in enumerate(row) if c == "|" and row[i - 1] != "\\"]) for row in rows}
        assert len(widths) <= 1
    assert format_csv([{"a": "=cmd()", "b": -1.5, "c": "@x"}]) == "a,b,c\n'=cmd(),-1.5,'@x\n"


def test_figures_open(written: Path) -> None:
    svg, pdf, png = (sorted((written / "figures").glob(f"*.{kind}")) for kind in ("svg", "pdf", "png"))
    assert len(svg) == len(pdf) == len(png) > 5
    for path in svg:
        root = ElementTree.parse(path).getroot()
        assert root.tag.endswith("svg")
        assert path.with_suffix(".csv").exists()
        assert b"<dc:date>" not in path.read_bytes()
    for path in pdf:
        content = path.read_bytes()
        assert content.startswith(b"%PDF-")
        assert content.rstrip().endswith(b"%%EOF")
        assert b"CreationDate" not in content
    for path in png:
        assert path.read_bytes().startswith(b"\x89PNG")


def test_figures_are_a_column_wide_with_legible_letters(tmp_path: Path) -> None:
    [panel, *_] = make_panels(Store(varied_store(tmp_path / "r")).runs()[0])
    figure = next(build_panel_figures(build_charts(panel)))
    paths = figures.save_figure(figure, tmp_path / "f")
    root = ElementTree.parse(paths[0]).getroot()
    assert root.attrib["width"] == f"{figures.COLUMN * 72:g}pt"
    names = ("font.size", "axes.labelsize", "axes.titlesize", "xtick.labelsize", "ytick.labelsize", "legend.fontsize")
    with figures.use_paper_style() as plt:
        assert min(plt.rcParams[name] for name in names) >= 6.5


def test_latex_of_hostile_tables_can_be_compiled(written: Path, tmp_path: Path) -> None:
    tables = (written / "tables.tex").read_text(encoding="utf-8")
    assert tables.count(r"\begin{tabular}") > 1
    assert find_latex_faults(tables) == []
    shutil.copy(written / "tables.tex", tmp_path)
    (tmp_path / "paper.tex").write_text(
        "\\documentclass{article}\\usepackage[T1]{fontenc}\\usepackage{booktabs,graphicx,textcomp}\n"
        "\\begin{document}\\input{tables}\\end{document}\n"
    )
    if shutil.which("pdflatex"):
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-draftmode", "paper.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, errors="replace")
        assert done.returncode == 0, done.stdout[-2000:]


def test_latex_is_booktabs(tmp_path: Path) -> None:
    runs, _ = Store(varied_store(tmp_path)).runs()
    table = build_points_table(make_panels(runs)[0], find_revisions(runs))
    text = format_latex(table)
    assert all(rf"\{rule}" in text for rule in ("toprule", "midrule", "bottomrule"))
    assert "|" not in text
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0]
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert len(rows) == len(table.rows)
    assert {line.count(" & ") for line in rows} == {len(table.columns) - 1}


@pytest.mark.parametrize("text", [*NAMES.values(), "[2cm] x", "*", "a & b", r"\\", "50 % of #1_2^3~", "$x$", "{", "}"])
def test_any_cell_stays_a_cell(text: str) -> None:
    rows = [[text, "1"], [text, text], ["b", text], ["[c]", "-"], [f" {text}", "2"]]
    assert find_latex_faults(format_latex(TextTable("t", text, [text, "n"], rows, text))) == []


FAULTY = {
    r"\begin{tabular}{@{}ll@{}}": r"\begin{tabular}{@{}lll@{}}",
    r"\end{tabular}": "",
    r"a\_b": "a_b",
    r"\caption{": r"\caption{{",
    r"2$\times$": r"2$\times",
    r"{}[0.8, 0.9]": "[0.8, 0.9]",
    "0.7 & 2": "0.7 & & 2",
    r"\midrule": r"\middlerule",
}
"""What makes a table that compiles one that does not."""


@pytest.mark.parametrize("right", FAULTY)
def test_a_table_that_would_not_compile_is_found(right: str) -> None:
    text = format_latex(TextTable("t", "T", ["a_b", "n"], [["0.7", "2×"], ["[0.8, 0.9]", "3"]], "c"))
    assert find_latex_faults(text) == []
    assert right in text
    assert find_latex_faults(text.replace(right, FAULTY[right])) != []


def test_rows_are_set_apart_only_where_some_share_their_first_cell() -> None:
    alike, apart = [["a", "1"], ["a", "2"], ["b", "3"]], [["a", "1"], ["b", "2"]]
    spaces = [
        format_latex(TextTable("t", "T", ["x", "n"], rows, "c")).count(r"\addlinespace") for rows in (alike, apart)
    ]
    assert spaces == [1, 0]


def test_an_empty_table_says_so() -> None:
    assert "Nothing to show." in format_markdown(TextTable("t", "T", ["a"], [], "c"))


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.8731, 0.8732), (1.0, 1.0), (-3.0, 12.0), (0.0, 1e-9)])
def test_ticks_lie_within(low: float, high: float) -> None:
    found = round_ticks(low, high)
    assert 1 <= len(found) <= 12
    assert all(low - 1e-9 <= t <= high + 1e-9 for t in found)

"""An explanation on a terminal, as a page of its own, and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from bench.analysis.explain import Explanation, format_score
from bench.report import numbers
from bench.report.exit_charts import make_exit_axis
from bench.report.figures import Figure, draw_figure, open_canvas, save_canvas
from bench.report.marks import Axis, Chart, Key, Line, Mark, Point, Reference
from bench.report.page import make_environment
from bench.report.style import COLOURS, Look
from bench.text import FittedTable, build_table

HEAT = (213, 94, 0)  # vermillion, of the reports' palette
LINE_LENGTH = 84  # characters of a line of text in a picture
MOST_LINES = 24


def mix_heat(share: float) -> str:
    """Return white to vermillion as #rrggbb, for ``share`` in [0, 1]; dark letters stay legible on all of it."""
    return "#" + "".join(f"{round(255 - (255 - c) * 0.75 * share):02x}" for c in HEAT)


def print_explanation(found: Explanation, out: Any) -> None:
    """Print text with heat, the exits, and where criteria leave on a rich console."""
    answer = f"leaves at exit {found.layer} of {len(found.steps)} as {found.answer}"
    label = "" if found.label is None else f", label {found.label}"
    out.print(
        f"{found.title}: {answer}{label} (point {found.point}, threshold {numbers.format_threshold(found.threshold)})"
    )
    if found.kind:
        out.print(found.kind)
    text = Text()
    for token, share in zip(found.tokens, found.shades, strict=True):
        text.append(token.before)
        text.append(token.text, style="dim" if token.special else f"black on {mix_heat(share)}")
    out.print(text)
    out.print(f"Heat: attention from {found.read_out}, rolled out to exit {found.layer}.")
    table, left = build_steps(found, out.width)
    out.print(table)
    if left:
        out.print(left)
    title = "Where each criterion leaves (others with their defaults, on these exits)"
    points: dict[tuple[str, str, int, str], list[str]] = {}  # points with the same threshold are one row
    for x in found.leavings:
        where = (x.criterion, numbers.format_threshold(x.threshold), x.layer, x.answer)
        points.setdefault(where, []).append(numbers.format_rule(x.point))
    rows = [(name, ", ".join(said), *rest) for (name, *rest), said in points.items()]
    out.print(build_table(title, ("criterion", "point", "threshold", "exit", "answer"), rows))
    for said in filter(None, (found.note, *(f"{doubt.said}." for doubt in found.doubts))):
        out.print(said)


def build_steps(found: Explanation, width: int) -> tuple[Table, str]:
    """Build a table with a row for every exit, a line each, and a sentence on what a terminal has no room for.

    Left out where a line would not fit into ``width`` are the criterion's state, which may be a tensor, then all
    classes but the one that an exit answers.
    """
    title = "Exit by exit"

    def write(every: bool, state: bool) -> FittedTable:
        names = [f"p({name})" for name in found.labels] if every else ["answer", "p(answer)"]
        columns = ["exit", *names, "entropy", "score", *["state"] * state, ""]
        rows = []
        for step in found.steps:
            sure = (
                [f"{p:.3f}" for p in step.probabilities] if every else [step.answer, f"{max(step.probabilities):.3f}"]
            )
            told = [f"{step.entropy:.3f}", format_score(step.score), *[step.state] * state]
            rows.append([str(step.layer), *sure, *told, f"leaves: {step.answer}" if step.leaves else ""])
        return build_table(title, columns, rows, right={*columns} - {"answer", "state", ""})

    held = any(step.state for step in found.steps)
    for every, state in ((True, held), (True, False), (False, False)):
        table = write(every, state)
        if table.measure_width() <= width:
            break
    left = ["the criterion's state"] * (held and not state) + [f"{len(found.labels)} classes"] * (not every)
    return table, f"Not shown here, but by --json: {' and '.join(left)}." if left else ""


def render_explanations(found: Sequence[Explanation], run: str) -> str:
    """Render a self-contained page of one or several explanations."""
    page = make_environment().get_template("explain.html.j2")
    return page.render(found=found, run=run, score=format_score, threshold=numbers.format_threshold) + "\n"


def save_png(found: Explanation, path: Path) -> None:
    """Draw a picture: the text with heat above, class probabilities and entropy over the exits below."""
    lines = wrap_text(found)
    text = 0.22 * len(lines) + 0.3
    steps = Figure(path.stem, "", [], [build_step_chart(found)], 2.2, 6.6)
    width, below = steps.size
    with open_canvas(width, text + below) as fig:
        above, under = fig.subfigures(2, 1, height_ratios=[text, below])
        _draw_text(above.subplots(), lines, found)
        draw_figure(steps, under)
        save_canvas(fig, path, "png")


def wrap_text(found: Explanation) -> list[list[tuple[int, str, float | None]]]:
    """Return lines of pieces: column, text, heat (None for special tokens). Tokens longer than a line are cut."""
    lines: list[list[tuple[int, str, float | None]]] = [[]]
    column = 0
    for token, share in zip(found.tokens, found.shades, strict=True):
        piece = "".join(c if c.isprintable() else "�" for c in token.text)
        piece = piece if len(piece) <= LINE_LENGTH // 2 else piece[: LINE_LENGTH // 2 - 1] + "…"
        column += 1 if token.before and column else 0
        if column + len(piece) > LINE_LENGTH:
            lines.append([])
            column = 0
        lines[-1].append((column, piece, None if token.special else share))
        column += len(piece)
    if len(lines) > MOST_LINES:
        lines = [*lines[:MOST_LINES], [(0, "…", None)]]
    return lines


def _draw_text(ax: Any, lines: Sequence[Sequence[tuple[int, str, float | None]]], found: Explanation) -> None:
    # by hand: no chart has words that lie on their own heat, so that marks know none
    from matplotlib.patches import Rectangle

    ax.set_xlim(0, LINE_LENGTH)
    ax.set_ylim(len(lines), -0.2)
    ax.axis("off")
    for row, line in enumerate(lines):
        for column, piece, share in line:
            if share is not None:
                corner, colour = (column, row + 0.06), mix_heat(share)
                ax.add_patch(Rectangle(corner, len(piece), 0.88, facecolor=colour, edgecolor="none"))
            ax.text(column + len(piece) / 2, row + 0.5, piece, family="DejaVu Sans Mono", fontsize=7, ha="center",
                    va="center", color="#777777" if share is None else "black")  # fmt: skip
    label = "" if found.label is None else f", label: {found.label}"
    said = f"leaves at exit {found.layer} of {len(found.steps)} as {found.answer}{label}"
    marks = ", ".join(doubt.mark for doubt in found.doubts)
    ax.set_title(f"{found.title[:40]}: {said[:70]}" + (f"\nDoubts: {marks}" if marks else ""), loc="left")


def build_step_chart(found: Explanation) -> Chart:
    """Build the chart of class probabilities and entropy over the exits, with a line where the sample leaves."""
    layers = [step.layer for step in found.steps]
    marks: list[Mark] = []
    keys = []
    for c, (name, colour) in enumerate(zip(found.labels, COLOURS, strict=False)):
        look, values = Look(colour, "o", ""), [step.probabilities[c] for step in found.steps]
        marks.append(Line(name, look, layers, values))
        for x, y in zip(layers, values, strict=True):
            marks.append(Point(name, look, x, y, f"exit {x}: {y:.3f}"))
        keys.append(Key(f"p({name})", name, look))
    entropy = Key("normalised entropy", "", Look("#000000", "", "4 2"))
    marks.append(Line(entropy.series, entropy.look, layers, [step.entropy for step in found.steps]))
    low, high = -0.03, 1.03
    return Chart(
        found.title,
        found.title,
        "Probability of each class, and normalised entropy, at every exit.",
        "",
        make_exit_axis(
            len(layers), f"exit (point {found.point}, threshold {numbers.format_threshold(found.threshold)})"
        ),
        Axis("probability", low, high, [0, 0.25, 0.5, 0.75, 1]),
        [*marks, Reference((found.layer, low), (found.layer, high), "leaves")],
        [*keys, entropy],
    )

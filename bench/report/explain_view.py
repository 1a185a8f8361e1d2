"""An explanation on a terminal, as a page of its own, and as a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup
from rich.table import Table
from rich.text import Text

from bench.analysis.explain import Explanation
from bench.files import replace_file
from bench.report import numbers
from bench.report.figures import FORMATS, paper_style
from bench.report.page import make_environment, read_template
from bench.report.style import COLOURS
from bench.report.svg import style_sheet

HEAT = (213, 94, 0)  # vermillion, of the reports' palette
LINE = 84  # characters of a line of text in a picture
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
        style = "dim" if token.special else f"black on {mix_heat(share)}"
        text.append(token.text, style=style)
    out.print(text)
    out.print(f"Heat: attention from {found.read_out}, rolled out to exit {found.layer}.")
    out.print(build_steps(found))
    out.print(build_leavings(found))


def build_steps(found: Explanation) -> Table:
    """Build a table with a row for every exit."""
    table = Table(title="Exit by exit", title_justify="left")
    table.add_column("exit", justify="right")
    for name in found.labels:
        table.add_column(f"p({name})", justify="right")
    for name in ("entropy", "score", "state", ""):
        table.add_column(name, justify="left" if name in ("state", "") else "right", overflow="fold")
    for step in found.steps:
        row = [
            str(step.layer),
            *(f"{p:.3f}" for p in step.probabilities),
            f"{step.entropy:.3f}",
            format_score(step.score),
        ]
        row += [step.state, f"leaves: {step.answer}" if step.leaves else ""]
        table.add_row(*row, style="bold" if step.leaves else "")
    return table


def build_leavings(found: Explanation) -> Table:
    """Build a table with a row for every criterion and point."""
    table = Table(
        title="Where each criterion leaves (others with their defaults, on these exits)", title_justify="left"
    )
    for name in ("criterion", "point", "threshold", "exit", "answer"):
        table.add_column(name, overflow="fold")
    for item in found.leavings:
        row = (
            item.criterion,
            numbers.format_rule(item.point),
            numbers.format_threshold(item.threshold),
            str(item.layer),
            item.answer,
        )
        table.add_row(*row)
    return table


def format_score(value: float) -> str:
    """Return a criterion\'s score as text: -inf is a window that fired, +inf never."""
    if value == float("-inf"):
        return "fires"
    return "never" if value == float("inf") else f"{value:z.3f}"  # z: no minus before a zero


def render_explanations(found: Sequence[Explanation], run: str) -> str:
    """Render a self-contained page of one or several explanations."""
    return (
        make_environment()
        .from_string(read_template("explain.html.j2"))
        .render(found=found, run=run, css=Markup(style_sheet()), score=format_score, threshold=numbers.format_threshold)
        + "\n"
    )


def save_html(found: Sequence[Explanation], run: str, path: Path) -> None:
    """Write :func:`render_explanations`'s page."""
    with replace_file(path) as temporary:
        temporary.write_bytes(render_explanations(found, run).encode("utf-8", "replace"))


def save_png(found: Explanation, path: Path) -> None:
    """Draw a picture: the text with heat above, class probabilities and entropy over the exits below."""
    lines = wrap_text(found)
    with paper_style() as plt:
        fig = plt.figure(figsize=(6.6, 0.22 * len(lines) + 2.7))
        try:
            upper, lower = fig.subplots(2, 1, height_ratios=[0.22 * len(lines) + 0.3, 2.2])
            _draw_text(upper, lines, found)
            _draw_steps(lower, found)
            buffer = io.BytesIO()
            fig.savefig(buffer, format="png", **FORMATS["png"])
        finally:
            plt.close(fig)
    with replace_file(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def wrap_text(found: Explanation) -> list[list[tuple[int, str, float | None]]]:
    """Return lines of pieces: column, text, heat (None for special tokens). Tokens longer than a line are cut."""
    lines: list[list[tuple[int, str, float | None]]] = [[]]
    column = 0
    for token, share in zip(found.tokens, found.shades, strict=True):
        piece = "".join(c if c.isprintable() else "�" for c in token.text)
        piece = piece if len(piece) <= LINE // 2 else piece[: LINE // 2 - 1] + "…"
        column += 1 if token.before and column else 0
        if column + len(piece) > LINE:
            lines.append([])
            column = 0
        lines[-1].append((column, piece, None if token.special else share))
        column += len(piece)
    if len(lines) > MOST_LINES:
        lines = [*lines[:MOST_LINES], [(0, "…", None)]]
    return lines


def _draw_text(ax: Any, lines: Sequence[Sequence[tuple[int, str, float | None]]], found: Explanation) -> None:
    ax.set_xlim(0, LINE)
    ax.set_ylim(len(lines), -0.2)
    ax.axis("off")
    for row, line in enumerate(lines):
        for column, piece, share in line:
            if share is not None:
                ax.add_patch(_box(column, row, len(piece), mix_heat(share)))
            ax.text(column + len(piece) / 2, row + 0.5, piece, family="DejaVu Sans Mono", fontsize=7, ha="center",
                    va="center", color="#777777" if share is None else "black")  # fmt: skip
    label = "" if found.label is None else f", label: {found.label}"
    said = f"leaves at exit {found.layer} of {len(found.steps)} as {found.answer}{label}"
    ax.set_title(f"{found.title[:40]}: {said[:70]}", loc="left")


def _box(column: int, row: int, width: int, colour: str) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((column, row + 0.06), width, 0.88, facecolor=colour, edgecolor="none")


def _draw_steps(ax: Any, found: Explanation) -> None:
    layers = [s.layer for s in found.steps]
    colours = list(COLOURS.values())
    for c, name in enumerate(found.labels[:7]):
        values = [s.probabilities[c] for s in found.steps]
        ax.plot(layers, values, marker="o", color=colours[c % 7], label=f"p({name})"[:40])
    ax.plot(layers, [s.entropy for s in found.steps], linestyle=(0, (4, 2)), color="black", label="normalised entropy")
    ax.axvline(found.layer, color="#777777", linewidth=0.8, linestyle=(0, (1, 2)))
    ax.set_ylim(-0.03, 1.03)
    ax.set_xlabel(
        f"exit; leaves at the dotted line (point {found.point}, threshold {numbers.format_threshold(found.threshold)})"
    )
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.grid(True)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))

"""Text for the place it is written to: one function a sink, used by everything that shows what came from outside.

Names, texts, labels and messages can hold anything. Each function returns text that its sink shows as it stands:
nothing in it moves a cursor, hides letters, opens a tag or ends a cell.
"""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Any

from markupsafe import Markup, escape
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but tab and line feed, DEL, C1: escape sequences, carriage returns
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks, embeddings, overrides and isolates of direction
    "\u2028\u2029\ud800-\udfff\ufffe\uffff]"  # separators, halves of characters, and what XML forbids
)
TOO_LONG = re.compile(r"'[^'\n]{500,}'|\S{500,}")
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # what makes a spreadsheet calculate
PLAIN_NUMBER = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?")
LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "×": r"$\times$", "−": r"$-$", "–": "--", "“": "``", "”": "''",
    "±": r"$\pm$", "·": r"$\cdot$", "…": r"\ldots{}", "'": r"\textquotesingle{}", "`": r"\textasciigrave{}",
}  # fmt: skip


def show_hidden(text: object) -> str:
    r"""Return ``text`` for a terminal, or for an XML writer that escapes markup itself: what would act is spelled out.

    Control characters, marks of direction, halves of characters and code points that XML forbids become ``\x1b`` or
    ``\u202e``; tabs and line feeds stay.
    """
    return HIDDEN.sub(_spell, str(text))


def show_line(text: object) -> str:
    """Return ``text`` for one line of a terminal: as :func:`show_hidden`, and line feeds are spelled out, too."""
    return show_hidden(text).replace("\n", "\\n")


def _spell(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def shorten_quotes(message: str) -> str:
    """Return a message whose quotes and words are cut where they are too long to read, with the number of letters."""
    return TOO_LONG.sub(lambda found: f"{found[0][:80]}… ({len(found[0]):,} letters)", message)


def escape_json(text: str) -> str:
    """Return a JSON document whose strings hold no hidden characters; it reads as the same values."""
    return HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def escape_html(text: object) -> Markup:
    """Return ``text`` for the content and the attributes of HTML and SVG; Markup is taken as it is."""
    return text if isinstance(text, Markup) else escape(show_hidden(text))


def escape_markdown(text: str) -> str:
    """Return ``text`` on one line for a cell, heading or paragraph of Markdown, without markup, HTML or links."""
    flat = show_hidden(" ".join(text.split()))
    safe = re.sub(r"[\\`*|~$]|(?<![^\W_])_|_(?![^\W_])|\](?=[(\[:])", r"\\\g<0>", flat)
    safe = re.sub(r"^-(?=\s)|^(\+|[0-9]+[.)])(?=\s|$)|^#+(?=\s)|(^|(?<=\s))#+$|^--+$", _escape_last, safe)
    return safe.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _escape_last(found: re.Match[str]) -> str:
    return f"{found[0][:-1]}\\{found[0][-1]}"


TABLE_STYLE = (
    "border-collapse:collapse;margin:.4em 0;font-size:.92em",
    "text-align:{align};padding:.15em .8em .15em 0;border-bottom:1px solid color-mix(in srgb,currentColor {depth}%,"
    "transparent)",
)
"""Of a table in a notebook: the page's own letters and ground, so that it reads in a light and in a dark one."""


def write_html_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], notes: Iterable[str] = ()
) -> str:
    """Return a small table as HTML that stands by itself, for a notebook; the first column is set to the left.

    ``notes`` are sentences below it. A row may end early.
    """
    whole, cell = TABLE_STYLE

    def write_row(tag: str, cells: Sequence[object], depth: int) -> str:
        padded = [*cells, *[""] * (len(columns) - len(cells))]
        styles = [cell.format(align="right" if at else "left", depth=depth) for at in range(len(padded))]
        texts = ["" if text is None else escape_html(text) for text in padded]
        return "".join(f'<{tag} style="{how}">{text}</{tag}>' for how, text in zip(styles, texts, strict=True))

    head = f"<tr>{write_row('th', columns, 45)}</tr>"
    body = "".join(f"<tr>{write_row('td', row, 15)}</tr>" for row in rows)
    caption = f'<caption style="caption-side:top;text-align:left;font-weight:bold">{escape_html(title)}</caption>'
    said = "".join(f'<div style="font-size:.85em;opacity:.8">{escape_html(note)}</div>' for note in notes)
    return f'<div><table style="{whole}">{caption}<thead>{head}</thead><tbody>{body}</tbody></table>{said}</div>'


def write_markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table in Markdown; cells cannot break out of it."""
    head, *lines = [f"| {' | '.join(map(escape_markdown, cells))} |" for cells in (columns, *rows)]
    return [head, "|" + " --- |" * len(columns), *lines]


def quote_markdown(text: str) -> str:
    """Return ``text`` on one line as code in Markdown, outside tables."""
    flat = show_hidden(" ".join(text.split()))
    fence = "`" * (1 + max(map(len, re.findall("`+", flat)), default=0))
    pad = " " if flat.startswith("`") or flat.endswith("`") else ""
    return f"{fence}{pad}{flat}{pad}{fence}"


def escape_latex(text: str) -> str:
    """Return ``text`` on one line for LaTeX with any engine: what ASCII cannot say is named by its code point."""
    flat = " ".join(text.split())
    unsaid = {c: rf"{{\footnotesize U+{ord(c):04X}}}" for c in flat if not " " <= c < "\x7f"}
    made = flat.translate({ord(c): said for c, said in (unsaid | LATEX).items()})
    return re.sub(r"-(?=-)", "-{}", made) if "--" in flat else made


def guard_csv(value: object) -> object:
    """Return a cell of a CSV file: text that a spreadsheet would calculate gets an apostrophe; numbers stay."""
    if not isinstance(value, str):
        return value
    cell = show_hidden(value)
    return f"'{cell}" if value.startswith(FORMULA) and not PLAIN_NUMBER.fullmatch(value) else cell


WORD, UNIT = re.compile(r"\S+"), re.compile(r"\[[^\[\]\n]{1,16}\]\S*|\S+")
"""What a line is broken between: words; where there is room for it, intervals such as ``[0.841, 0.882]`` stay whole."""
UNIT_START = re.compile(r" (?=\[[^\[\]\n]{1,16}\])")
LONGEST_WORD = 21
"""Letters that a column has room for, however narrow the table: those of a strategy's longest name. Names without an
end may be longer, and are folded."""


class FittedTable(Table):
    """A table that breaks lines between words, or where there is no room for that becomes a list: an item a row.

    ``cells`` are the texts of its rows.
    """

    def __init__(
        self,
        title: str,
        columns: Sequence[str],
        cells: Sequence[Sequence[str]],
        right: Container[str],
        ends: Container[int] = (),
    ) -> None:
        super().__init__(title=Text(title), title_justify="left")
        self.names, self.cells, self.ends = columns, cells, ends
        for column in columns:
            self.add_column(column, overflow="fold", justify="right" if column in right else "left")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the table at the width that there is, or the list."""
        columns = [[show_hidden(text) for text in texts] for texts in zip(self.names, *self.cells, strict=True)]
        room = options.max_width - 3 * len(columns) - 1
        widths = fit_widths(columns, room, UNIT) or fit_widths(columns, room)
        if widths is None:
            yield from self._list_rows()
            return
        table = Table(title=self.title, title_justify="left")
        for column, width in zip(self.columns, widths, strict=True):
            table.add_column(column.header, overflow="fold", justify=column.justify, width=width)
        for number, row in enumerate(zip(*columns, strict=True)):
            if number:  # 0 is the header
                cells = map(_break_before_unit, row, widths)
                table.add_row(*cells, end_section=number in self.ends)
        yield table

    def measure_width(self) -> int:
        """Return the letters of its widest line, where no cell is broken."""
        columns = [[show_hidden(text) for text in texts] for texts in zip(self.names, *self.cells, strict=True)]
        widest = [max(cell_len(line) for text in texts for line in ["", *text.splitlines()]) for texts in columns]
        return sum(widest) + 3 * len(columns) + 1

    def _list_rows(self) -> Iterator[Padding]:
        yield Padding(self.title or "", 0)
        for row in self.cells:
            yield Padding(f"* {row[0]}", 0)  # a dash would be a minus before points such as -0.5
            for name, text in zip(self.names[1:], row[1:], strict=True):
                if text not in ("", "-", "–"):
                    yield Padding(f"{name}: {text}" if name else text, (0, 0, 0, 4))


def _break_before_unit(text: str, width: int) -> str:
    """Return a cell in which an interval begins a line where it would not end on the same line as what is before it."""
    return UNIT_START.sub("\n", text) if any(cell_len(line) > width for line in text.splitlines()) else text


def fit_widths(columns: Sequence[Sequence[str]], room: int, word: re.Pattern[str] = WORD) -> list[int] | None:
    """Return letters for each of the ``columns``, ``room`` in all, so that no word is broken; None without enough room.

    The widest gives first, down to its longest word; no column has less than one letter.
    """
    least = [
        max(min(cell_len(part), LONGEST_WORD) for text in texts for part in ["-", *word.findall(text)])
        for texts in columns
    ]
    widths = [max(cell_len(line) for text in texts for line in ["-", *text.splitlines()]) for texts in columns]
    if sum(least) > room:
        return None
    while sum(widths) > room:  # then one of them is wider than its longest word
        at = max((i for i, width in enumerate(widths) if width > least[i]), key=widths.__getitem__)
        widths[at] -= 1
    return widths


def build_table(
    title: str,
    columns: Iterable[str],
    rows: Iterable[Iterable[object]],
    right: Container[str] = (),
    ends: Container[int] = (),
) -> FittedTable:
    """Return a table whose cells are folded rather than cut; the columns ``right`` are set to the right.

    A line is drawn below the rows whose numbers, from 1, are in ``ends``. On a terminal that is too narrow for it a
    list stands in its place. A row may end early.
    """
    names = list(columns)
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    return FittedTable(title, names, [[*row, *[""] * (len(names) - len(row))] for row in cells], right, ends)


def is_size(text: str) -> bool:
    """Return whether ``text`` is a number of columns or lines that a table can be laid out in: 20 to 9,999."""
    return re.fullmatch("[0-9]{2,4}", text) is not None and int(text) >= 20


class TextConsole(Console):
    """A console on which text stays text: no markup, no emoji codes, and what is hidden is spelled out."""

    def __init__(self, **options: Any) -> None:
        sizes = ("COLUMNS", "LINES")  # of a value that is no size, rich makes an empty table or an error
        environ = {name: value for name, value in os.environ.items() if name not in sizes or is_size(value)}
        super().__init__(highlight=False, markup=False, emoji=False, _environ=environ, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a string to print or a table's cell as it is measured and shown."""
        return super().render_str(show_hidden(text), **options)

    def render(self, renderable: Any, options: Any = None) -> Iterator[Segment]:
        """Yield the pieces of anything printed; styles are the console's own and stay."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=show_hidden(segment.text))


def format_bytes(count: float | None) -> str:
    """Return ``1.5 GiB``, ``320 KiB``, or ``unknown``."""
    if count is None:
        return "unknown"
    for size, unit in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 2**10:.0f} KiB"

"""What long work says while it runs: a live bar on a terminal, plain lines elsewhere, always on stderr.

In a notebook there is one line instead, with a bar while something is counted, which is gone when the work is done.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from bench.text import TextConsole, escape_html, show_line

LINE_EVERY = 10.0  # seconds between plain lines
REDRAW = 0.2  # seconds between two states of a notebook's bar


class Forgiving(io.TextIOWrapper):
    """A stream that drops what cannot be written, as on a full disk; that a reader has gone is still an error."""

    def write(self, text: str) -> int:
        with _drop_errors():
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with _drop_errors():
            super().flush()


@contextmanager
def _drop_errors() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError:
        return


def forgive_stderr() -> None:
    """Let the process's own stderr be one that stops nobody's work; another that stands in its place stays."""
    own = sys.stderr
    if own is sys.__stderr__ and type(own) is io.TextIOWrapper:
        sys.stderr = Forgiving(own.buffer, encoding=own.encoding, errors=own.errors, line_buffering=True)


class Work:
    """One piece of work with a known number of steps."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Say that ``steps`` more are done."""


class Progress:
    """Prints messages and opens :class:`Work`. ``quiet`` shows warnings only."""

    def __init__(self, stream: TextIO | None = None, quiet: bool = False) -> None:
        self.stream = stream or sys.stderr
        self.quiet = quiet
        self.console = TextConsole(file=self.stream)

    def say(self, message: str) -> None:
        """Print one line, now."""
        if self.quiet:
            return
        notebook = find_notebook()
        if notebook is None:
            self.warn(message)
        else:
            notebook.show(escape_html(message))

    def warn(self, message: str) -> None:
        """Print one line, now, also where ``quiet``: it says what the result is, not how the work goes."""
        print(show_line(message), file=self.stream, flush=True)

    @contextmanager
    def work(self, title: str, total: int) -> Iterator[Work]:
        """Show a bar (or lines) for ``total`` steps of ``title``."""
        notebook = find_notebook()
        if self.quiet:
            yield Work()
        elif notebook is not None:
            yield _Cell(notebook, title, total)
        elif self.console.is_terminal:
            named, note = (TextColumn(f"{{task.{text}}}", markup=False) for text in ("description", "fields[note]"))
            counts = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
            with RichProgress(named, *counts, note, console=self.console, transient=True) as bar:
                yield _Bar(bar, title, total)
        else:
            yield _Lines(self, title, total)


class _Bar(Work):
    def __init__(self, bar: RichProgress, title: str, total: int) -> None:
        self.bar, self.task = bar, bar.add_task(title, total=total, note="")

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.bar.update(self.task, advance=steps, note=note)


class Notebook:
    """The line of one cell of a notebook that says how the work goes: shown anew in place, and taken away."""

    def __init__(self) -> None:
        self.handle: Any = None

    def show(self, line: str) -> None:
        """Show ``line``, which is HTML, in place of the last one."""
        from IPython.display import HTML, display

        page = HTML(f'<div style="opacity:.7">{line}</div>' if line else "")
        if self.handle is None:
            self.handle = display(page, display_id=True)
        else:
            self.handle.update(page)

    def clear(self) -> None:
        """Take the line away; the next one is another cell's."""
        if self.handle is not None:
            self.show("")
            self.handle = None


_NOTEBOOK = Notebook()


def find_notebook() -> Notebook | None:
    """Return the line of the notebook that this process runs for; None where it runs for none."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return _NOTEBOOK if getattr(shell, "kernel", None) is not None else None


@contextmanager
def clear_when_done() -> Iterator[None]:
    """Take the notebook's line away when the block ends, however it ends."""
    try:
        yield
    finally:
        _NOTEBOOK.clear()


class _Cell(Work):
    def __init__(self, notebook: Notebook, title: str, total: int) -> None:
        self.notebook, self.title, self.total, self.done = notebook, title, total, 0
        self.last = 0.0

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.done += steps
        now = time.monotonic()
        if now - self.last < REDRAW and self.done < self.total:
            return
        self.last = now
        bar = f'<progress value="{self.done}" max="{self.total}"></progress>'
        self.notebook.show(f"{escape_html(self.title)} {bar} {self.done}/{self.total} {escape_html(note)}")


class _Lines(Work):
    def __init__(self, progress: Progress, title: str, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.progress, self.title, self.total, self.clock = progress, title, total, clock
        self.done = self.calls = 0
        self.last = clock()

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.done += steps
        self.calls += 1
        now = self.clock()
        if self.calls <= 2:
            # what an earlier process did took no time here, and the first step also prepares what later ones reuse
            self.paced_from = now, self.done
        if now - self.last < LINE_EVERY:
            return
        self.last = now
        self.progress.say(f"{self.title}: {self.done}/{self.total}{self._estimate(now)}. {note}".rstrip())

    def _estimate(self, now: float) -> str:
        """Return what the pace since the second call says of the rest; nothing before there is one."""
        begun, done = self.paced_from
        if self.done == done:
            return ""
        return f", about {(now - begun) * (self.total - self.done) / (self.done - done):.0f} s left"

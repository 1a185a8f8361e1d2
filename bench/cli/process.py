"""The process: runs the command line and turns every outcome into one line and an exit code."""

from __future__ import annotations

import io
import os
import sys
import traceback

from backbones.hubcalls import quiet_libraries
from bench import errors
from bench.progress import forgive_stderr

quiet_libraries()

INTERRUPTION = (
    "Interrupted. Trained weights, logits and finished records are kept, a training as far as it came; rounds of the "
    "clock are not. Run the same command to go on."
)


def main(arguments: list[str] | None = None) -> int:
    """Run ``bench`` with ``arguments`` (default: the process's) and return the exit code."""
    open_closed_streams()
    import typer

    from bench.cli.app import app

    if "_BENCH_COMPLETE" in os.environ:
        prepare_completion()
    try:
        check_folder()
        code = app(args=ask_for_help(arguments), prog_name="bench", standalone_mode=False)
        sys.stdout.flush()  # here, where a reader that is gone can still be answered
        if isinstance(sys.stdout, Closed) and sys.stdout.wrote:
            raise errors.UsageError(
                "Stdout is closed, and what was to be printed is lost: open it, or send it to /dev/null."
            )
        if code == errors.INTERRUPTED:  # some versions of typer turn Ctrl-C into this code, others let it through
            return say_interrupted()
        return code if isinstance(code, int) else errors.OK
    except typer.Exit as done:
        return done.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return say_interrupted()
    except BrokenPipeError:
        return end_quietly()
    except SystemExit as done:
        if isinstance(done.__context__, BrokenPipeError):  # how rich and typer end when the reader of a pipe has gone
            return end_quietly()
        if errors.find_cause(done) is done:
            raise
        return report_error(done)
    except BaseException as error:  # a module of the user's may raise anything
        return report_error(error)


def ask_for_help(arguments: list[str] | None) -> list[str]:
    """Return the command line with ``bench help VERB`` as ``bench VERB --help``."""
    words = sys.argv[1:] if arguments is None else arguments
    return [*words[1:2], "--help"] if words[:1] == ["help"] else words


def prepare_completion() -> None:
    """Let typer answer a shell that asks what may follow on its line; `--option=value` is three words to bash."""
    from typer.completion import completion_init  # type: ignore[attr-defined]

    completion_init()
    words, at = os.environ.get("COMP_WORDS", ""), os.environ.get("COMP_CWORD", "")
    if at.isdecimal():
        os.environ |= {"COMP_WORDS": words.replace("\n=\n", "\n"), "COMP_CWORD": str(int(at) - words.count("\n=\n"))}


class Closed(io.TextIOWrapper):
    """Stands in for a stream that was closed before we began: leads nowhere, and knows whether anything was lost."""

    wrote = False

    def write(self, text: str) -> int:
        self.wrote = self.wrote or bool(text)
        return super().write(text)


def open_closed_streams() -> None:
    """Let streams that were closed before we began lead nowhere, so that no file of ours takes their number.

    What can still be said on stderr must not stop the work where nobody keeps it, on a full disk for one.
    """
    for name, mode in (("stdin", "rb"), ("stdout", "wb"), ("stderr", "wb")):
        if getattr(sys, name) is None:
            setattr(sys, name, Closed(open(os.devnull, mode), encoding="utf-8"))  # noqa: SIM115 - for the whole process
    forgive_stderr()


def check_folder() -> None:
    """Raise UsageError where the current folder is gone: torch would end the process when it is imported."""
    try:
        os.getcwd()
    except FileNotFoundError:
        raise errors.UsageError("The current folder is gone: change to one that is there.") from None


def say_interrupted() -> int:
    """Say what is kept and how to go on."""
    print(INTERRUPTION, file=sys.stderr)
    return errors.INTERRUPTED


def end_quietly() -> int:
    """End quietly after `bench ... | head`; what is still to be flushed at the end goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno() if sys.__stdout__ else 1)
    return errors.READER_GONE


def report_error(error: BaseException) -> int:
    """Print ``error`` for the user and return its exit code; a traceback only for our own mistakes."""
    from bench.text import shorten_quotes, show_hidden, show_line

    explain = getattr(error, "format_message", None)  # the command line's own errors; typer has its own copy of click
    if explain is not None:
        where = getattr(getattr(error, "ctx", None), "command_path", "bench")
        message = shorten_quotes(explain())
        message += "" if message.endswith((".", "?", "!")) else "."
        print(show_hidden(message if "\n" in message else f"Error: {message} See `{where} --help`."), file=sys.stderr)
        return errors.USAGE
    cause = errors.find_cause(error)
    if isinstance(cause, KeyboardInterrupt):
        return say_interrupted()
    if isinstance(cause, errors.UserError):
        print(show_line(shorten_quotes(f"Error: {cause}")), file=sys.stderr)
        return cause.exit_code
    print(show_hidden(traceback.format_exc()), end="", file=sys.stderr)
    print(f"Internal error: {error!r}. Please report it with the lines above.", file=sys.stderr)
    return errors.INTERNAL

"""`bench monitor`: do new texts still behave like those that an exported model was measured on?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.display import make_console, print_json
from bench.cli.session import Session, with_session
from bench.errors import OK, REGRESSION, UsageError
from bench.text import build_table

if TYPE_CHECKING:
    from bench.advise.export.monitor import Drift


@with_session("json", "quiet")
def monitor(
    session: Session,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="What `bench export` wrote.")],
    texts: Annotated[Path, typer.Argument(help="New texts: .txt (one a line), .csv, .tsv, .jsonl or .parquet.")],
    alpha: Annotated[float, typer.Option(help="Share of false alarms, over all tests together.")] = 0.05,
    check: Annotated[bool, typer.Option("--check", help="Exit code 3 where the texts have drifted.")] = False,
) -> int:
    """Test whether new texts have drifted from those measured.

    Exit shares and scores of an exported model, compared with those that it was measured on.

    $ bench monitor ./my-early-exit-model new_texts.csv --check
    """
    if not 0 < alpha < 1:
        raise UsageError(f"--alpha must be between 0 and 1, not {alpha:g}.")
    session.progress.say("Loading torch, transformers and the model.")
    from bench.advise.export.monitor import monitor_texts

    found = monitor_texts(folder, texts, alpha, session.progress)
    if session.json:
        print_json(found.to_plain())
    else:
        print_drift(found)
    return REGRESSION if check and found.drifted else OK


def print_drift(drift: Drift) -> None:
    """Print the verdict, the exits' shares beside the recorded ones, and the comparisons."""
    from bench.advise.export.monitor import describe_drift

    out = make_console()
    out.print(describe_drift(drift))
    rows = [
        (exit, f"{new / drift.texts:.1%}", new, f"{old / drift.recorded:.1%}", old)
        for exit, (new, old) in enumerate(zip(drift.exit_counts, drift.recorded_counts, strict=True), start=1)
    ]
    columns = ("exit", "share", "texts", "recorded share", "recorded texts")
    out.print(build_table("Where they leave", columns, rows, right=columns))
    tests = [
        (one.what, one.new, one.recorded, f"{one.distance:.3f}", f"{one.p:.2g}", f"{one.adjusted:.2g}")
        for one in drift.shifts
    ]
    names = ("compared", "texts", "recorded", "distance", "p", "adjusted p")
    out.print(build_table("What differs", names, tests, right=names[1:]))
    out.print(
        f"Chi-square by permutation, Kolmogorov-Smirnov; adjusted for all tests (Holm); drifted below {drift.alpha:g}."
    )

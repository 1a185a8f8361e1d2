"""Options that several verbs of the command line share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of tables.")]
ResultsDir = Annotated[Path, typer.Option(help="Where results are kept.")]
HubRoot = Annotated[Path | None, typer.Option(help="Local mirror with datasets/ and models/ (or EXITBENCH_HUB).")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="key=value: the criterion's arguments, or backbone., head., recipe., train., latency. ones."
    ),
]

"""Options that several verbs of the command line share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of tables.")]
ResultsDir = Annotated[Path, typer.Option(help="Where results are kept.")]
HubRoot = Annotated[Path | None, typer.Option(help="Local mirror with datasets/ and models/ (or EXITBENCH_HUB).")]
Tasks = Annotated[str | None, typer.Option("--task", help="Only these tasks, separated by commas.")]
Backbones = Annotated[str | None, typer.Option("--backbone", help="Only these backbones, separated by commas.")]
Offline = Annotated[bool, typer.Option("--offline", help="Never use the network.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress on stderr.")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="key=value: the criterion's arguments, or backbone., head., recipe., train., latency. ones."
    ),
]

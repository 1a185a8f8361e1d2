"""`bench report`: the store as a page, tables and figures."""

from __future__ import annotations

import sys
from pathlib import Path

from bench import errors
from bench.cli.display import print_json
from bench.cli.verbs.run import split_names
from bench.progress import Progress
from bench.results.store import Only


def report_results(
    results_dir: Path, tasks: str | None, backbones: str | None, out: Path, formats: str, json: bool, quiet: bool
) -> int:
    """Write the report and say where it lies. Raises UsageError, NothingComparable."""
    from bench.report.write import write_report

    only = Only.named(tasks, backbones)
    written = write_report(results_dir, out, split_names(formats, "--format"), Progress(quiet=quiet), only)
    if json:
        print_json({"files": [str(p) for p in written.files], "cells": written.cells, "failed": written.failed,
                    "damaged": written.damaged, "comparisons": written.panels})  # fmt: skip
        return errors.OK
    page = next((p for p in written.files if p.name == "report.html"), written.files[0])
    missing = [f"{n} {what}" for n, what in ((written.failed, "failed"), (written.damaged, "damaged")) if n]
    said = f" ({', '.join(missing)})" if missing else ""
    sys.stdout.write(f"{written.cells} cells{said}, {written.panels} comparisons, {len(written.files)} files: {page}\n")
    return errors.OK

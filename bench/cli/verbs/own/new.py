"""`bench new`: the file, the test and the entry point that something of one's own begins as."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.display import make_console, print_json
from bench.cli.session import Session, with_session


@with_session("json", check_place=False)
def new(
    session: Session,
    kind: Annotated[str, typer.Argument(metavar="KIND", help="criterion, recipe, head, backbone or task.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name: my-rule; of a backbone the model type.")],
    out: Annotated[Path, typer.Option(help="Where the files are written.")] = Path(),
) -> None:
    """Write a criterion, recipe, head, backbone or task to begin with.

    A module that works, its test, and its entry point in pyproject.toml, so that its name is listed once the package is
    installed. Nothing is overwritten.

    $ bench new criterion my-rule
    """
    from bench.selfcheck.skeletons.write import write_skeleton

    written = write_skeleton(kind, name, out)
    if session.json:
        files = [str(path) for path in written.files]
        print_json({"files": files, "target": written.target, "entry": written.entry})
        return
    console = make_console()
    for path in written.files:
        console.print(f"Wrote {path}", soft_wrap=True)
    _, test, _ = written.files
    where = "" if out == Path() else f" {out}"
    console.print(f"Its test: pytest {test}", soft_wrap=True)
    if kind in ("criterion", "recipe", "head"):
        console.print(f"Its contract: PYTHONPATH={out} bench check {written.target}", soft_wrap=True)
    console.print(f"Its name in lists: pip install -e {where.strip() or '.'}", soft_wrap=True)

"""`bench pack`: logits that several runs share, stored once, before a results folder is committed; and whole again."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from bench.cli.display import print_json
from bench.cli.session import Session, with_session
from bench.errors import OK, USAGE
from bench.text import format_bytes, show_line


@with_session("results_dir", "json", "quiet")
def pack(
    session: Session,
    unpack: Annotated[bool, typer.Option("--unpack", help="Write every file of logits whole again.")] = False,
) -> int:
    """Store logits that several runs share once, before a commit.

    All criteria on one checkpoint have the same logits. Of the runs of a task and backbone the first by name keeps its
    file, and in the others a line refers to it. Every command reads them as before, but a run that others refer to
    must stay where it is: unpack before runs are moved or deleted. With --unpack, exit code 2 where a file stays as it
    is.

    $ bench pack
    $ bench pack --results-dir my_results
    $ bench pack --unpack
    """
    from bench.results.packed.packing import pack_results, unpack_results

    found = (unpack_results if unpack else pack_results)(session.store, session.progress)
    session.say_left_out(found.left_out, "Left as it is:")
    if session.json:
        print_json(asdict(found))
    else:
        count = f"{found.changed if unpack else found.references} of {found.files} files of logits"
        done = "were written whole" if unpack else "refer to another run's that is the same"
        before, after = map(format_bytes, (found.bytes_before, found.bytes_after))
        print(show_line(f"{count} {done}: {f'{before} became {after}' if found.changed else f'{after}, as before'}."))
    return USAGE if unpack and found.left_out else OK

"""`bench doctor`: what is ready on this machine, what would go wrong with it, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.display import make_console, print_json
from bench.cli.session import Session, with_session
from bench.text import TextConsole

if TYPE_CHECKING:
    from bench.selfcheck.doctor import Remark


@with_session("hub_root", "results_dir", "json", check_place=False)
def doctor(
    session: Session,
    everything: Annotated[bool, typer.Option("--all", "-v", help="Show every check, a line each.")] = False,
) -> None:
    """Say what is ready on this machine, and what would go wrong.

    Packages, processor, memory, disk, hub, models, and what disturbs the clock. Nothing is changed.

    $ bench doctor
    $ bench doctor --hub-root ./hub --all
    """
    from bench.selfcheck.doctor import check_machine

    remarks = check_machine(session.hub_named, session.results_dir)
    if session.json:
        print_json([asdict(remark) for remark in remarks])
        return
    out = make_console()
    if everything:
        for r in remarks:
            out.print(f"{r.level:<5}{r.area:<10}{r.text}" + (f" -> {r.remedy}" if r.remedy else ""), soft_wrap=True)
    else:
        print_folded(remarks, out)
    bad = {level: sum(r.level == level for r in remarks) for level in ("fail", "warn")}
    out.print(f"{bad['fail']} of {len(remarks)} would fail, {bad['warn']} to know of.")
    if not everything:
        out.print("Every check, a line each: bench doctor --all")


def print_folded(remarks: Sequence[Remark], out: TextConsole) -> None:
    """Print what is ready, a line an area, then what would fail and what to know of, each with its remedy."""
    for title, level in (("Ready", "ok"), ("Would fail", "fail"), ("To know of", "warn")):
        lines = fold_remarks([remark for remark in remarks if remark.level == level])
        if lines:
            out.print(f"{title}:")
        for line in lines:
            print_indented(line, out)


def fold_remarks(remarks: Sequence[Remark]) -> list[str]:
    """Return remarks of one level in few lines: what is fine joined by area, what has a remedy by the remedy."""
    areas: dict[str, dict[str, None]] = {}
    for remark in remarks:
        areas.setdefault(f"{remark.area}\0{remark.remedy}", {})[remark.text] = None
    lines = []
    for key, texts in areas.items():
        area, _, remedy = key.partition("\0")
        if area == "package" and not remedy:
            said = f"{len(texts)} in their tested versions"
        else:
            said = "; ".join(join_alike(texts))
        lines.append(f"{area}: {said}" + (f" -> {remedy}" if remedy else ""))
    return lines


def join_alike(texts: Iterable[str]) -> list[str]:
    """Return ``a, b: what`` for ``a: what`` and ``b: what``; other texts as they are."""
    names: dict[str, list[str]] = {}
    for text in texts:
        name, colon, said = text.partition(": ")
        names.setdefault(f"{colon}{said}" if colon else text, []).append(name if colon else "")
    return [", ".join(filter(None, several)) + said for said, several in names.items()]


def print_indented(line: str, out: TextConsole) -> None:
    """Print a line, and what of it needs more lines, two letters in."""
    from rich.padding import Padding

    out.print(Padding(line, (0, 0, 0, 2), expand=False))

"""`bench doctor`: what this machine has, what would go wrong with it, and what to do about it."""

from __future__ import annotations

from dataclasses import asdict

from bench.cli.display import make_console, print_json
from bench.cli.session import Session, with_session


@with_session("hub_root", "results_dir", "json", check_place=False)
def doctor(session: Session) -> None:
    """What this machine has, which packages and hub access, and what would go wrong."""
    from bench.selfcheck.doctor import check_machine

    findings = check_machine(session.hub_named, session.results_dir)
    if session.json:
        print_json([asdict(finding) for finding in findings])
        return
    out = make_console()
    for f in findings:
        out.print(f"{f.level:<5}{f.area:<10}{f.text}" + (f" -> {f.remedy}" if f.remedy else ""), soft_wrap=True)
    bad = {level: sum(f.level == level for f in findings) for level in ("fail", "warn")}
    out.print(f"{bad['fail']} of {len(findings)} would fail, {bad['warn']} to know of.")

"""Claims with their verdicts, as tables on a terminal, as Markdown and as data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.measure.stats import Interval
from bench.reproduce.papers.schema import Claim, Paper, Scale
from bench.reproduce.verdict import Finding, Part
from bench.text import escape_markdown

Judged = Sequence[tuple[Claim, Finding]]

CLAIMS = ("claim", "source", "ours", "verdict")
PARTS = ("claim", "where", "ours", "wanted", "verdict", "detail")

FOOT = (
    "Reproduced: the whole interval agrees (of a published number: ours is within the tolerance). Within noise: the "
    "interval holds both. Not reproduced: the whole interval disagrees. The intervals of one claim hold jointly with "
    "95 %, over samples and over seeds where there are several. Costs are mean exit layers; heads are not counted. "
    "Where a point's threshold was chosen, it was on held-out data. A model that is no better than the commonest "
    "answer is no evidence. Claims are the papers'; [2nd]: another source's report of them, [digitised]: off a plot."
)


def show_claims(out: Console, paper: Paper, scale: Scale, found: Judged) -> None:
    """Print the claims with their verdicts, then what every verdict rests on."""
    out.print(_heading(paper, scale))
    for columns, rows in ((CLAIMS, claim_rows(found)), (PARTS, part_rows(found))):
        table = Table()
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*row)
        if rows:
            out.print(table)
    out.print(FOOT)


def markdown(paper: Paper, scale: Scale, found: Judged) -> str:
    """The same as Markdown."""
    lines = [f"# {paper.name}: its claims, measured", "", _heading(paper, scale), ""]
    for columns, rows in ((CLAIMS, claim_rows(found)), (PARTS, part_rows(found))):
        lines += ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
        lines += [f"| {' | '.join(map(escape_markdown, row))} |" for row in rows]
        lines.append("")
    return "\n".join([*lines, FOOT]) + "\n"


def as_data(paper: Paper, scale: Scale, found: Judged) -> dict[str, Any]:
    """The same as JSON."""
    return {
        "paper": paper.name,
        "title": paper.title,
        "scale": scale,
        "says": _plan_says(paper, scale),
        "claims": [
            {
                "id": claim.id,
                "says": claim.says,
                "source": claim.source,
                "evidence": claim.evidence,
                "split": claim.split,
                "cost": claim.cost,
                "note": claim.note,
                "check": {"name": claim.check, **claim.arguments},
                "verdict": finding.verdict,
                "why": finding.why,
                "parts": [_part_data(part) for part in finding.parts],
            }
            for claim, finding in found
        ],
    }


def claim_rows(found: Judged) -> list[tuple[str, ...]]:
    """One row a claim, as :data:`CLAIMS`."""
    return [(_says(claim), _source(claim), _ours(finding), _verdict(finding)) for claim, finding in found]


def part_rows(found: Judged) -> list[tuple[str, ...]]:
    """One row for each place of each claim, as :data:`PARTS`."""
    return [
        (claim.id, part.where, _interval(part.ours), part.wanted, part.verdict, part.detail)
        for claim, finding in found
        for part in finding.parts
    ]


def _heading(paper: Paper, scale: Scale) -> str:
    return f"{paper.title}. {paper.citation}\nIn the paper: {paper.conventions}\nHere: {_plan_says(paper, scale)}"


def _plan_says(paper: Paper, scale: Scale) -> str:
    plan = getattr(paper, scale)
    return str(plan.says)


def _says(claim: Claim) -> str:
    return f"{claim.id}: {claim.says}." + (f" ({claim.note})" if claim.note else "")


def _source(claim: Claim) -> str:
    marked = {"2nd": " [2nd]", "digitised": " [digitised]"}.get(claim.evidence, "")
    return f"{claim.source}{marked}; {claim.split}" + (f", {claim.cost}" if claim.cost else "")


def _verdict(finding: Finding) -> str:
    if finding.verdict == "not run":
        return f"not run ({finding.why})"
    ran = sum(part.verdict != "not run" for part in finding.parts)
    return finding.verdict + (f" (on {ran} of {len(finding.parts)})" if ran < len(finding.parts) else "")


def _ours(finding: Finding) -> str:
    if finding.verdict == "not run":
        return "-"
    ran = [part for part in finding.parts if part.verdict != "not run"]
    return _interval(ran[0].ours) if len(ran) == 1 else finding.why


def _interval(ours: Interval | None) -> str:
    return "-" if ours is None else f"{ours.estimate:.3f} [{ours.low:.3f}, {ours.high:.3f}]"


def _part_data(part: Part) -> dict[str, Any]:
    ours = part.ours
    interval = (
        None if ours is None else {"value": ours.estimate, "low": ours.low, "high": ours.high, "level": ours.level}
    )
    return {
        "where": part.where,
        "verdict": part.verdict,
        "ours": interval,
        "wanted": part.wanted,
        "detail": part.detail,
    }

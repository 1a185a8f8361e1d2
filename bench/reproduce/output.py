"""Claims with their verdicts, as tables on a terminal, as Markdown and as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console

from bench.measure.stats import Interval
from bench.reproduce.base import ClaimResult, Trial
from bench.reproduce.papers import Claim, Paper, Scale
from bench.results.series_doubts import SeriesDoubt, describe_doubts
from bench.text import build_table, escape_markdown, write_markdown_table

Judged = Sequence[tuple[Claim, ClaimResult]]
Doubted = Sequence[tuple[str, Sequence[SeriesDoubt]]]

READING = (
    "Reproduced: the whole interval agrees (of a published number: ours is within the tolerance). Within noise: the "
    "interval holds both. Not reproduced: the whole interval disagrees. The intervals of one claim hold jointly with "
    "95 %, over samples and over seeds where there are several. Costs are mean exit layers; heads are not counted. "
    "Where a point's threshold was chosen, it was on held-out data. A model that is no better than the commonest "
    "answer is no evidence. Claims are the papers'; [2nd]: another source's report of them, [digitised]: off a plot."
)
"""How the tables are to be read."""


def print_claims(out: Console, paper: Paper, scale: Scale, found: Judged, doubts: Doubted = ()) -> None:
    """Print the claims with their verdicts, then what every verdict rests on, and what is doubted of it."""
    out.print(_write_heading(paper, scale))
    for columns, rows in _make_tables(found):
        if rows:
            out.print(build_table("", columns, rows))
    for sentence in describe_doubts(doubts):
        out.print(sentence)
    out.print(READING)


def write_claims(paper: Paper, scale: Scale, found: Judged, doubts: Doubted = ()) -> str:
    """Return the claims with their verdicts, and what is doubted, as Markdown."""
    lines = [f"# {paper.name}: its claims, measured", "", _write_heading(paper, scale), ""]
    for columns, rows in _make_tables(found):
        lines += [*write_markdown_table(columns, rows), ""]
    for sentence in describe_doubts(doubts):
        lines += [escape_markdown(sentence), ""]
    return "\n".join([*lines, READING]) + "\n"


def make_plain_claims(paper: Paper, scale: Scale, found: Judged, doubts: Doubted = ()) -> dict[str, Any]:
    """Return the claims with their verdicts, and what is doubted, as plain JSON values."""
    told = ("id", "says", "source", "evidence", "split", "cost", "note")
    return {
        "paper": paper.name,
        "title": paper.title,
        "scale": scale,
        "says": getattr(paper, scale).says,
        "claims": [
            {
                **{name: getattr(claim, name) for name in told},
                "check": {"name": claim.check, **claim.arguments},
                "verdict": result.verdict,
                "why": result.why,
                "parts": [_make_plain_trial(trial) for trial in result.trials],
            }
            for claim, result in found
        ],
        "doubts": [{"cell": cell, **one.to_plain()} for cell, some in doubts for one in some],
    }


def _make_plain_trial(trial: Trial) -> dict[str, Any]:
    plain = asdict(trial)
    if ours := plain["ours"]:
        plain["ours"] = {"value": ours.pop("estimate"), **ours}
    return plain


def _make_tables(found: Judged) -> list[tuple[tuple[str, ...], Sequence[tuple[str, ...]]]]:
    """Return the columns and rows of two tables: a row a claim, and a row for each place of each claim."""
    claims = [(*_describe_claim(claim), *_describe_result(result)) for claim, result in found]
    trials = [
        (claim.id, trial.where, _format_interval(trial.ours), trial.wanted, trial.verdict, trial.detail)
        for claim, result in found
        for trial in result.trials
    ]
    return [
        (("claim", "source", "ours", "verdict"), claims),
        (("claim", "where", "ours", "wanted", "verdict", "detail"), trials),
    ]


def _write_heading(paper: Paper, scale: Scale) -> str:
    says = getattr(paper, scale).says
    return f"{paper.title}. {paper.citation}\nIn the paper: {paper.conventions}\nHere: {says}"


def _describe_claim(claim: Claim) -> tuple[str, str]:
    """Return what a claim says, and its source."""
    marked = f" [{claim.evidence}]" if claim.evidence in ("2nd", "digitised") else ""
    return (
        f"{claim.id}: {claim.says}." + (f" ({claim.note})" if claim.note else ""),
        f"{claim.source}{marked}; {claim.split}" + (f", {claim.cost}" if claim.cost else ""),
    )


def _describe_result(result: ClaimResult) -> tuple[str, str]:
    """Return ours, and the verdict."""
    if result.verdict == "not run":
        return "-", f"not run ({result.why})"
    ran, of = result.ran, len(result.trials)
    counted = f" (on {len(ran)} of {of})" if len(ran) < of else ""
    return _format_interval(ran[0].ours) if len(ran) == 1 else result.why, result.verdict + counted


def _format_interval(ours: Interval | None) -> str:
    return "-" if ours is None else f"{ours.estimate:.3f} [{ours.low:.3f}, {ours.high:.3f}]"

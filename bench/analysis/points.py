"""Which of a run's operating points a question is about."""

from __future__ import annotations

from bench.errors import UsageError
from bench.results.measures import OperatingPoint
from bench.results.run import Run


def find_point(run: Run, rule: str, split: str | None = None) -> OperatingPoint:
    """Return the operating point of ``rule``. Raises UsageError, naming those there are, where it was not reached."""
    reached = run.result(split).reached
    if rule not in reached:
        known = ", ".join(reached) or "none"
        raise UsageError(f"The run has no operating point '{rule}'. It has: {known}.")
    return reached[rule]


def choose_point(run: Run, rule: str | None, split: str | None = None) -> OperatingPoint | None:
    """Return the point of ``rule``, by default no-loss, else the first that was reached; None where none was.

    Raises UsageError for a rule that was not reached.
    """
    if rule is not None:
        return find_point(run, rule, split)
    reached = run.result(split).reached
    return reached.get("no-loss") or next(iter(reached.values()), None)


def find_points(run: Run, rules: str | None) -> list[OperatingPoint]:
    """Return the points of ``rules``, separated by commas; by default no-loss and 2x where reached, else the first.

    Raises UsageError for a rule that was not reached.
    """
    if rules is not None:
        return [find_point(run, rule) for rule in dict.fromkeys(filter(None, map(str.strip, rules.split(","))))]
    reached = run.result().reached
    return [reached[rule] for rule in ("no-loss", "2x") if rule in reached] or list(reached.values())[:1]

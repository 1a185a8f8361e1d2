"""What every caption ends with: n, seeds, machine, and where thresholds come from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.report.provenance import find_machine
from bench.report.series import Panel, Series
from bench.report.spread import SAID
from bench.results.run import Run

NO_THRESHOLDS = "No threshold is involved."


def count_used(run: Run, split: str) -> str:
    """Return how many samples of a split were used of how many there are: ``500/872``, bare where that is not known."""
    rows = run.record.task.rows.get(split)
    if rows is None:
        return "unknown"
    return f"{rows.used}/{rows.available}" if rows.available else str(rows.used)


def describe_panel(panel: Panel) -> str:
    """Return what a panel's models are and were asked: data, backbone, lengths."""
    run = panel.series[0].first
    task, backbone, spec = run.record.task, run.record.backbone, run.spec
    init = {"scratch": "trained from scratch"}.get(spec.init, spec.init)
    parts = [f"{task.name} from {task.source}", f"split {panel.split}", describe_sizes(panel.runs, panel.split)]
    parts.append(f"{panel.backbone} ({backbone.model_type}, {init}), {panel.layers} layers of width {backbone.hidden}")
    parts.append(f"at most {spec.max_length} tokens")
    return "; ".join(parts) + "."


def describe_sizes(runs: Sequence[Run], split: str) -> str:
    """Return ``n = 872/872, trained on 15000/67349``: used of available."""
    return _sizes((run, split) for run in runs)


def _sizes(members: Iterable[tuple[Run, str]]) -> str:
    members = list(members)
    reported = _each(count_used(run, split) for run, split in members)
    trained = _each(count_used(run, "train") for run, _ in members)
    return f"n = {reported}" + (f", trained on {trained}" if trained != "unknown" else "")


def describe_source(
    panel: Panel, series: Sequence[Series] | None = None, points: bool = True, lowest: bool = False
) -> str:
    """Return sizes, seeds and machines of ``series``, all by default.

    ``points``: also where thresholds come from; ``lowest``: the lowest seed of each series alone is drawn.
    """
    shown = [s.lowest_seed if lowest else s for s in (panel.series if series is None else series)]
    several = any(len(s.runs) > 1 for s in shown)
    parts = [describe_runs(shown), describe_thresholds(shown) if points else NO_THRESHOLDS]
    return " ".join([*parts, SAID] if several and points else parts)


def describe_timings(panels: Sequence[Panel]) -> str:
    """Return the caption of everything that was timed: on how many samples, with which seeds, where."""
    timed = [t for p in panels for s in p.series if (t := s.timed_runs)]
    asked = [run.spec.latency for s in timed for run in s.runs]
    samples = _each(str(args.samples) for args in asked if args is not None)
    return f"Timed on {samples} samples of each; {describe_runs(timed)} {describe_thresholds(timed)}"


def describe_runs(series: Sequence[Series]) -> str:
    """Return ``n = 872/872, trained on 15000/67349; seeds 0, 1; machine 075480a1530e.``"""
    members = [(run, s.split) for s in series for run in s.runs]
    every = sorted({run.seed for run, _ in members})
    where = list(dict.fromkeys(find_machine(run) for run, _ in members))
    seed = f"{'seed' if len(every) == 1 else 'seeds'} {', '.join(map(str, every)) or 'none'}"
    machine = f"{'machine' if len(where) == 1 else 'machines'} {', '.join(where) or 'unknown'}"
    return f"{_sizes(members)}; {seed}; {machine}."


def describe_thresholds(series: Sequence[Series]) -> str:
    """Return where the operating points' thresholds come from."""
    chosen = {point.chosen_on for s in series for result in s.results for point in result.points}
    said = []
    if "select" in chosen:
        held = _each(count_used(run, run.record.task.select) for s in series for run in s.runs)
        said.append(f"Thresholds of operating points were chosen on {held} samples held out of train.")
    if "given" in chosen:
        said.append("Thresholds named by their number were given by the user.")
    if "default" in chosen:
        said.append("The point “default” has the criterion's own default threshold.")
    return " ".join(said) or NO_THRESHOLDS


def _each(counts: Iterable[str]) -> str:
    found = sorted({c for c in counts if c != "unknown"})
    return " or ".join(found) or "unknown"

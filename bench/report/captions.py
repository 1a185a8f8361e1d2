"""What every caption ends with: n, seeds, machine, and where thresholds come from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from bench.cli.display import counted
from bench.report.provenance import machine_of
from bench.report.series import Panel, Series
from bench.report.spread import SAID
from bench.results.data import Result

NO_THRESHOLDS = "No threshold is involved."


def seeds(series: Series) -> str:
    """``0, 1, 2``."""
    return ", ".join(map(str, series.seeds))


def asked(panel: Panel) -> str:
    """What a panel's models are and were asked: data, backbone, lengths."""
    record = panel.series[0].first.view.record
    task, backbone, spec = record["task"], record["backbone"], record["spec"]
    init = {"scratch": "trained from scratch"}.get(str(spec.get("init")), str(spec.get("init")))
    parts = [f"{task['name']} from {task.get('source')}", f"split {panel.split}", sizes(panel.results)]
    model = f"{panel.backbone} ({backbone.get('model_type')}, {init})"
    parts.append(f"{model}, {panel.layers} layers of width {backbone.get('hidden')}")
    parts.append(f"at most {spec.get('max_length')} tokens")
    return "; ".join(parts) + "."


def sizes(results: Sequence[Result]) -> str:
    """``n = 872/872, trained on 15000/67349``: used of available."""
    reported = _each(counted(r.view.record, r.split) for r in results)
    trained = _each(counted(r.view.record, "train") for r in results)
    return f"n = {reported}" + (f", trained on {trained}" if trained != "unknown" else "")


def caption(panel: Panel, series: Sequence[Series] | None = None, points: bool = True, lowest: bool = False) -> str:
    """Sizes, seeds and machines of ``series``; ``points``: where thresholds come from; ``lowest``: one seed of each."""
    shown = list(series if series is not None else panel.series)
    results = [r for s in shown for r in (s.results[:1] if lowest else s.results)]
    several = not lowest and any(len(s.results) > 1 for s in shown)
    parts = [facts(results), origin(results) if points else NO_THRESHOLDS, SAID if several and points else ""]
    return " ".join(p for p in parts if p)


def timed_caption(panels: Sequence[Panel]) -> str:
    """For charts of everything that was timed: on how many samples, with which seeds, where."""
    results = [r for p in panels for r in p.results if any(q.get("latency") for q in r.points.values())]
    asked = [r.view.spec.get("latency") for r in results]
    timed = _each(str(a["samples"]) for a in asked if isinstance(a, Mapping) and "samples" in a)
    return f"Timed on {timed} samples of each; {facts(results)} {origin(results)}"


def facts(results: Sequence[Result]) -> str:
    """``n = 872/872, trained on 15000/67349; seeds 0, 1; machine 075480a1530e.``"""
    every = sorted({r.view.seed for r in results})
    where = list(dict.fromkeys(machine_of(r.view) for r in results))
    seed = f"{'seed' if len(every) == 1 else 'seeds'} {', '.join(map(str, every)) or 'none'}"
    machine = f"{'machine' if len(where) == 1 else 'machines'} {', '.join(where) or 'unknown'}"
    return f"{sizes(results)}; {seed}; {machine}."


def origin(results: Sequence[Result]) -> str:
    """Where the operating points' thresholds come from."""
    chosen = {str(p.get("chosen_on")) for r in results for p in r.points.values()}
    said = []
    if "select" in chosen:
        held = _each(counted(r.view.record, str(r.view.record["task"].get("select"))) for r in results)
        said.append(f"Thresholds of operating points were chosen on {held} samples held out of train.")
    if "given" in chosen:
        said.append("Thresholds named by their number were given by the user.")
    if "default" in chosen:
        said.append("The point “default” has the criterion's own default threshold.")
    other = sorted(chosen - {"select", "given", "default"})
    if other:
        said.append(f"Some thresholds were chosen on {', '.join(other)}, which may be optimistic.")
    return " ".join(said) or NO_THRESHOLDS


def _each(counts: Iterable[str]) -> str:
    found = sorted({c for c in counts if c != "unknown"})
    return " or ".join(found) or "unknown"

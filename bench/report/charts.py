"""What the charts of a panel show, each built once for the page and the figures alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.report import content, numbers
from bench.report.content import Diagnosis
from bench.report.exit_charts import build_depth, build_every_exit, build_exits_used, build_knowledge
from bench.report.marks import SMALL, Axis, Chart, Key, Line, Mark, Point, Reference, Whisker, pad_range
from bench.report.plots.comparison import build_comparison
from bench.report.plots.systems import Shown, choose_shown, describe_shown, merge_alike
from bench.report.provenance import describe_protocols, describe_source, describe_timings
from bench.report.series import Panel
from bench.report.style import Look, choose_look

if TYPE_CHECKING:
    from bench.compare.history import Entry, Step


@dataclass(frozen=True)
class PanelCharts:
    """A panel and everything that is drawn of it."""

    panel: Panel
    diagnoses: Sequence[Diagnosis]
    trade_off: Chart
    exits_used: Sequence[Chart]
    every_exit: Chart
    knowledge: Sequence[Chart]
    depth: Chart | None

    @property
    def exit_charts(self) -> list[Chart]:
        """What is drawn of the exits as such: what each is worth, what it knows, what leaving there costs."""
        return [self.every_exit, *self.knowledge, *([self.depth] if self.depth else [])]

    @property
    def charts(self) -> list[Chart]:
        """All charts, in the order of the page."""
        depth = [self.depth] if self.depth else []
        return [self.trade_off, *self.exits_used, self.every_exit, *self.knowledge, *depth]


def build_charts(panel: Panel) -> PanelCharts:
    """Read the stored logits of ``panel`` and build every chart of it."""
    diagnoses = content.diagnose_exits(panel)
    return PanelCharts(
        panel,
        diagnoses,
        build_trade_off(panel),
        build_exits_used(panel),
        build_every_exit(panel),
        build_knowledge(panel, diagnoses),
        build_depth(panel),
    )


def build_trade_off(panel: Panel) -> Chart:
    """Build the chart of quality against FLOPs speed-up: each published system once, all other series on demand."""
    shown = merge_alike(choose_shown(panel))
    known = {one.series for one in shown}
    rest = [series for series in panel.series if series.early and series not in known]
    others = content.choose_best(rest, max(0, content.MOST_OFFERED - len(known)))
    chart = build_comparison(panel, shown, rules=None, off=[Shown(s.label, s, s.look) for s in others])
    early = sum(series.early for series in panel.series)
    said = f", of the best {content.MOST_OFFERED}; the tables have all" if early > content.MOST_OFFERED else ""
    note = f"One line a system is shown at first; the legend switches the others on{said}." if others else ""
    source = " ".join(filter(None, [describe_shown([(panel, shown)]), describe_source([one.series for one in shown])]))
    return replace(chart, title="Trade-off", source=source, note=note)


def build_realisation(panels: Sequence[Panel]) -> Chart | None:
    """Build the chart of what the FLOPs promise against what the clock measured; None where nothing was timed."""
    rows = content.tabulate_timings(panels)
    if not rows:
        return None
    against = sorted({row["baseline"] for row in rows})
    over = "" if against == ["plain"] else f" over {' or '.join(against)}"
    shown = ("flops_speedup", "low", "high", "samples_low", "samples_high")
    low, high = pad_range([r[name] for r in rows for name in shown] + [1.0], 0.05)
    marks: list[Mark] = [Reference((low, low), (high, high), "y = x: all of it is realised")]
    for row in rows:
        name, at = row["strategy"], row["flops_speedup"]
        marks.append(Whisker(name, choose_look(name), at, row["samples_low"], row["samples_high"], faint=True))
        marks.append(Whisker(name, choose_look(name), at, row["low"], row["high"]))
        tip = (
            f"{row['series']}, {row['panel']}\npoint: {numbers.format_rule(row['rule'])}\n"
            f"FLOPs {at:.2f}×, measured {row['latency_speedup']:.2f}× over {row['baseline']} "
            f"[{row['low']:.2f}, {row['high']:.2f}] over rounds, "
            f"[{row['samples_low']:.2f}, {row['samples_high']:.2f}] over samples\n"
            f"realisation {row['realisation']:.2f}, machine {row['machine']}, {row['protocol']}"
            + ("" if row["valid"] else "\nINVALID timing")
        )
        marks.append(Point(name, choose_look(name), at, row["latency_speedup"], tip, hollow=not row["valid"]))
    return Chart(
        "Promised and measured",
        "Measured speed-up against FLOPs speed-up",
        "Measured against FLOPs speed-up of every timed operating point, on the timed samples; intervals 95 %, over "
        "rounds (how well the clock knows it) and, faint, over samples (how well these stand for the task). Below the "
        "line, less is realised than the FLOPs promise. Hollow: the timing is INVALID."
        + (f" The clock compares with {' or '.join(against)}, FLOPs with the model in its own numbers." if over else "")
        + describe_protocols(r["protocol"] for r in rows),
        describe_timings(panels),
        Axis("FLOPs speed-up", low, high),
        Axis(f"measured speed-up{over}", low, high),
        marks,
        [Key(name, name, choose_look(name)) for name in sorted({r["strategy"] for r in rows})],
        height=400,
    )


HISTORY = Look("blue", "o", "")


def build_history(entries: Sequence[Entry]) -> list[Chart]:
    """Build a chart for each series and number of a history, series by label, with the steps that it took."""
    from bench.compare.history import follow_numbers  # only here: it needs torch, and a report does not

    return [_build_steps(*found) for found in follow_numbers(entries)]


def _build_steps(name: str, kept: Sequence[Entry], taken: Sequence[Step]) -> Chart:
    label, numbers = kept[-1].label, [e.values[name].value for e in kept]
    at = [float(i) for i in range(1, len(kept) + 1)]
    y = Axis("", *pad_range(numbers, 0.12, abs(numbers[0]) * 0.005))
    x = Axis("entry", 0.5, len(kept) + 0.5, sorted({at[0], at[-1], *(at[s.at] for s in taken)}))
    marks: list[Mark] = [Line(label, HISTORY, at, numbers)]
    for here, value, e in zip(at, numbers, kept, strict=True):
        marks.append(Point(label, HISTORY, here, value, f"{e.commit[:9]} {e.at}: {e.mark_number(name)}", size=SMALL))
    for step in taken:
        here = at[step.at] - 0.5
        up = (step.after > step.before) == (here > (x.low + x.high) / 2)  # where the line leaves room for the label
        start, end = (y.low, y.high) if up else (y.high, y.low)
        marks.append(Reference((here, start), (here, end), f"{step.before:.4g} → {step.after:.4g}"))
    title = f"{label}: {name}, {kept[-1].mark_number(name)}"
    return Chart(title, title, "", "", x, y, marks, height=150)

"""ELBERT's own figures, drawn from our data: figure 2 (several tasks), figure 3 (against other methods), ablations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.report import content
from bench.report.captions import caption, facts
from bench.report.content import metric_name
from bench.report.figures import Figure, cut, draw_trade_off, legend_height
from bench.report.formats import Row
from bench.report.series import Panel, Series
from bench.report.style import COLOURS, DASHES, MARKERS, look
from bench.report.tables import trained_as
from bench.results.data import Array, Result, canonical

DELTAS = tuple(round(0.1 * k, 1) for k in range(1, 11))  # ELBERT sec. 3: threshold 0.1 to 1.0
FIRST = ("elbert-mono", "elbert-label", "elbert-range")  # whose curves figure 2 shows, the first that is there


def paper_figures(panels: Sequence[Panel]) -> list[Figure]:
    """Those of the paper's figures that the store has results for."""
    return [*_figure_2(panels), *_figure_3(panels), *_windows(panels), *_criteria(panels)]


def at_threshold(result: Result, delta: float) -> tuple[float, float]:
    """Computation (1 / FLOPs speed-up) and quality where the threshold is ``delta``: the stored row just below it."""
    speedup, quality, thresholds, _ = result.curve
    known = [(-np.inf if t is None else float(t), k) for k, t in enumerate(thresholds)]
    k = max((item for item in known if item[0] <= delta), default=min(known))[1]
    return float(1 / speedup[k]), float(quality[k])


def _figure_2(panels: Sequence[Panel]) -> list[Figure]:
    chosen = []
    for panel in panels:
        series = next((s for name in FIRST for s in panel.series if s.strategy == name), None)
        if series is not None:
            chosen.append((panel, series))
    if not chosen:
        return []
    rows: list[Row] = []
    for panel, series in chosen:
        for delta in DELTAS:
            found = [at_threshold(r, delta) for r in series.results]
            cost, quality = np.mean(found, axis=0)
            rows.append({"panel": panel.title, "series": series.label, "threshold": delta, "computation": float(cost),
                         "metric": panel.metric, "quality": float(quality)})  # fmt: skip
    results = [r for _, s in chosen for r in s.results]
    height = 2.0 + legend_height([p.title for p, _ in chosen])
    words = (
        "After ELBERT's figure 2: quality against computation (fraction of the plain model's FLOPs), threshold 0.1 to "
        f"1.0 in steps of 0.1 from right to left, not chosen on any data. {facts(results)}"
    )
    return [Figure("elbert-figure-2", words, rows, lambda f: _draw_2(f, rows), height)]


def _draw_2(fig: Any, rows: Sequence[Row]) -> None:
    ax = fig.subplots()
    names = list(dict.fromkeys(r["panel"] for r in rows))
    colours = list(COLOURS.values())
    for i, name in enumerate(names):
        own = [r for r in rows if r["panel"] == name]
        dashes = tuple(float(v) for v in DASHES[i // 7 % 4].split())
        ax.plot([r["computation"] for r in own], [r["quality"] for r in own], marker=MARKERS[i % 7], markersize=2.8,
                color=colours[i % 7], linestyle=(0, dashes) if dashes else "-", label=cut(name))  # fmt: skip
    metrics = sorted({metric_name(r["metric"]) for r in rows})
    ax.set_xlabel("computation (fraction of the plain model)")
    ax.set_ylabel(" / ".join(metrics))
    ax.grid(True)
    fig.legend(loc="outside lower center", ncols=1 if max(map(len, names)) > 20 else 2)


def _figure_3(panels: Sequence[Panel]) -> list[Figure]:
    counts = {p.number: len({s.strategy for s in p.series if s.early}) for p in panels}
    most = sorted((p for p in panels if counts[p.number] > 1), key=lambda p: (-counts[p.number], p.number))[:6]
    several = sorted(most, key=lambda p: p.number)
    if not several:
        return []
    rows = [{"panel": p.title, **row} for p in several for row in content.curve_csv(p)]
    words = (
        "After ELBERT's figure 3: strategies against each other; stars are plain compression (models of fewer layers "
        "and the full model, without early exit). " + " ".join(f"{p.title}: {caption(p)}" for p in several)
    )
    height = 0.6 + 1.75 * len(several)
    return [Figure("elbert-figure-3", words, rows, lambda f: _draw_3(f, several), height)]


def _draw_3(fig: Any, panels: Sequence[Panel]) -> None:
    axes = fig.subplots(len(panels), 1, squeeze=False)[:, 0]
    named: dict[str, Any] = {}
    for ax, panel in zip(axes, panels, strict=True):
        draw_trade_off(ax, panel, bands=False)
        ax.set_title(cut(panel.title))
        ax.set_xlabel("")
        handles, labels = ax.get_legend_handles_labels()
        named = {**dict(zip(labels, handles, strict=True)), **named}
    axes[-1].set_xlabel("FLOPs speed-up over the plain model")
    long = max(map(len, named)) > 22
    fig.legend(list(named.values()), list(named), loc="outside lower center", ncols=1 if long else 2)


def _windows(panels: Sequence[Panel]) -> list[Figure]:
    """One figure for every strategy of which a panel has several windows and nothing else that differs."""
    made = []
    for panel in panels:
        groups: dict[str, list[tuple[int, Series]]] = defaultdict(list)
        for series in panel.series:
            args = dict(series.first.view.spec.get("criterion_args") or {})
            window = args.pop("window", None)
            if isinstance(window, int):
                groups[canonical([series.strategy, args, _checkpoint(series)])].append((window, series))
        for number, (_, found) in enumerate(sorted(groups.items()), start=1):
            if len({w for w, _ in found}) > 1:
                made.append(_ablation(panel, f"window-{panel.slug}-{number}", sorted(found, key=lambda f: f[0])))
    return made


def _checkpoint(series: Series) -> str:
    return series.first.view.exits_key


def _ablation(panel: Panel, name: str, found: Sequence[tuple[int, Series]]) -> Figure:
    labelled = [(f"window {w}" if w else "no window", s) for w, s in found]
    strategy = found[0][1].strategy
    words = f"Window size of {strategy} on {panel.title}, same checkpoint. {caption(panel, [s for _, s in found])}"
    return Figure(name, words, _rows(labelled), lambda f: _draw_lines(f, panel, labelled, by_strategy=False), 2.6)


def _criteria(panels: Sequence[Panel]) -> list[Figure]:
    """Criteria on the same checkpoint: the only comparison of criteria alone."""
    made = []
    for panel in panels:
        groups: dict[str, list[Series]] = defaultdict(list)
        for series in panel.series:
            if series.early:
                groups[_checkpoint(series)].append(series)
        several = [g for g in groups.values() if len({s.strategy for s in g}) > 1]
        for number, found in enumerate(several, start=1):
            shown, names = content.best(found), [s.strategy for s in found]
            labelled = [(s.strategy if names.count(s.strategy) == 1 else s.label, s) for s in shown]
            words = f"Criteria on one and the same checkpoint ({trained_as(found[0])}), {panel.title}. "
            words += caption(panel, found)
            words += f" The best {len(shown)} of {len(found)} are drawn." if len(shown) < len(found) else ""
            name = f"criteria-{panel.slug}-{number}"
            height = 2.0 + legend_height([label for label, _ in labelled])
            made.append(Figure(name, words, _rows(labelled), _drawer(panel, labelled), height))
    return made


def _drawer(panel: Panel, labelled: Sequence[tuple[str, Series]]) -> Any:
    return lambda fig: _draw_lines(fig, panel, labelled, by_strategy=True)


def _rows(labelled: Sequence[tuple[str, Series]]) -> list[Row]:
    rows: list[Row] = []
    for label, series in labelled:
        line = series.line
        for x, y, low, high in zip(line.speedup, line.quality, line.low, line.high, strict=True):
            rows.append(
                {"series": label, "speedup": float(x), "quality": float(y), "low": float(low), "high": float(high)}
            )
    return rows


def _draw_lines(fig: Any, panel: Panel, labelled: Sequence[tuple[str, Series]], by_strategy: bool) -> None:
    ax = fig.subplots()
    shades: Array = np.linspace(0.15, 0.85, len(labelled))
    for (label, series), shade in zip(labelled, shades, strict=True):
        own = look(series.strategy)  # its marker too: lines of one colour cross here
        found: Mapping[str, Any] = {"color": own.hex, "marker": own.marker, "markevery": 0.17, "markersize": 2.8}
        if not by_strategy:  # one strategy, so shade says which window
            from matplotlib import colormaps

            found = {"color": colormaps["cividis"](float(shade))}
        dashes = tuple(float(v) for v in series.look.dash.split()) if by_strategy else ()
        ax.plot(series.line.speedup, series.line.quality, label=cut(label), linestyle=(0, dashes) if dashes else "-",
                **found)  # fmt: skip
    ax.set_xlabel("FLOPs speed-up over the plain model")
    ax.set_ylabel(metric_name(panel.metric))
    ax.grid(True)
    names = [label for label, _ in labelled]
    fig.legend(loc="outside lower center", ncols=1 if max(map(len, names)) > 22 else 2)

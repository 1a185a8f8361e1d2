"""One recorded run as a notebook has it: data frames, figures, explanations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backbones.names import make_unknown_error
from bench.api.workplace import Workplace
from bench.errors import UsageError
from bench.measure.metrics import title_metric
from bench.progress import find_notebook
from bench.results.measures import UnreachedPoint
from bench.results.run import Run
from bench.text import write_html_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from bench.analysis.explain import Explanation
    from bench.cell.reload import RunModel

SCREEN_DPI = 130
"""Of a figure that a notebook shows; savefig and `bench plot` take what they are told."""


def draw_runs(runs: Sequence[Run], kind: str, options: Mapping[str, Any]) -> Figure:
    """Return the figure ``kind`` of ``runs``, of which every series is shown. Raises UsageError for unknown options."""
    from bench.report.plots.kinds import draw_plot, find_kind
    from bench.report.plots.options import PlotOptions

    known = [option.name for option in fields(PlotOptions)]
    for name in options:
        if name not in known:
            raise make_unknown_error("option", name, known, " of a figure")
    asked: dict[str, Any] = {"whole": True, "dpi": SCREEN_DPI}
    asked |= {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    show_figures()
    figure: Figure = draw_plot(find_kind(kind), runs, PlotOptions(**asked))
    return figure


def show_figures() -> None:
    """Let a notebook show figures that a cell ends with; a choice of formats that was made there stays."""
    if find_notebook() is None:
        return
    from IPython import get_ipython
    from IPython.core.pylabtools import select_figure_formats
    from matplotlib.figure import Figure

    shell = get_ipython()
    if not any(Figure in known.type_printers for known in shell.display_formatter.formatters.values()):
        select_figure_formats(shell, {"png"})


@dataclass(frozen=True, eq=False, repr=False)
class RunView(Run):
    """A recorded run, and what a notebook asks of it: everything that a Run has, frames, figures and explanations.

    ``place`` is where its data and weights come from. Numbers are those of the primary evaluation split;
    ``run.result(split)`` has the others, typed.
    """

    place: Workplace = field(default_factory=Workplace)

    @classmethod
    def of(cls, run: Run, place: Workplace) -> RunView:
        """Return ``run`` with what a notebook asks of it."""
        return cls(run.folder, run.head, run.name, run.reused, run.changed, run.judged, place=place)

    @property
    def points(self) -> pd.DataFrame:
        """All layers and the operating points, a row each; see :func:`bench.api.frames.frame_points`."""
        from bench.api.frames import frame_points

        return frame_points([self.finished()], named=False)

    @property
    def curve(self) -> pd.DataFrame:
        """The recorded trade-off curve; see :func:`bench.api.frames.frame_curves`."""
        from bench.api.frames import frame_curves

        return frame_curves([self.finished()], named=False)

    def plot(self, kind: str = "trade-off", **options: Any) -> Figure:
        """Return a figure of this run; see :meth:`Results.plot <bench.api.results.Results.plot>`."""
        return draw_runs([self.finished()], kind, options)

    @cached_property
    def model(self) -> RunModel:
        """The trained model with all its exits, on the CPU in float32, rebuilt from its checkpoint.

        Raises UsageError where the checkpoint is gone, or data or backbone are no longer those of the run.
        """
        from bench.cell.reload import load_run_model

        return load_run_model(self, self.place.context(of=self))

    def explain(
        self, text: str | None = None, second: str | None = None, *, sample: str | None = None, point: str | None = None
    ) -> Explanation:
        """Run one text through every exit: probabilities, the criterion's state, and where each criterion leaves.

        ``second`` is the other text of a task with two; ``sample`` is the id of one of the task's own samples, in place
        of a text. ``point`` is an operating point (``"2x"``), by default no-loss where it was reached. Raises
        UsageError for a text that is empty or missing, an unknown sample, and as :attr:`model`.
        """
        from bench.analysis.explain import Text, explain_sample, explain_text

        if (text is None) == (sample is None):
            raise UsageError("explain takes a text, or the id of a sample: run.explain('a text'), sample='...'.")
        run = self.finished()
        if sample is not None:
            return explain_sample(run, self.model, sample, rule=point)
        return explain_text(run, self.model, Text(text or "", second), point)

    def log(self, to: str, project: str = "exitbench") -> str:
        """Send the run to ``wandb``, ``mlflow``, ``tensorboard`` or ``trackio``; return where it is to be found.

        Raises UsageError where that is not installed.
        """
        from bench.api.trackers import log_run

        return log_run(self, to, project)

    def write_card(self, folder: str | Path, point: str | None = None) -> Path:
        """Write a model card for the hub, ``README.md`` in ``folder``, with the results as metadata; return its path.

        At ``no-loss`` where no ``point`` is named, or at the default threshold of a run that has none. `bench export`
        writes the same beside the model. Raises UsageError for a card that is there already, and for a point at which
        nobody leaves early.
        """
        from bench.advise.export.card import write_card
        from bench.advise.export.chosen import choose_exported
        from bench.files import write_text

        path = Path(folder) / "README.md"
        if path.exists():
            raise UsageError(f"{path} is there already: name another folder.")
        named = point or ("default" if self.finished().point("no-loss") is None else "no-loss")
        chosen = choose_exported(self, named)
        write_text(path, write_card(self, chosen, chosen.measured.exit_counts, None))
        return path

    def __repr__(self) -> str:
        """Return the run's label, and its status where it is not finished."""
        return f"<Run {self.label}{'' if self.is_finished() else f': {self.status}'}>"

    def _repr_html_(self) -> str:
        if not self.is_finished():
            return write_html_table(self.label, ["status", "error"], [[self.status, self.error]])
        record, result = self.record, self.result()
        unit = "FLOPs" if result.full.cost_unit == "flops" else "layers"
        timed = {} if record.latency is None else record.latency.configurations
        times = {"all layers": timed.get("all layers"), **{name: one.latency for name, one in result.reached.items()}}
        rows = []
        for name, found in {"all layers": result.full, **{one.rule: one for one in result.points}}.items():
            if isinstance(found, UnreachedPoint):
                rows.append([name, "not reached"])
                continue
            speedup = getattr(times[name], "speedup", None)
            mean = f"{found.mean_layer:.2f} / {self.layers}"
            row = [name, found.metrics[self.metric].write(), mean, found.cost_speedup.write_times()]
            rows.append(row if speedup is None else [*row, speedup.write_times()])
        columns = ["point", title_metric(self.metric), "mean exit", f"{unit} speed-up"]
        columns += ["latency speed-up"] if any(times.values()) else []
        notes = [f"n = {result.samples} of {self.primary}; thresholds chosen on {self.chosen_on} other samples; "
                 "brackets: 95 % intervals."]  # fmt: skip
        notes += self.timing_notes
        return write_html_table(self.label, columns, rows, [*notes, *(f"{doubt.said}." for doubt in self.doubts)])

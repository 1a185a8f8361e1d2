"""A recorded run in an experiment tracker: settings, the operating points as metrics, the curve step by step.

One function a tracker, each of which imports its package when it is called: ``pip install 'exitbench[wandb]'``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from backbones.names import make_unknown_error
from bench.api.frames import list_points
from bench.errors import UsageError
from bench.results.groups import list_asked_settings
from bench.results.run import Run

NUMBERS = ("mean_layer", "cost_speedup", "latency_speedup")
"""Of an operating point, beside its quality."""
CURVE = ("quality", "mean_layer", "cost_speedup")
"""Of a row of the curve, one a step."""


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told of a run: its name, its settings, what is doubted, numbers by name, the curve's rows."""

    name: str
    settings: dict[str, str | int | float | bool]
    notes: str
    metrics: dict[str, float]
    steps: list[dict[str, float]]

    @classmethod
    def of(cls, run: Run) -> TrackedRun:
        """Return what is told of a finished run; a latency that is not valid is no metric."""
        metrics: dict[str, float] = {}
        for point in list_points(run.finished()):
            named = {run.metric: point.get("quality"), **{name: point.get(name) for name in NUMBERS}}
            if not point.get("latency_valid"):
                named.pop("latency_speedup")
            metrics |= {f"{point['point']}/{name}": value for name, value in named.items() if value is not None}
        settings = {name: _write_plain(value) for name, value in list_asked_settings(run).items() if value is not None}
        steps = [{f"curve/{name}": getattr(row, name) for name in CURVE} for row in run.result().curve]
        said = [*(doubt.said for doubt in run.doubts), *run.record.warnings]
        said += run.timing_notes
        kept = {name: value for name, value in metrics.items() if math.isfinite(value)}
        return cls(run.folder.name, settings, "\n".join(said), kept, steps)


def _write_plain(value: object) -> str | int | float | bool:
    return value if isinstance(value, str | int | float | bool) else str(value)


def log_run(run: Run, to: str, project: str = "exitbench") -> str:
    """Send a finished run to the tracker ``to``, under ``project``; return where it is to be found.

    Raises UsageError for an unknown tracker, and for one that is not installed.
    """
    if to not in TRACKERS:
        raise make_unknown_error("tracker", to, TRACKERS)
    entry = TrackedRun.of(run)
    with require_package(to):
        return TRACKERS[to](entry, project)


@contextmanager
def require_package(name: str) -> Iterator[None]:
    """Raise UsageError, which says what to install, where the block lacks the package of the tracker ``name``."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != name:
            raise
        raise UsageError(f"{name} is not installed: pip install 'exitbench[{name}]'.") from error


def log_to_wandb(entry: TrackedRun, project: str) -> str:
    """Log to Weights & Biases: where it is told to go by its own variables (WANDB_MODE=offline keeps it here)."""
    import wandb

    with wandb.init(project=project, name=entry.name, config=entry.settings, notes=entry.notes) as run:
        for step, row in enumerate(entry.steps):
            run.log(row, step=step)
        run.summary.update(entry.metrics)
        return str(run.url or run.dir)


def log_to_mlflow(entry: TrackedRun, project: str) -> str:
    """Log to MLflow: to the server or folder of MLFLOW_TRACKING_URI; ``project`` is the experiment."""
    import mlflow

    def clean(name: str) -> str:
        return re.sub(r"[^\w\-. /]", "_", name)  # all that MLflow takes in names

    mlflow.set_experiment(project)
    with mlflow.start_run(run_name=entry.name, description=entry.notes) as run:
        mlflow.log_params({clean(name): value for name, value in entry.settings.items()})
        mlflow.log_metrics({clean(name): value for name, value in entry.metrics.items()})
        for step, row in enumerate(entry.steps):
            mlflow.log_metrics(row, step=step)
        return str(run.info.run_id)


def log_to_tensorboard(entry: TrackedRun, project: str) -> str:
    """Write TensorBoard's files to ``runs/<project>/<name>``: `tensorboard --logdir runs` shows them."""
    import tensorboard  # noqa: F401 - torch says less clearly that it is missing
    from torch.utils.tensorboard import SummaryWriter

    folder = Path("runs") / project / entry.name
    with SummaryWriter(str(folder)) as writer:
        for step, row in enumerate(entry.steps):
            for name, value in row.items():
                writer.add_scalar(name, value, step)
        writer.add_hparams(entry.settings, entry.metrics, run_name=".")
        if entry.notes:
            writer.add_text("notes", entry.notes)
    return str(folder)


def log_to_trackio(entry: TrackedRun, project: str) -> str:
    """Log to Trackio, which keeps it on this machine: `trackio show` opens it."""
    import trackio

    trackio.init(project=project, name=entry.name, config={**entry.settings, "notes": entry.notes})
    for row in entry.steps:
        trackio.log(row)
    trackio.log(entry.metrics)
    trackio.finish()
    return f"{project}/{entry.name}"


TRACKERS: dict[str, Callable[[TrackedRun, str], str]] = {
    "wandb": log_to_wandb,
    "mlflow": log_to_mlflow,
    "tensorboard": log_to_tensorboard,
    "trackio": log_to_trackio,
}
"""By name, which is the package's and the extra's."""

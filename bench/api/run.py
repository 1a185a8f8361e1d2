"""``bench.run``: one cell, or several, measured or found recorded. `bench run` stands on the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, overload

from backbones.hubcalls import keep_offline, quiet_libraries
from backbones.names import make_unknown_error
from bench.api.results import Results
from bench.api.view import RunView
from bench.api.workplace import Workplace
from bench.errors import UsageError, name_causes
from bench.files import refuse_file
from bench.progress import clear_when_done

if TYPE_CHECKING:
    from backbones.catalog import Init
    from bench.cell.request import Overwrite, Request
    from bench.inference.placement import Dtype
    from bench.results.run import Run
    from bench.sweep import Outcome


class RunOptions(TypedDict, total=False):
    """The options of :func:`run` beside strategy, task and seed."""

    backbone: str | None
    recipe: str | None
    head: str | None
    init: Init | None
    settings: Mapping[str, object] | None
    preset: str | None
    thresholds: Sequence[float] | None
    select: Sequence[str]
    limit: int | None
    device: str
    dtype: Dtype
    latency: bool
    overwrite: Overwrite
    results_dir: str | Path
    hub_root: str | Path | None
    offline: bool
    quiet: bool
    engine: str
    workers: int | None
    threads: int | None


@overload
def run(  # type: ignore[overload-overlap]  # a text is a sequence of texts, too
    strategy: str, task: str, *, seed: int = 0, **options: Unpack[RunOptions]
) -> RunView: ...


@overload
def run(
    strategy: str | Sequence[str],
    task: str | Sequence[str],
    *,
    seed: int | Iterable[int] = 0,
    **options: Unpack[RunOptions],
) -> Results: ...


def run(
    strategy: str | Sequence[str],
    task: str | Sequence[str],
    *,
    seed: int | Iterable[int] = 0,
    backbone: str | None = None,
    recipe: str | None = None,
    head: str | None = None,
    init: Init | None = None,
    settings: Mapping[str, object] | None = None,
    preset: str | None = None,
    thresholds: Sequence[float] | None = None,
    select: Sequence[str] = (),
    limit: int | None = None,
    device: str = "auto",
    dtype: Dtype = "fp32",
    latency: bool = True,
    overwrite: Overwrite = "missing",
    results_dir: str | Path = "results",
    hub_root: str | Path | None = None,
    offline: bool = False,
    quiet: bool = False,
    engine: str = "local",
    workers: int | None = None,
    threads: int | None = None,
) -> RunView | Results:
    """Train (or reuse), measure and record a strategy on a task, as ``bench run`` does; return the recorded run.

    With lists of strategies, tasks or seeds every combination is a cell, run in processes of their own; then a
    :class:`Results` is returned. What is recorded already is not run again.

    Args:
        strategy: A name (``bench list strategies``), ``module:Class``, or a list of them.
        task: A name (``bench list tasks``), a folder with your own files, or a list of them.
        seed: Of training and of the held-out samples; several make several runs.
        backbone: A name, a hub id or a local folder.
        recipe: Train with another recipe than the strategy's own.
        head: Use another head than the strategy's own.
        init: Weights of the backbone; ``finetuned``: its own classifier is the last exit.
        settings: The criterion's arguments by name (``{"window": 4}``), and ``backbone.``, ``head.``, ``recipe.``,
            ``train.`` and ``latency.`` settings (``{"train.lr": 1e-4}``).
        preset: ``"paper"``: the published hyper-parameters.
        thresholds: Measure these thresholds too.
        select: Further operating points: ``"max_loss=0.01"``, ``"speedup=2"``, ``"risk=0.02@0.95"``.
        limit: Use at most this many samples of each split.
        device: ``auto``, ``cpu`` or ``cuda``.
        dtype: Dtype of inference.
        latency: Measure wall-clock time.
        overwrite: What becomes of a result that is there already: measured where something is ``missing``, ``always``
            or ``never``.
        results_dir: Where results are kept.
        hub_root: A local mirror with datasets/ and models/ (or EXITBENCH_HUB).
        offline: Never use the network.
        quiet: Say nothing but warnings.
        engine: Of several cells: ``local``, ``ray`` or ``ray:ADDRESS``.
        workers: Of several cells: how many at once.
        threads: Of several cells: CPU threads of each untimed one.

    Raises:
        UserError: In one line, what cannot be run as it was asked for; of several cells, which of them failed.
    """
    quiet_libraries()
    place = Workplace(Path(results_dir), None if hub_root is None else Path(hub_root), offline, quiet)
    alone = isinstance(strategy, str) and isinstance(task, str) and isinstance(seed, int)
    refuse_file(place.results_dir)
    with name_causes(), keep_offline(offline), clear_when_done():
        requests = list_requests(
            _list_names(strategy, "strategies"), _list_names(task, "tasks"),
            [seed] if isinstance(seed, int) else list(dict.fromkeys(seed)),
            backbone=backbone, recipe=recipe, head=head, init=init, settings=dict(settings or {}), preset=preset,
            thresholds=None if thresholds is None else tuple(thresholds), select=tuple(select), limit=limit,
            device=device, dtype=dtype, latency=latency,
        )  # fmt: skip
        if alone:
            from bench.cell.command import write_arguments, write_command
            from bench.cell.run import run_request

            context = place.context(overwrite)
            command = write_command(write_arguments(requests[0], context))
            return RunView.of(run_request(requests[0], place.context(overwrite, command=command)), place)
        from bench.sweep import collect_failures, make_engine, run_cells

        outcomes = run_cells(requests, place.context(overwrite), make_engine(engine, workers, threads))
        failed = collect_failures(outcomes)
        if failed is not None:
            raise failed
        return Results.of((load_outcome(one, place.results_dir) for one in outcomes), place)


def load_outcome(outcome: Outcome, root: Path) -> Run:
    """Return the run that a cell of several ended in, or that was there before, in the store ``root``."""
    from bench.results.places import DEPTH
    from bench.results.run import Run

    assert outcome.folder is not None, "a cell that has ended well has a folder"
    name = Path(*outcome.folder.parts[-DEPTH:])  # a worker gives it from the top, whatever the store was called
    return replace(Run.load(root / name, name.as_posix()), reused=outcome.status == "recorded")


def list_requests(strategies: Sequence[str], tasks: Sequence[str], seeds: Sequence[int], **every: Any) -> list[Request]:
    """Return a request for every strategy × task × seed; ``every`` is what all share.

    Raises UsageError, before torch is loaded, for an unknown strategy.
    """
    refuse_unknown(strategies)
    from bench.cell.request import Request

    return [Request(strategy=s, task=t, seed=n, **every) for s, t, n in product(strategies, tasks, seeds)]


def refuse_unknown(strategies: Sequence[str]) -> None:
    """Raise UsageError for the first name that is neither a strategy's nor ``module:Class``; loads no torch."""
    from strategies import STRATEGIES

    for name in strategies:
        if name not in STRATEGIES and ":" not in name:
            raise make_unknown_error("strategy", name, STRATEGIES)


def _list_names(given: str | Sequence[str], what: str) -> list[str]:
    if isinstance(given, str) and "," in given:
        raise UsageError(f"Several {what} are a list: {[name.strip() for name in given.split(',')]}.")
    names = [given] if isinstance(given, str) else list(dict.fromkeys(given))
    if not names:
        raise UsageError(f"{what} is empty.")
    return names

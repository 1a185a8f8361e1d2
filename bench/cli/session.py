"""What commands share: the options that most take, as fields of :class:`Session`, and others that some take.

A session is the workplace that every command has, as options: results folder, hub mirror, network, what is printed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from inspect import Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backbones.hubcalls import keep_offline
from backbones.names import trust_names
from bench.api.workplace import Workplace
from bench.cli.words import add_words
from bench.errors import UsageError
from bench.files import refuse_file
from bench.tasks import TASK_GROUPS
from strategies import STRATEGIES, STRATEGY_GROUPS, list_group

if TYPE_CHECKING:
    from bench.cell.request import Context, Overwrite
    from bench.measure.judges import AskedMetric
    from bench.results.run import Run


RunName = Annotated[str, typer.Argument(help="A recorded run: its folder, name or key, or 'last'.")]
Tasks = Annotated[str | None, typer.Option("--task", help="Only these tasks, separated by commas.")]
Backbones = Annotated[str | None, typer.Option("--backbone", help="Only these backbones, separated by commas.")]
MetricName = Annotated[
    str | None,
    typer.Option(
        "--metric",
        metavar="METRIC",
        help="Judge by this instead of the task's own: auroc, recall:LABEL, module:function.",
    ),
]
MetricNames = Annotated[
    str | None,
    typer.Option("--metric", help="These too, separated by commas: auroc, log_loss, recall:LABEL, module:function."),
]
ExecutorName = Annotated[str, typer.Option(help="eager or compile; on a GPU also graph and conditional.")]
SettingOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="The criterion's own, as window=4, or with its part: train.lr=2e-5, recipe., head., backbone., latency.",
    ),
]


@dataclass(frozen=True)
class Session(Workplace):
    """The shared options of one call of ``bench``; a command that does not take one has its default."""

    results_dir: Annotated[Path, typer.Option(help="Where results are kept.")] = Path("results")
    hub_root: Annotated[
        Path | None, typer.Option(help="Local mirror with datasets/ and models/; default $EXITBENCH_HUB.")
    ] = None
    offline: Annotated[bool, typer.Option("--offline", help="Never use the network.")] = False
    json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of tables.")] = False
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")] = False
    allow_imports: Annotated[
        bool, typer.Option("--allow-imports", help="Run modules that a record names (module:Name): trust its maker.")
    ] = False

    def read_strategies(self, text: str, option: str = "--strategy") -> list[str]:
        """Return the strategies in ``a,b`` as they are listed; 'paper' and 'all' stand for several.

        Says on stderr what another name, as 'elbert', was taken for. A name that is not listed is left as it is.
        """
        found: list[str] = []
        for name in split_names(text, option):
            listed = STRATEGIES.find_name(name)
            if listed not in STRATEGIES and (group := name.casefold()) in STRATEGY_GROUPS:
                found += list_group(group)
                self.progress.say(f"--strategy {name}: {', '.join(list_group(group))}.")
                continue
            if name.casefold() in STRATEGIES.aliases:
                said = dict(STRATEGIES.summaries(installed=False))[listed]
                self.progress.say(f"'{name}' is read as {listed}. {said}")
            found.append(listed)
        return list(dict.fromkeys(found))

    def read_tasks(self, text: str) -> list[str]:
        """Return the tasks in ``a,b``; the names of :data:`TASK_GROUPS` stand for several, which is said on stderr."""
        found: list[str] = []
        for name in split_names(text, "--task"):
            group = TASK_GROUPS.get(name.casefold(), ())
            if group:
                self.progress.say(f"--task {name}: {', '.join(group)}.")
            found += group or (name,)
        return list(dict.fromkeys(found))

    def read_strategy(self, text: str) -> str:
        """Return the one strategy that ``text`` names. Raises UsageError for several."""
        found = self.read_strategies(text)
        if len(found) > 1:
            raise UsageError(f"--strategy takes one strategy here, not {len(found)}.")
        return found[0]

    def read_metric(self, text: str | None, *, ranked: str = "") -> AskedMetric | None:
        """Return the metric that was typed; None where none was. Raises UsageError for a loss where that is ``ranked``.

        A function of the user's own is imported.
        """
        from bench.measure.judges import read_metric

        asked = None if text is None else read_metric(text.strip())
        if ranked and asked is not None and asked.is_loss:
            raise UsageError(
                f"{ranked} ranks by what is better where it is higher, and {asked.name} is a loss: `bench table`, "
                "`bench show` and `bench plot` take it."
            )
        return asked

    def context(self, overwrite: Overwrite = "missing", *, of: Run | None = None, command: str = "") -> Context:
        """Return what the cells of a run are measured with; into their records goes the command as it was typed."""
        from bench.cell.command import write_command

        return super().context(overwrite, of=of, command=command or write_command())


def with_session(
    *options: str, check_place: bool = True, short: Mapping[str, str] | None = None
) -> Callable[[Callable[..., int | None]], Callable[..., int | None]]:
    """Make a command of a function whose first parameter is a Session: in its place come the Session's ``options``.

    Without names these are all. The function returns the exit code, or None for success. With --offline, nothing that
    the command imports or starts uses the network. A file in the place of the results folder is refused, but for a
    command that finds out by itself what would go wrong (``check_place``). ``short`` are letters for some options.
    """
    every = signature(Session, eval_str=True).parameters
    shared = [every[name] for name in options or every]

    def make_command(function: Callable[..., int | None]) -> Callable[..., int | None]:
        own = list(signature(function, eval_str=True).parameters.values())[1:]

        @wraps(function)
        def command(**given: Any) -> int | None:
            session = Session(**{option.name: given.pop(option.name) for option in shared})
            refuse_infinite(given)
            if check_place:
                refuse_file(session.results_dir)
            with keep_offline(session.offline), trust_names(session.allow_imports):
                return function(session, **given)

        parameters = [add_words(parameter, (short or {}).get(parameter.name)) for parameter in (*own, *shared)]
        command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]  # what typer reads
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        return command

    return make_command


def refuse_infinite(given: Mapping[str, object]) -> None:
    """Raise UsageError for the first option whose number is infinite or none: no JSON has it, and no wait ends."""
    for name, value in given.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"--{name.replace('_', '-')} must be a finite number, not {value}.")


def split_names(text: str, option: str) -> list[str]:
    """Return the names in ``a,b``, each once. Raises UsageError, naming the option, where there are none."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UsageError(f"{option} is empty.")
    return list(dict.fromkeys(names))


MOST_SEEDS = 10_000


def split_seeds(text: str) -> list[int]:
    """Return the whole numbers in ``0,2,5-7``, each once. Raises UsageError for anything else."""
    wrong = UsageError(f"--seed takes whole numbers separated by commas, and ranges such as 0-4, not '{text}'.")
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if dash and first.isdecimal() and last.isdecimal():
            low, high = int(first), int(last)
            if high < low:
                raise UsageError(f"--seed {part.strip()} is empty: the first number of a range is the smaller one.")
            if high - low >= MOST_SEEDS:
                raise UsageError(f"--seed {part.strip()} has more than {MOST_SEEDS:,} seeds.")
            found += range(low, high + 1)
            continue
        try:
            found.append(int(part))
        except ValueError:
            raise wrong from None
    return list(dict.fromkeys(found))

"""The command line as a whole: the table of commands. Each is imported when it is asked for, the others are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from backbones.names import Registry, make_unknown_error
from bench.errors import OK

COMMANDS = {
    "run": "bench.cli.verbs.run:run",
    "advise": "bench.cli.verbs.own.advise:advise",
    "replay": "bench.cli.verbs.replay:replay",
    "import": "bench.cli.verbs.own.import_logits:import_logits",
    "show": "bench.cli.verbs.show:show",
    "list": "bench.cli.verbs.list:list_names",
    "report": "bench.cli.verbs.report:report",
    "plot": "bench.cli.verbs.plot:plot",
    "table": "bench.cli.verbs.matched.table:table",
    "pick": "bench.cli.verbs.matched.pick:pick",
    "criteria": "bench.cli.verbs.criteria:criteria",
    "reproduce": "bench.cli.verbs.reproduce:reproduce",
    "explain": "bench.cli.verbs.explain:explain",
    "diagnose": "bench.cli.verbs.diagnose:diagnose",
    "serve": "bench.cli.verbs.serve:serve",
    "export": "bench.cli.verbs.own.export:export",
    "log": "bench.cli.verbs.log:log",
    "monitor": "bench.cli.verbs.own.monitor:monitor",
    "doctor": "bench.cli.verbs.doctor:doctor",
    "selfcheck": "bench.cli.verbs.selfcheck:selfcheck",
    "compare": "bench.cli.verbs.compare:compare",
    "simulate": "bench.cli.verbs.simulate:simulate",
    "gate": "bench.cli.verbs.gate:gate",
    "history": "bench.cli.verbs.history:history",
}
"""Command to function, in the order of the help."""
FORMER = {"bench-engine": "selfcheck"}
"""Names that commands had once, still understood."""

VERBS: Registry[Callable[..., int | None]] = Registry("command", COMMANDS)
PLAIN: dict[str, Any] = {"add_completion": False, "pretty_exceptions_enable": False, "rich_markup_mode": None}
HELP = {"help_option_names": ["-h", "--help"]}


class Verbs(TyperGroup):
    """The commands of :data:`COMMANDS`; the list of all is read from their source, so that it imports none."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        name = FORMER.get(cmd_name, cmd_name)
        if name not in COMMANDS:
            if not ctx.resilient_parsing:  # while a shell completes a line, nothing is wrong yet
                ctx.fail(str(make_unknown_error("command", name, COMMANDS)).replace("Unknown", "No such", 1))
            return None
        alone = typer.Typer(**PLAIN)
        alone.command(name, context_settings=HELP)(VERBS.load(name))
        return typer.main.get_command(alone)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            said = dict(VERBS.summaries())
            formatter.write_dl([(name, said[name]) for name in COMMANDS])


app = typer.Typer(name="bench", cls=Verbs, no_args_is_help=True, context_settings=HELP, **PLAIN)


@app.callback(invoke_without_command=True)
def main(version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False) -> None:
    """Early exit in encoder transformers, measured side by side: accuracy, FLOPs and honest latency."""
    if version:
        from bench import __version__

        typer.echo(__version__)
        raise typer.Exit(OK)

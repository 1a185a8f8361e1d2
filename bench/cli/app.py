"""The command line as a whole: the table of commands. Each is imported when it is asked for, the others are not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from backbones.names import Registry, make_unknown_error
from bench.cli.help import Verb, write_lists
from bench.errors import OK

COMMAND_GROUPS: Mapping[str, Mapping[str, str]] = {
    "Measure": {
        "run": "bench.cli.verbs.run:run",
        "reproduce": "bench.cli.verbs.reproduce:reproduce",
        "replay": "bench.cli.verbs.replay:replay",
        "import": "bench.cli.verbs.own.import_logits:import_logits",
        "serve": "bench.cli.verbs.serve:serve",
    },
    "Your own model": {
        "advise": "bench.cli.verbs.own.advise:advise",
        "export": "bench.cli.verbs.own.export:export",
        "monitor": "bench.cli.verbs.own.monitor:monitor",
        "check": "bench.cli.verbs.own.check:check",
        "new": "bench.cli.verbs.own.new:new",
    },
    "Look at results": {
        "table": "bench.cli.verbs.matched.table:table",
        "pick": "bench.cli.verbs.matched.pick:pick",
        "report": "bench.cli.verbs.report:report",
        "plot": "bench.cli.verbs.plot:plot",
        "criteria": "bench.cli.verbs.criteria:criteria",
        "show": "bench.cli.verbs.show:show",
        "list": "bench.cli.verbs.list:list_names",
        "explain": "bench.cli.verbs.explain:explain",
        "diagnose": "bench.cli.verbs.diagnose:diagnose",
        "log": "bench.cli.verbs.log:log",
    },
    "Compare": {
        "compare": "bench.cli.verbs.compare:compare",
        "gate": "bench.cli.verbs.gate:gate",
        "history": "bench.cli.verbs.history:history",
    },
    "The harness itself": {
        "doctor": "bench.cli.verbs.harness.doctor:doctor",
        "selfcheck": "bench.cli.verbs.harness.selfcheck:selfcheck",
        "simulate": "bench.cli.verbs.harness.simulate:simulate",
        "pack": "bench.cli.verbs.harness.pack:pack",
        "completion": "bench.cli.verbs.harness.completion:completion",
    },
}
"""Command to function, in the groups and the order of the help."""
COMMANDS = {name: target for group in COMMAND_GROUPS.values() for name, target in group.items()}
FORMER = {"bench-engine": "selfcheck"}
"""Names that commands had once, still understood."""
EXAMPLES = (
    "bench run --strategy elbert-mono --task demo",
    "bench advise ./my-model --data val.csv",
    "bench run -h",
)

VERBS: Registry[Callable[..., int | None]] = Registry("command", COMMANDS)
PLAIN: dict[str, Any] = {"add_completion": False, "pretty_exceptions_enable": False, "rich_markup_mode": None}
HELP = {"help_option_names": ["-h", "--help"]}


class Verbs(TyperGroup):
    """The commands of :data:`COMMANDS`; the list of all is read from their source, so that it imports none."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_help_option(self, ctx: Any) -> Any:
        """Return -h with a value of its type where it is not given, so that nothing is imported to convert none."""
        option = super().get_help_option(ctx)
        if option is not None and option.default is None:
            option.default = False
        return option

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        name = FORMER.get(cmd_name, cmd_name)
        if name not in COMMANDS:
            if not ctx.resilient_parsing:  # while a shell completes a line, nothing is wrong yet
                ctx.fail(str(make_unknown_error("command", name, COMMANDS)).replace("Unknown", "No such", 1))
            return None
        alone = typer.Typer(**PLAIN)
        alone.command(name, cls=Verb, context_settings=HELP)(VERBS.load(name))
        return typer.main.get_command(alone)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        said = dict(VERBS.summaries())
        groups = [(title, [(name, said[name]) for name in commands]) for title, commands in COMMAND_GROUPS.items()]
        write_lists(formatter, groups, beside=True)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Start with"):
            for line in EXAMPLES:
                formatter.write(f"  {line}\n")


app = typer.Typer(name="bench", cls=Verbs, no_args_is_help=True, context_settings=HELP, **PLAIN)


@app.callback(invoke_without_command=True)
def main(version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False) -> None:
    """Early exit in encoder transformers, measured side by side: accuracy, FLOPs and honest latency."""
    if version:
        from bench import __version__

        typer.echo(__version__)
        raise typer.Exit(OK)

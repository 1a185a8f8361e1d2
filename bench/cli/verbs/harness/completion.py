"""`bench completion`: what a shell needs to complete `bench`: commands, options, names of strategies, tasks, runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from backbones.names import make_unknown_error
from bench.cli import completing
from bench.cli.session import Session, with_session
from bench.errors import UsageError
from bench.files import write_text

SHELLS = ("bash", "zsh", "fish")
OPTION_AND_VALUE = "  [[ $PREFIX == --*=* ]] && compset -P '*='"
"""For zsh: of --option=value the value alone is completed."""
AUTOLOADED = """
if [[ $funcstack[1] == _bench ]]; then
  _bench_completion "$@"
fi"""
"""For zsh: a file in the function path is read at the first tab, which has to be answered too."""


@with_session("quiet")
def completion(
    session: Session,
    shell: Annotated[
        str,
        typer.Argument(
            help="bash, zsh or fish; default the one in $SHELL.",
            metavar="SHELL",
            autocompletion=completing.offer_values(*SHELLS),
        ),
    ] = "",
    install: Annotated[
        bool, typer.Option("--install", help="Install it for this user: a file, and a line in the shell's own.")
    ] = False,
) -> None:
    """Print or install what completes `bench` at the tab key.

    Commands, options, and names of strategies, tasks, backbones, recipes, heads and recorded runs are completed.

    $ bench completion bash --install
    $ bench completion zsh > ~/.zfunc/_bench
    """
    name = shell or Path(os.environ.get("SHELL", "")).name
    if not name:
        raise UsageError("$SHELL does not say which shell this is: bench completion bash, zsh or fish.")
    if name not in SHELLS:
        raise make_unknown_error("shell", name, SHELLS)
    from typer.completion import get_completion_script  # type: ignore[attr-defined]
    from typer.completion import install as install_script  # type: ignore[attr-defined]

    script = get_completion_script(prog_name="bench", complete_var="_BENCH_COMPLETE", shell=name)
    if name == "zsh":
        script = script.replace("  eval", f"{OPTION_AND_VALUE}\n  eval") + AUTOLOADED
    if not install:
        print(script)
        return
    _, path = install_script(shell=name, prog_name="bench", complete_var="_BENCH_COMPLETE")
    write_text(path, script + "\n")
    session.progress.say(f"Installed: {path}. A new terminal has it.")

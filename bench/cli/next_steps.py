"""What to try after a run: commands that work with what was just recorded."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from bench.compare.criteria import LEAST_CRITERIA, group_by_training
from bench.results.run import Run


def suggest_steps(runs: Sequence[Run], results_dir: Path) -> list[str]:
    """Return two or three commands, each with what it answers, for finished runs that have just been made."""
    where = "" if results_dir == Path("results") else f" --results-dir {shlex.quote(str(results_dir))}"
    task = shlex.quote(runs[0].task)
    if len(runs) == 1:
        steps = [(f"bench show strategy {shlex.quote(runs[0].strategy)}", "its paper, equations and settings")]
        if runs[0].record.task.kind == "classification" and runs[0].result().reached:
            name = shlex.quote(runs[0].folder.name)
            steps.insert(0, (f"bench explain {name} --cases{where}", "who leaves early, who is overthought"))
    else:
        steps = [(f"bench pick --task {task} --max-loss 0.01{where}", "the fastest that loses at most one point")]
        if any(len(group) >= LEAST_CRITERIA for group in group_by_training(runs)):
            against = shlex.quote(runs[0].strategy)
            answer = "the criteria alone, on the same checkpoint"
            steps.append((f"bench criteria --task {task} --against {against}{where}", answer))
    steps.append((f"bench report --out report --task {task}{where}", "all of it as a page"))
    return [line for command, answer in steps for line in (f"  {command}", f"      {answer}")]

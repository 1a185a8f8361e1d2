"""``python -m tests.mutation --seed 0 --count 220``: mutants chosen by chance, how many the tests kill, and the rest.

The tree is copied to a temporary folder, so nothing here changes while it runs. A mutant meets the tests of the folder
that mirrors its file first, those that run its line; if it survives, all others that run the line and their neighbours
in the same files; of both as many as fit into ``--most`` CPU seconds, first those that run what few tests run.
``--keep`` keeps the recording of who runs what for the next time, and goes on where a run was cut off; with ``--again``
what survived is tried again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.mutation.mutants import Mutant, find_mutants, make_mutant, rewrite

ROOT = Path(__file__).parents[2]
NEAR = 6
"""Tests that run seldom lines so near to a mutant come first: they are about what it is in."""
FOLDERS = ["strategies/", "bench/measure/", "bench/results/", "bench/compare/", "bench/training/"]


def choose(seed: int, count: int, folders: list[str]) -> list[Mutant]:
    """Return ``count`` mutants of all, chosen by chance, in order of file and line."""
    paths = [p.relative_to(ROOT).as_posix() for folder in folders for p in sorted((ROOT / folder).rglob("*.py"))]
    found = [mutant for path in paths for mutant in find_mutants(ROOT, path, seed)]
    print(f"{len(found)} mutants of {len(paths)} files, {min(count, len(found))} chosen.", flush=True)
    return sorted(sorted(found, key=lambda m: m.rank)[:count], key=lambda m: (m.path, m.line))


def copy_tree(target: Path) -> None:
    """Copy what git knows to ``target``, the files of all folders rewritten, one statement a line."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True)
    for name in names.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)
    for folder in FOLDERS:
        for path in (target / folder).rglob("*.py"):
            path.write_text(rewrite(path.read_text(encoding="utf-8")), encoding="utf-8")


def start_worker(copy: Path, *arguments: str | Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    environment.setdefault("EXITBENCH_SHARED", str(ROOT.parent / "shared"))
    command = [sys.executable, "-m", "tests.mutation.worker", *map(str, arguments)]
    return subprocess.Popen(command, cwd=copy, env=environment)


def plan_stages(mutant: Mutant, tests: dict[str, Any], most: float) -> list[tuple[list[str], float]]:
    """Return the tests of the mirroring folder that run the mutant's line, then all others near them, with seconds."""
    lines = {name: set(facts["lines"].get(mutant.path, [])) for name, facts in tests.items()}
    mirror = "tests/" + mutant.path.removeprefix("bench/").partition("/")[0] + "/"
    running = {name for name, found in lines.items() if mutant.at in found}
    near = set(range(mutant.at - NEAR, mutant.at + NEAR + 1)) if running and mutant.at else set()
    if not running:  # the import runs it: whoever reads what is there then
        running = {name for name, found in lines.items() if found or name.startswith(mirror)}
    files = {file_of(name) for name in running}
    first = {name for name in running if name.startswith(mirror)}
    others = {name for name in tests if file_of(name) in files} - first
    seldom = {line: 1 / max(1, sum(line in found for found in lines.values())) for line in near}
    worth = {
        name: (1e-3 + sum(seldom.get(line, 0.0) for line in lines[name])) / (0.2 + tests[name]["seconds"])
        for name in first | others
    }
    return [pick_tests(names, tests, worth, most) for names in (first, others)]


def pick_tests(names: set[str], tests: dict[str, Any], worth: dict[str, float], most: float) -> tuple[list[str], float]:
    """Return the tests that are worth most, as many as fit into ``most`` seconds, and their seconds."""
    chosen, spent = [], 0.0
    for name in sorted(names, key=lambda n: (-worth[n], n)):
        if spent + tests[name]["seconds"] <= most:
            chosen.append(name)
            spent += tests[name]["seconds"]
    return chosen, spent


def file_of(name: str) -> str:
    return name.partition("::")[0]


def report(mutants: list[Mutant], results: dict[str, dict[str, Any]]) -> None:
    """Print the survivors as rows of a Markdown table, then the counts."""
    for m in mutants:
        if not results[m.rank]["killed"]:
            print(f"| {m.path}:{m.line} | {m.kind} | `{m.before}` -> `{m.after}` |")
    done = [results[m.rank]["killed"] for m in mutants]
    killed = sum(map(bool, done))
    slow = sum(k == "time limit" for k in done)
    print(f"{killed} of {len(done)} killed ({killed / len(done):.1%}), {slow} of them by the time limit.")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=220)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--most", type=float, default=30.0, help="CPU seconds of tests, the mirroring and the others")
    parser.add_argument("--again", action="store_true", help="try again what survived")
    parser.add_argument("--keep", type=Path, help="folder for what is recorded and found; an interrupted run goes on")
    parser.add_argument("--folders", nargs="+", default=FOLDERS)
    options = parser.parse_args()
    mutants = choose(options.seed, options.count, options.folders)
    sources = {mutant.rank: make_mutant(ROOT, mutant) for mutant in mutants}
    with tempfile.TemporaryDirectory() as temporary:
        keep = options.keep or Path(temporary)
        keep.mkdir(parents=True, exist_ok=True)
        copies = [Path(temporary) / f"copy{number}" for number in range(options.jobs)]
        for copy in copies:
            copy_tree(copy)
        recorded, found = keep.resolve() / "recorded.json", keep.resolve() / "found.jsonl"
        if not recorded.exists():
            start_worker(copies[0], "record", recorded, *FOLDERS).wait()
        facts = json.loads(recorded.read_text())
        print(f"{len(facts['tests'])} tests recorded; these fail without a mistake: {facts['left out'] or 'none'}.")
        known = {rank for rank, result in read_results(found).items() if result["killed"] or not options.again}
        tasks = [
            {
                "path": m.path,
                "rank": m.rank,
                "source": sources[m.rank],
                "stages": plan_stages(m, facts["tests"], options.most),
            }
            for m in mutants
            if m.rank not in known
        ]
        workers = []
        for number, copy in enumerate(copies):
            (copy / "tasks.json").write_text(json.dumps(tasks[number :: options.jobs]))
            workers.append(start_worker(copy, "mutants", copy / "tasks.json", found))
        for worker in workers:
            worker.wait()
        report(mutants, read_results(found))


def read_results(found: Path) -> dict[str, dict[str, Any]]:
    lines = found.read_text().splitlines() if found.exists() else []
    return {result["rank"]: result for result in map(json.loads, lines)}


if __name__ == "__main__":
    main()

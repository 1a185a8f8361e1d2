"""A built-in strategy, head, recipe or probe whose source changes raises its version, or changes no result.

After a change that alters results: raise ``version`` where it is defined. In any case write the table again with
``python -m tests.project.test_source_digests``; it says what it changed, for whoever reviews it. A part that is new
has no results to be protected yet: it is held from the first table that knows it.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from pathlib import Path

import strategies
from bench.cell.sources import digest_class
from strategies import HEADS, RECIPES, STRATEGIES
from strategies.probe import Probe

TABLE = Path(__file__).with_name("source_digests.json")
UPDATE = "raise its version if a result can change, then write the table: python -m tests.project.test_source_digests"


def list_present() -> dict[str, list[object]]:
    """Version and digest of everything with a version; a strategy's is its criterion's, which its version is about."""
    found: dict[str, list[object]] = {}
    for name in STRATEGIES.builtin:
        kind = STRATEGIES.load(name)
        versions = [kind.version_for(outputs) for outputs in (1, 2, 3)]
        found[f"strategy {name}"] = [versions, digest_class(kind.criterion)]
    for what, table in (("head", HEADS), ("recipe", RECIPES)):
        for name in table.builtin:
            part = table.load(name)
            found[f"{what} {name}"] = [getattr(part, "version", 1), digest_class(part)]
    for module in pkgutil.iter_modules(strategies.__path__):
        importlib.import_module(f"strategies.{module.name}")
    for probe in sorted(Probe.__subclasses__(), key=lambda kind: kind.__name__):
        if probe.__module__.startswith("strategies."):
            found[f"probe {probe.__name__}"] = [probe.version, digest_class(probe)]
    return found


def test_a_built_in_part_that_changes_raises_its_version() -> None:
    kept, now = json.loads(TABLE.read_text()), list_present()
    silent = [name for name in now if name in kept and kept[name][0] == now[name][0] and kept[name][1] != now[name][1]]
    assert not silent, f"The source of {', '.join(silent)} has changed without its version: {UPDATE}"
    stale = [name for name, known in kept.items() if now.get(name) != known]
    assert not stale, f"{', '.join(stale)} has another version or is gone: {UPDATE}"


if __name__ == "__main__":
    before, after = json.loads(TABLE.read_text()) if TABLE.exists() else {}, list_present()
    TABLE.write_text("{\n" + ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in after.items()) + "\n}\n")
    for part in [name for name in {**before, **after} if before.get(name) != after.get(name)]:
        print(f"{part}: {before.get(part)} -> {after.get(part)}")

"""Names of the plain models that can be asked for beside early exit; needs no torch."""

from __future__ import annotations

import re

from bench.errors import UsageError

BASELINES = ("fp32", "bf16", "compile", "int8")
"""What can be asked for by name, beside ``first-K``: the first K layers and the head there."""
AS_IT_IS = ("plain", "stock")
"""The whole model in its own numbers, by this package's loop and by transformers': always timed."""
FIRST_LAYERS = re.compile(r"first-([1-9][0-9]?)")


def write_over(baseline: str) -> str:
    """Return " over int8", to stand behind a speed-up over another model than the whole one in its own numbers."""
    return "" if baseline in ("", *AS_IT_IS) else f" over {baseline}"


def parse_baselines(text: str) -> tuple[str, ...]:
    """Return the names in ``bf16,int8,first-6``, each once. Raises UsageError for others."""
    names = tuple(dict.fromkeys(filter(None, map(str.strip, text.split(",")))))
    if text and not names:
        raise UsageError(f"latency.baselines: '{text}' names none of {', '.join(BASELINES)}, first-K.")
    for name in names:
        if name not in BASELINES and not FIRST_LAYERS.fullmatch(name):
            raise UsageError(f"latency.baselines: '{name}' is none of {', '.join(BASELINES)}, first-K.")
    return names

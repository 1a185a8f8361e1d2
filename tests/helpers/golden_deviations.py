"""Where our answers differ from the reference vectors on purpose, and for which of four reasons."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

REASONS = {
    "float32": "the reference's answer hangs on float32 rounding, overflow or NaN: in float64 it answers otherwise",
    "window-classes": "ELBERT's released window reads p(class 0) only; ours follows the predicted class (C > 2)",
    "last-highway": "the untrained last highway answered; ours never does, the model's own classifier answers there",
    "whole-batch": "the released rule keeps a batch together until all agree; here every sample has its own state",
}
LIST = Path(__file__).parent / "golden_deviations.json"


def reason(case: dict[str, Any]) -> str | None:
    """Why ``case`` does not bind us, or None where it does."""
    if not case["f64_agrees"]:
        return "float32"
    if case["system"] == "elbert" and case["criterion"].startswith("bias") and case["num_labels"] > 2:
        return "window-classes"
    if case["criterion"] == "patience_batch_all":
        return "whole-batch"
    if case["system"] in ("deebert", "romebert") and _last_highway_answered(case):
        return "last-highway"
    return None


def _last_highway_answered(case: dict[str, Any]) -> bool:
    if case["exit_layer"] < case["num_layers"]:
        return False
    final = case["final_logits"]
    return bool(case["prediction"] != final.index(max(final)))


def listed() -> list[dict[str, Any]]:
    """The deviations one by one: file, id, reason, the reference's answer and ours, as [exit layers, predictions]."""
    loaded: list[dict[str, Any]] = json.loads(LIST.read_text(encoding="utf-8"))
    return loaded

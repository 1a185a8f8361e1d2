"""Vectors of the newer systems, and heads with their recorded weights."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch

from backbones.base import LayeredEncoder
from strategies.past_future import PastFutureHead
from strategies.zero_time import CascadeHead

GOLDEN = Path(__file__).parents[1] / "golden" / "newer"
Case = dict[str, Any]

MIXTURES = (3, 7, 11, 15, 19, 23, 27, 31)
DEVIATIONS = {
    ("beem", 19): "regression: the released sum stays 0 and nobody leaves; here it is refused in one line",
    ("nsp_cap", 3): "nan: rounding makes the released signal NaN, which never leaves; here the share is 0",
    ("nsp_cap", 15): "nan: features of 0 make the released signal NaN, which never leaves; here the share is 1",
    **{
        ("palbert", i): "mixture: all exits' answers are mixed, which saves nothing; it is not offered"
        for i in MIXTURES
    },
}
"""Vectors that ours departs from, and why; all others are reproduced."""


def load_cases(name: str) -> list[Case]:
    found: list[Case] = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))["cases"]
    return found


def outline_encoder(case: Case) -> LayeredEncoder:
    """As much of an encoder as a head looks at."""
    sizes = {
        "num_layers": case["num_layers"],
        "hidden_size": case["hidden_size"],
        "head_dropout": 0.0,
        "initializer_range": 0.02,
    }
    return cast(LayeredEncoder, SimpleNamespace(**sizes, pretrained_pooler=lambda: None))


def load_past_future(case: Case) -> PastFutureHead:
    """Return the head with the recorded weights, which are given for x @ W; imitations of layer 1 are never used."""
    head, given = PastFutureHead(outline_encoder(case), case["num_labels"]), case["weights"]
    tensors = head.state_dict()
    for j in range(case["num_layers"]):
        for ours, theirs, at in (("imitators", "imitator", j - 1), ("projections", "head", j)):
            if at >= 0:
                tensors[f"{ours}.{at}.weight"] = torch.tensor(given[f"{theirs}_weight"][j]).T
                tensors[f"{ours}.{at}.bias"] = torch.tensor(given[f"{theirs}_bias"][j])
    tensors |= {f"gate.{name}": torch.tensor(given[f"gate_{name}"]) for name in ("weight", "bias")}
    head.load_state_dict(tensors)
    return head.eval()


def load_cascade(case: Case) -> CascadeHead:
    kind = case["criterion"]
    head = CascadeHead(outline_encoder(case), case["num_labels"], ensemble=kind)
    tensors = head.state_dict()
    for j, (one, ensemble) in enumerate(zip(case["heads"], case["ensembles"], strict=True)):
        for name in ("weight", "bias"):
            tensors[f"exits.{j}.{name}"] = torch.tensor(one[name])
            if j > 0:
                tensors[f"norms.{j - 1}.{name}"] = torch.tensor(one[f"norm_{name}"])
        for name in ("log_weight", "bias"):
            tensors[f"ensembles.{j}.{name}"] = torch.tensor(ensemble[name])
    head.load_state_dict(tensors)
    return head.eval()

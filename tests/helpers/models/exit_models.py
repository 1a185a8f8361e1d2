"""Small exit models, batches and the brute-force replay, for the tests of the engines."""

from __future__ import annotations

import inspect

from backbones import ENCODERS
from bench.selfcheck.properties.live import replay_model as replay
from bench.selfcheck.properties.live import take_sample as single
from bench.selfcheck.tiny import EXTRA, PAD
from bench.selfcheck.tiny import make_tiny_batch as make_batch
from bench.selfcheck.tiny import make_tiny_model as make_model

__all__ = ["EXTRA", "PAD", "POOLED", "make_batch", "make_model", "replay", "single"]

POOLED = tuple(
    name for name in ENCODERS if "add_pooling_layer" in inspect.signature(ENCODERS.load(name).model_class).parameters
)
"""The types whose stock model has a pooler; heads on the others start theirs from random weights."""

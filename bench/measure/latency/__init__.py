"""Latency that can be trusted: versioned protocols, raw times kept, validity stated."""

from bench.measure.latency.queries import measure
from bench.measure.latency.result import LatencyOptions, LatencyResult, Summary
from bench.spec import PROTOCOLS

__all__ = ["PROTOCOLS", "LatencyOptions", "LatencyResult", "Summary", "measure"]

"""Latency that can be trusted: versioned protocols, raw times kept, validity stated."""

from bench.measure.latency.result import LatencyOptions, LatencyResult, Summary
from bench.measure.latency.single import measure

__all__ = ["LatencyOptions", "LatencyResult", "Summary", "measure"]

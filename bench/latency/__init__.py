"""Latency that can be trusted: versioned protocols, raw times kept, validity stated."""

from bench.latency.queries import measure
from bench.latency.result import LatencyOptions, LatencyResult, Summary
from bench.results.spec import PROTOCOLS

__all__ = ["PROTOCOLS", "LatencyOptions", "LatencyResult", "Summary", "measure"]

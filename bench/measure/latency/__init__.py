"""Latency that can be trusted: versioned protocols, raw times kept, validity stated."""

from bench.measure.latency.queries import PROTOCOLS, measure
from bench.measure.latency.result import LatencyOptions, LatencyResult, Summary

__all__ = ["PROTOCOLS", "LatencyOptions", "LatencyResult", "Summary", "measure"]

"""Latency that can be trusted: versioned protocols, raw times kept, validity stated."""

SINGLE_STREAM, OFFLINE_BATCH = "single-stream-v1", "offline-batch-v1"
PROTOCOLS = (SINGLE_STREAM, OFFLINE_BATCH)
"""The protocols, one query after another: a sample each, as interactive services see them, or a batch each."""

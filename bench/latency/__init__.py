"""Latency that can be trusted: versioned protocols, raw times kept, validity stated."""

SINGLE_STREAM, OFFLINE_BATCH = "single-stream-v2", "offline-batch-v2"
PROTOCOLS = (SINGLE_STREAM, OFFLINE_BATCH)
"""The protocols, one query after another: a sample each, as interactive services see them, or a batch each."""

FORMER_PROTOCOLS = ("single-stream-v1", "offline-batch-v1")
"""Those that records have and nothing is measured by any more."""


def is_single_stream(protocol: str) -> bool:
    """Return whether queries are of one sample each."""
    return protocol.startswith("single-stream")


def is_former_protocol(protocol: str) -> bool:
    """Return whether times are of a protocol that stopped as soon as an interval was narrow, which made it too narrow.

    Simulated with the noise of 1.5 to 3 % a round its 95 % intervals cover 0.912 to 0.933.
    """
    return protocol in FORMER_PROTOCOLS


def describe_move(moved: float) -> str:
    """Return what to know of a valid measurement during which the plain model's time moved by the part ``moved``."""
    return (
        f"the plain model's time moved by {moved:+.1%} during the run, no speed-up moved measurably: speed-ups hold, "
        "milliseconds are a mean over both speeds"
    )

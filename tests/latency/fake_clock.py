"""A clock that only queries move, and the latency protocol on it."""

from __future__ import annotations

from collections.abc import Callable

from bench.latency.machine import MachineState
from bench.latency.result import LatencyOptions, LatencyResult
from bench.latency.rounds import Configurations
from bench.latency.run import run_protocol

MS = 1_000_000


class FakeClock:
    """Time passes only when a query says so."""

    def __init__(self) -> None:
        self.now = 0
        self.log: list[tuple[str, int]] = []

    def __call__(self) -> int:
        return self.now

    def query(self, label: str, cost: Callable[[int], int], layer: int = 12) -> Callable[[int], int]:
        def run(i: int) -> int:
            self.log.append((label, i))
            self.now += cost(self.now)
            return layer

        return run

    def sleep(self, seconds: float) -> None:
        self.now += round(seconds * 1e9)

    def probe(self, others: float = 0.0) -> MachineState:
        """A machine of two cores: this process works on one, others have worked on the other for some seconds."""
        at = self.now / 1e9
        return MachineState(at, 2, 0.0, busy=at + others, total=2 * at, own=at, mhz=None, throttle_count=0)


def simulate(
    costs: dict[str, Callable[[int], int]],
    options: LatencyOptions,
    tokens: list[int] | None = None,
    probe: Callable[[], MachineState] | None = None,
) -> tuple[LatencyResult, FakeClock]:
    clock = FakeClock()
    queries = {label: clock.query(label, cost) for label, cost in costs.items()}
    forced, lengths = clock.query("forced", lambda now: MS), tokens or [16] * 24
    configurations = Configurations(
        queries, ["plain"], lengths, [1] * len(lengths), range(1, 13), lambda i, depth: forced(i)
    )
    result = run_protocol(
        configurations, options, device="cpu", dtype="float32", threads=1, clock=clock, probe=probe or clock.probe,
        sleep=clock.sleep,
    )  # fmt: skip
    return result, clock


STEADY = {"plain": lambda now: 10 * MS, "early": lambda now: 4 * MS}
OPTIONS = LatencyOptions(samples=16, seconds=60.0, rounds=16)


# --------------------------------------------------------------------------- the whole protocol

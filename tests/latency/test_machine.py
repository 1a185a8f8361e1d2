"""What is read of the machine around a measurement, and what of it disturbs one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.latency import machine
from bench.latency.machine import (
    GpuState,
    MachineState,
    compute_share_of_others,
    find_disturbances,
    read_gpu,
    read_machine,
)
from bench.selfcheck.doctor import check_gpu_controls


def state(
    time: float, busy: float = 0.0, own: float = 0.0, throttles: int = 0, gpu: GpuState | None = None
) -> MachineState:
    return MachineState(time, 2, 0.0, busy, 2 * time, own, None, throttles, gpu)


def test_other_processes_are_what_is_busy_and_not_ours() -> None:
    assert compute_share_of_others(state(0), state(10, busy=15, own=10)) == pytest.approx(0.25)
    assert compute_share_of_others(state(0), state(10, busy=9.9, own=10)) == 0.0  # ticks are coarse
    assert compute_share_of_others(replace(state(0), busy=None), state(10)) is None


def test_disturbances_are_named_once_each() -> None:
    hot = GpuState("gpu", 1000, 1000, 90, ("thermal",), 1, None)
    found = find_disturbances(
        [(state(0), state(10, 15, 10, gpu=hot)), (state(10, 15, 10), state(20, 30, 20, 3, hot))], 0.1
    )
    assert [reason.split(":")[0] for reason in found] == ["load", "throttle", "throttle", "load"]
    assert "0.5 of 2 cores" in found[0]
    assert find_disturbances([(state(0), state(10, 10.5, 10))], 0.1) == []


class Nvml:
    """A driver with two GPUs, of which the second does not answer everything."""

    class NVMLError(Exception):
        pass

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0
    nvmlClocksThrottleReasonSwPowerCap = 4
    nvmlClocksThrottleReasonHwSlowdown = 8
    nvmlClocksThrottleReasonSwThermalSlowdown = 32
    nvmlClocksThrottleReasonHwThermalSlowdown = 64
    nvmlClocksThrottleReasonHwPowerBrakeSlowdown = 128

    def __init__(self, running: list[int]) -> None:
        self.running = running

    def nvmlDeviceGetPersistenceMode(self, handle: int) -> int:
        if handle == 1:
            raise self.NVMLError
        return len(self.running)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        if index > 1:
            raise self.NVMLError
        return index

    def nvmlDeviceGetHandleByUUID(self, name: str) -> int:
        return {"GPU-first": 0, "GPU-second": 1}[name]

    def nvmlDeviceGetName(self, handle: int) -> str:
        return ("first", "second")[handle]

    def nvmlDeviceGetClockInfo(self, handle: int, kind: int) -> int:
        if handle == 1:
            raise self.NVMLError
        return 1000 * kind

    def nvmlDeviceGetTemperature(self, handle: int, kind: int) -> int:
        return 60

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: int) -> int:
        return 1 | 2 | 64  # idle, a user's limit, heat

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[int]:
        return self.running

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:
        if handle == 1:
            raise self.NVMLError
        return 7


@pytest.mark.parametrize(
    ("visible", "name"),
    [(None, "second"), ("", "second"), ("0,1", "second"), ("1, 0", "first"), ("GPU-second,GPU-first", "first")],
)
def test_the_gpu_that_is_read_is_torchs_own(monkeypatch: pytest.MonkeyPatch, visible: str | None, name: str) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(machine, "load_nvml", lambda: Nvml([77]))
    found = read_gpu(1)
    assert found is not None
    assert found.name == name
    assert read_gpu(2) is None  # NVML knows of no third


def test_what_a_gpu_does_not_tell_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(machine, "load_nvml", lambda: Nvml([77]))
    assert read_gpu(0) == GpuState("first", 1000, 2000, 60, ("thermal",), 0, 7)
    assert read_gpu(1) == GpuState("second", None, None, 60, ("thermal",), 0, None)


@pytest.mark.parametrize(("running", "strangers"), [([], 0), ([77], 0), ([77, 78], 1)])
def test_one_process_on_the_gpu_is_ours_whatever_its_number(
    monkeypatch: pytest.MonkeyPatch, running: list[int], strangers: int
) -> None:
    monkeypatch.setattr(machine, "load_nvml", lambda: Nvml(running))
    found = read_gpu(0)
    assert found is not None
    assert found.other_processes == strangers


def test_this_machine_can_be_read() -> None:
    before = read_machine()
    sum(i * i for i in range(200_000))
    after = read_machine()
    assert after.time > before.time
    assert after.own >= before.own
    share = compute_share_of_others(before, after)
    assert share is None or 0 <= share <= 1


@pytest.mark.parametrize(("index", "running", "expected"), [(0, [], 2), (0, [1], 1), (1, [], 0)])
def test_doctor_says_what_may_be_done_about_a_gpu(index: int, running: list[int], expected: int) -> None:
    """Persistence mode only where it is off; nothing of a GPU that does not answer."""
    found = list(check_gpu_controls(Nvml(running), index))
    assert len(found) == expected
    assert all(f"GPU {index}" in finding.text and "nvidia-smi" in finding.remedy for finding in found)

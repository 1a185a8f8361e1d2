"""The state of the machine around a measurement: load, other processes, clocks, throttling.

Only read, never set. What a machine does not tell is None, not zero.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROC_STAT = Path("/proc/stat")
CPUS = Path("/sys/devices/system/cpu")

QUIET_SECONDS = 2.0
"""How long the others must be quiet before something is measured."""


@dataclass(frozen=True)
class GpuState:
    """One NVIDIA GPU as NVML tells it: clocks in MHz, temperature in °C, energy in mJ since the driver was loaded.

    Read by a process that has a model there; ``other_processes`` are all but that one. ``throttled`` names the reasons
    for which the clocks are held down, beyond idling and limits a user asked for.
    """

    name: str
    sm_mhz: int | None
    memory_mhz: int | None
    temperature: int | None
    throttled: tuple[str, ...] | None
    other_processes: int | None
    energy_mj: int | None


@dataclass(frozen=True)
class MachineState:
    """One moment of the machine.

    ``busy`` and ``total`` are CPU seconds of all cores since boot, ``own`` this process's; ``mhz`` the cores' mean
    clock; ``throttle_count`` the cores' thermal throttling events since boot; ``time`` monotonic seconds.
    """

    time: float
    cores: int
    load: float | None
    busy: float | None
    total: float | None
    own: float
    mhz: float | None
    throttle_count: int | None
    gpu: GpuState | None = None


def read_machine(gpu: int | None = None) -> MachineState:
    """Read the machine's state now; ``gpu`` is torch's index of the NVIDIA GPU to ask as well."""
    busy, total = _read_cpu_seconds()
    own, clocks = os.times(), _read_numbers("cpu[0-9]*/cpufreq/scaling_cur_freq")
    throttled = _read_numbers("cpu[0-9]*/thermal_throttle/core_throttle_count")
    return MachineState(
        time=time.monotonic(),
        cores=os.cpu_count() or 1,
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        busy=busy,
        total=total,
        own=own.user + own.system,
        mhz=1e-3 * sum(clocks) / len(clocks) if clocks else None,
        throttle_count=int(sum(throttled)) if throttled else None,
        gpu=None if gpu is None else read_gpu(gpu),
    )


def compute_share_of_others(before: MachineState, after: MachineState) -> float | None:
    """Return the part of all cores' time that other processes used between two states, in [0, 1]; None if unknown."""
    if before.busy is None or after.busy is None or before.total is None or after.total is None:
        return None
    total = after.total - before.total
    if total <= 0:
        return None
    return min(1.0, max(0.0, (after.busy - before.busy) - (after.own - before.own)) / total)


def find_disturbances(states: Sequence[tuple[MachineState, MachineState]], limit: float) -> list[str]:
    """Return what disturbed the rounds, from the states before and after each: one reason a kind, empty if nothing.

    Other processes count when they used more than ``limit`` of the machine over all rounds together.
    """
    reasons = []
    shares = [
        (share, after.time - before.time)
        for before, after in states
        if (share := compute_share_of_others(before, after)) is not None
    ]
    seconds = sum(length for _, length in shares)
    if seconds > 0:
        mean = sum(share * length for share, length in shares) / seconds
        if mean > limit:
            cores = states[0][0].cores
            reasons.append(f"load: other processes used {mean * cores:.1f} of {cores} cores")
    first, last = states[0][0], states[-1][1]
    if first.throttle_count is not None and (events := (last.throttle_count or 0) - first.throttle_count) > 0:
        reasons.append(f"throttle: {events} thermal throttling events of the CPU")
    gpus = [state.gpu for pair in states for state in pair if state.gpu is not None]
    why = sorted({reason for gpu in gpus for reason in gpu.throttled or ()})
    if why:
        reasons.append(f"throttle: the GPU's clocks were held down ({', '.join(why)})")
    if any(gpu.other_processes for gpu in gpus):
        reasons.append("load: other processes used the GPU")
    return reasons


def wait_until_quiet(
    most: float,
    limit: float,
    probe: Callable[[], MachineState] = read_machine,
    sleep: Callable[[float], None] = time.sleep,
    say: Callable[[str], None] = lambda message: None,
) -> float | None:
    """Wait until other processes use no more than ``limit`` of the machine for two seconds; return how long it took.

    None after ``most`` seconds in which they always used more, where the machine does not say what they use, and where
    ``most`` is zero.
    """
    begun = before = probe()
    while before.time - begun.time < most:
        sleep(QUIET_SECONDS)
        after = probe()
        share = compute_share_of_others(before, after)
        if share is None:
            return None
        if share <= limit:
            return after.time - begun.time
        say(f"waiting for the machine: other processes use {share * after.cores:.1f} of {after.cores} cores")
        before = after
    return None


# --------------------------------------------------------------------------- NVIDIA


def load_nvml() -> Any | None:
    """Return the initialised pynvml module, or None where there is no NVIDIA driver or the package is not installed."""
    try:
        library = importlib.import_module("pynvml")
        library.nvmlInit()
    except Exception:  # the package raises its own error types, and one for every way a driver can be missing
        return None
    return library


def read_gpu(index: int) -> GpuState | None:
    """Read what NVML says of torch's GPU ``index``; None without NVML, or where NVML does not know it."""
    found = open_gpu(index)
    if found is None:
        return None
    library, handle = found

    def ask(question: str, *more: int) -> Any | None:
        try:
            return getattr(library, question)(handle, *more)
        except library.NVMLError:  # parts of a GPU and older ones do not answer everything
            return None

    reasons = ask("nvmlDeviceGetCurrentClocksThrottleReasons")
    running = ask("nvmlDeviceGetComputeRunningProcesses")
    return GpuState(
        name=str(ask("nvmlDeviceGetName")),
        sm_mhz=ask("nvmlDeviceGetClockInfo", library.NVML_CLOCK_SM),
        memory_mhz=ask("nvmlDeviceGetClockInfo", library.NVML_CLOCK_MEM),
        temperature=ask("nvmlDeviceGetTemperature", library.NVML_TEMPERATURE_GPU),
        throttled=None if reasons is None else _list_throttling(library, reasons),
        # one is this process: which, its number does not tell, for in a container NVML gives it another
        other_processes=None if running is None else max(0, len(running) - 1),
        energy_mj=ask("nvmlDeviceGetTotalEnergyConsumption"),  # no counter before the Volta generation
    )


def read_power(index: int) -> float | None:
    """Read the power of torch's GPU ``index`` in watts: of now, where NVML tells it, else its last second's mean."""
    found = open_gpu(index)
    if found is None:
        return None
    library, handle = found
    instant = getattr(library, "NVML_FI_DEV_POWER_INSTANT", None)
    try:
        if instant is not None:
            [field] = library.nvmlDeviceGetFieldValues(handle, [instant])
            if field.nvmlReturn == library.NVML_SUCCESS:
                return float(field.value.uiVal) / 1e3
        return float(library.nvmlDeviceGetPowerUsage(handle)) / 1e3
    except library.NVMLError:
        return None


def open_gpu(index: int) -> tuple[Any, Any] | None:
    """Return NVML and its handle of torch's GPU ``index``; None without NVML, or where NVML does not know it."""
    library = load_nvml()
    if library is None:
        return None
    try:
        return library, find_gpu_handle(library, index)
    except library.NVMLError:
        return None


def find_gpu_handle(library: Any, index: int) -> Any:
    """Return NVML's handle of torch's GPU ``index``: CUDA_VISIBLE_DEVICES renumbers torch's devices, and not NVML's."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    name = visible[index].strip() if index < len(visible) else ""
    if name and not name.isdigit():
        return library.nvmlDeviceGetHandleByUUID(name)
    return library.nvmlDeviceGetHandleByIndex(int(name or index))


def _list_throttling(library: Any, reasons: int) -> tuple[str, ...]:
    """Return the throttling in NVML's bits; idling and limits that a user set are none."""
    held = {
        "power cap": library.nvmlClocksThrottleReasonSwPowerCap,
        "hardware slowdown": library.nvmlClocksThrottleReasonHwSlowdown,
        "thermal": library.nvmlClocksThrottleReasonSwThermalSlowdown
        | library.nvmlClocksThrottleReasonHwThermalSlowdown,
        "power brake": library.nvmlClocksThrottleReasonHwPowerBrakeSlowdown,
    }
    return tuple(name for name, bits in held.items() if reasons & bits)


# --------------------------------------------------------------------------- Linux's files


def _read_cpu_seconds() -> tuple[float | None, float | None]:
    """Return busy and total CPU seconds of all cores since boot, from the first line of /proc/stat."""
    try:
        line = PROC_STAT.read_text().split("\n", 1)[0].split()
    except OSError:
        return None, None
    # user nice system idle iowait irq softirq steal; guest time is within user already
    ticks = [int(value) for value in line[1:9]]
    per_second = os.sysconf("SC_CLK_TCK")
    total = sum(ticks)
    return (total - ticks[3] - ticks[4]) / per_second, total / per_second


def _read_numbers(pattern: str) -> list[float]:
    """Return the numbers in those of the cores' files that can be read."""
    found = []
    for path in CPUS.glob(pattern):
        with suppress(OSError, ValueError):
            found.append(float(path.read_text()))
    return found

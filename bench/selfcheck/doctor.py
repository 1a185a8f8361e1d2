"""What this machine has, what would go wrong with it, and what to do about it.

Reads only: it never changes a clock, a governor or a file.
"""

from __future__ import annotations

import csv
import os
import platform
import re
import shutil
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from backbones.errors import UserError
from backbones.hubcalls import is_offline
from bench.environment import count_cores, read_cpu_name, read_memory

Level = Literal["ok", "warn", "fail"]

PYTHON = ((3, 11), (3, 13))
# Lowest version that pyproject.toml admits and the one in constraints.txt; tests keep the three in step.
_TABLE = files("bench.selfcheck") / "tested.csv"
TESTED = {name: (lowest, newest) for name, lowest, newest in csv.reader(_TABLE.read_text("utf-8").splitlines())}
DISK_GIB = 2.0  # a BERT-base checkpoint with its progress file is 1.7 GiB
MEMORY_GIB = 4.0
HUB_SECONDS = 3.0
CPU_CONTROLS = Path("/sys/devices/system/cpu")
DOWNLOAD = "download it once with a network, or give --hub-root DIR with the files at DIR/models/<hub id>"


@dataclass(frozen=True)
class Remark:
    """One line: what was looked at, how it is, and where it is not fine the remedy."""

    area: str
    level: Level
    text: str
    remedy: str = ""


def check_machine(hub_root: Path | None, results_dir: Path) -> list[Remark]:
    """Return what there is to say of software, hardware, hub, models and timing; a check that breaks is said too."""
    hub = check_hub()
    sections: list[Callable[[], Iterable[Remark]]] = [
        check_packages,
        check_processor,
        check_gpus,
        lambda: check_disk(results_dir),
        lambda: [hub],
        lambda: check_mirror(hub_root),
        lambda: check_backbones(hub_root, hub.level == "ok"),
        check_timing,
    ]
    found: list[Remark] = []
    for section in sections:
        try:
            found.extend(section())
        except Exception as error:  # a broken installation can fail in any way; that is what this verb is for
            first = (str(error).splitlines() or [""])[0]
            found.append(Remark("doctor", "fail", f"a check broke: {type(error).__name__}: {first}", "see `pip check`"))
    return found


# --------------------------------------------------------------------------- software


def check_packages() -> Iterator[Remark]:
    """Compare Python and every package with the tested range."""
    low, high = PYTHON
    name = f"Python {platform.python_version()}"
    if sys.version_info[:2] < low:
        yield Remark("python", "fail", name, f"install Python {low[0]}.{low[1]} or newer")
    elif sys.version_info[:2] > high:
        yield Remark("python", "warn", f"{name} is newer than the tested {high[0]}.{high[1]}")
    else:
        yield Remark("python", "ok", name)
    for package, (lowest, newest) in TESTED.items():
        install = f"pip install '{package}>={lowest}'"
        try:
            found = version(package)
        except PackageNotFoundError:
            yield Remark("package", "fail", f"{package} is not installed", install)
            continue
        text = f"{package} {found}"
        if split_version(found) < split_version(lowest):
            yield Remark("package", "fail", f"{text} is older than {lowest}", install)
        elif split_version(found) > split_version(newest):
            remedy = f"if it fails: {package}=={newest}"
            yield Remark("package", "warn", f"{text} is newer than the tested {newest}", remedy)
        else:
            yield Remark("package", "ok", text)


def split_version(text: str) -> tuple[int, ...]:
    """Return (2, 13) for ``2.13.0+cpu``: trailing zeros say nothing."""
    parts = [int(part) for part in re.findall(r"\d+", re.split(r"[+a-zA-Z-]", text)[0])]
    while parts and parts[-1] == 0:
        parts.pop()
    return tuple(parts)


# --------------------------------------------------------------------------- hardware


def check_processor() -> Iterator[Remark]:
    """Look at processor, cores, threads and memory."""
    import torch

    yield Remark("cpu", "ok", f"{read_cpu_name()}, {count_cores()} cores for this process")
    threads = torch.get_num_threads()
    if threads > count_cores():
        yield Remark("threads", "warn", f"torch uses {threads} threads on {count_cores()} cores", "set OMP_NUM_THREADS")
    else:
        yield Remark("threads", "ok", f"torch uses {threads} threads")
    memory = read_memory()
    if memory is None:
        yield Remark("memory", "warn", "the system does not say how much there is")
    elif memory < MEMORY_GIB:
        remedy = "stay with small backbones, a small train.batch_size and --limit"
        yield Remark("memory", "warn", f"{memory} GiB", remedy)
    else:
        yield Remark("memory", "ok", f"{memory} GiB")


def check_gpus() -> Iterator[Remark]:
    """Look at the GPUs as torch sees them, with driver and memory."""
    import torch

    if not torch.cuda.is_available():
        built = "torch is built without CUDA" if torch.version.cuda is None else "torch finds no device or driver"
        yield Remark("gpu", "warn", f"no GPU ({built})", "everything runs on the CPU; --device cuda will be refused")
        return
    from bench.latency.machine import load_nvml

    library = load_nvml()
    driver = "driver unknown" if library is None else f"driver {library.nvmlSystemGetDriverVersion()}"
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        text = f"{facts.name}, {facts.total_memory / 2**30:.1f} GiB, {driver}, CUDA {torch.version.cuda}"
        yield Remark("gpu", "ok", text)
        if library is not None:
            yield from check_gpu_controls(library, index)
    if library is None:
        text = "no NVML: clocks and throttling of the GPU stay unknown"
        yield Remark("gpu", "warn", text, "pip install nvidia-ml-py")


def check_gpu_controls(library: Any, index: int) -> Iterator[Remark]:
    """Say what an administrator may do about a GPU while latency is measured; nothing here does it."""
    from bench.latency.machine import find_gpu_handle

    try:
        kept_awake = library.nvmlDeviceGetPersistenceMode(find_gpu_handle(library, index))
    except library.NVMLError:
        return
    if not kept_awake:
        remedy = "the first query after a pause wakes the driver; an administrator may keep it awake: nvidia-smi -pm 1"
        yield Remark("timing", "warn", f"GPU {index}: persistence mode is off", remedy)
    remedy = "throttled runs are INVALID; an administrator may lock clocks while measuring: nvidia-smi -lgc MHZ,MHZ"
    yield Remark("timing", "warn", f"GPU {index}: clocks follow load and heat unless they are locked", remedy)


def check_disk(results_dir: Path) -> Iterator[Remark]:
    """Look at the room, and the right to write, where results go."""
    folder = results_dir.absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 2**30
    where = f"results folder {results_dir}"
    if not folder.is_dir():
        yield Remark("disk", "fail", f"{where} cannot be made: {folder} is a file", "give another --results-dir")
    elif not os.access(folder, os.W_OK):
        yield Remark("disk", "fail", f"{where} cannot be written", "give another --results-dir")
    elif free < DISK_GIB:
        yield Remark("disk", "warn", f"{where}: {free:.1f} GiB free", "checkpoints of big backbones need more")
    else:
        yield Remark("disk", "ok", f"{where}: {free:.1f} GiB free")


# --------------------------------------------------------------------------- hub and models


def check_hub(seconds: float = HUB_SECONDS) -> Remark:
    """Ask the hub for a sign of life within a few seconds; any HTTP answer will do."""
    if is_offline():
        return Remark("hub", "warn", "HF_HUB_OFFLINE is set: nothing will be downloaded", "unset it to download")
    address = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    answers: list[str] = []

    def ask() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=seconds).close()
            answers.append("")
        except urllib.error.HTTPError:
            answers.append("")
        except Exception as error:  # names, proxies, certificates: each with errors of its own
            answers.append(str(getattr(error, "reason", error)).splitlines()[0])

    # a name that cannot be looked up may take longer than any timeout of the socket
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(seconds + 1)
    if answers == [""]:
        return Remark("hub", "ok", f"{address} answers")
    why = answers[0] if answers else f"no answer in {seconds:g} s"
    remedy = "the demo task and models on this machine still work; a mirror goes to --hub-root or EXITBENCH_HUB"
    return Remark("hub", "warn", f"offline: {address} cannot be reached ({why})", remedy)


def check_mirror(hub_root: Path | None) -> Iterator[Remark]:
    """Look through the tasks and models of the local mirror."""
    if hub_root is None:
        yield Remark("mirror", "ok", "no hub mirror was given (--hub-root, EXITBENCH_HUB)")
        return
    if not hub_root.is_dir():
        yield Remark("mirror", "fail", f"{hub_root} is not a folder", "give one with datasets/ and models/ in it")
        return
    from bench.tasks import TASKS

    there: list[str] = []
    lacking: list[str] = []
    for name in TASKS.builtin:
        task = TASKS.load(name)
        if hasattr(task, "dataset"):
            folder = hub_root / "datasets" / task.dataset / (getattr(task, "config", None) or "")
            (there if any(folder.glob("**/train*")) else lacking).append(name)
    if there:
        yield Remark("mirror", "ok", f"tasks in {hub_root}: {', '.join(there)}")
    if lacking:
        remedy = "they come from the hub; or copy its files to datasets/<hub id>"
        yield Remark("mirror", "warn", f"tasks not in it: {', '.join(lacking)}", remedy)
    for config in sorted(hub_root.glob("models/*/*/config.json")):
        yield check_mirrored_model(config.parent)


def check_mirrored_model(folder: Path) -> Remark:
    """Say whether a model folder of the mirror is complete, or what it lacks."""
    from backbones.folders import list_tokenizer_files, list_weight_files

    name = f"{folder.parent.name}/{folder.name}"
    try:
        list_tokenizer_files(folder)
    except UserError:
        return Remark("mirror", "fail", f"model {name} has no tokenizer", "copy the hub's tokenizer files there")
    try:
        list_weight_files(folder)
    except UserError:
        remedy = "put model.safetensors there, or use --init scratch"
        return Remark("mirror", "warn", f"model {name} has no weights", remedy)
    return Remark("mirror", "ok", f"model {name}")


def check_backbones(hub_root: Path | None, online: bool) -> Iterator[Remark]:
    """Say which of the named backbones can be had right now."""
    from backbones.catalog import BACKBONES
    from backbones.load import BackboneRequest
    from backbones.resolve import resolve_backbone

    for name, named in BACKBONES.items():
        try:
            source = resolve_backbone(BackboneRequest(name, hub_root=hub_root, offline=True), weights=True).source
            ready = "from scratch, needs no download" if named.hub_id is None else f"ready ({source})"
            yield Remark("backbone", "ok", f"{name}: {ready}")
        except UserError as error:
            if online and "offline mode" in str(error):
                yield Remark("backbone", "ok", f"{name}: will be downloaded from {named.hub_id} when first used")
            elif "has no weights" in str(error):
                yield Remark("backbone", "warn", f"{name}: no weights", "--init scratch trains it from random ones")
            else:
                yield Remark("backbone", "warn", f"{name}: neither on this machine nor within reach", DOWNLOAD)


# --------------------------------------------------------------------------- timing


def check_timing() -> Iterator[Remark]:
    """Say what disturbs timings on this machine; the settings are read and never changed."""
    governors = {p.read_text().strip() for p in CPU_CONTROLS.glob("cpu[0-9]*/cpufreq/scaling_governor")}
    if not governors:
        yield Remark("timing", "ok", "the clock's governor is not visible here (virtual machine or container)")
    elif governors == {"performance"}:
        yield Remark("timing", "ok", "governor performance")
    else:
        remedy = "for stable timings an administrator may choose performance: cpupower frequency-set -g performance"
        yield Remark("timing", "warn", f"governor {', '.join(sorted(governors))}", remedy)
    turbo = is_turbo_on()
    if turbo:
        remedy = "clocks vary with heat; an administrator may switch turbo off while measuring"
        yield Remark("timing", "warn", "turbo is on", remedy)
    elif turbo is False:
        yield Remark("timing", "ok", "turbo is off")
    if hasattr(os, "getloadavg"):
        load = os.getloadavg()[0]
        busy = load > 0.5 * count_cores()
        remedy = "end other work before measuring latency; a disturbed measurement is marked INVALID" if busy else ""
        yield Remark("timing", "warn" if busy else "ok", f"load {load:.1f} on {count_cores()} cores", remedy)


def is_turbo_on() -> bool | None:
    """Return whether the processor may clock above its base; None where the system does not say."""
    for name, on in (("intel_pstate/no_turbo", "0"), ("cpufreq/boost", "1")):
        try:
            return (CPU_CONTROLS / name).read_text().strip() == on
        except OSError:
            continue
    return None

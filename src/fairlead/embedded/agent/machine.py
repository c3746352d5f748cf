"""What this machine has: sizes for nodes that name none, and the pressure that node conditions report."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

# The kubelet's default hard eviction thresholds.
_MEMORY_THRESHOLD_BYTES = 100 * 1024 * 1024
_DISK_THRESHOLD_SHARE = 0.10
_DISK_THRESHOLD_CAP_BYTES = 1 << 30
_PID_THRESHOLD_SHARE = 0.02

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64", "riscv64": "riscv64"}


@dataclass(frozen=True, slots=True)
class Machine:
    cpu_count: int
    memory_bytes: int
    disk_bytes: int
    architecture: str
    operating_system: str
    kernel_version: str
    os_image: str
    machine_id: str
    boot_id: str


@dataclass(frozen=True, slots=True)
class Pressure:
    memory: bool = False
    disk: bool = False
    pids: bool = False


def inspect(data: Path) -> Machine:
    return Machine(
        cpu_count=os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        disk_bytes=shutil.disk_usage(data).total,
        architecture=_ARCHITECTURES.get(platform.machine(), platform.machine()),
        operating_system=platform.system().lower(),
        kernel_version=platform.release(),
        os_image=_os_image(),
        machine_id=_read("/etc/machine-id"),
        boot_id=_read("/proc/sys/kernel/random/boot_id"),
    )


def measure_pressure(data: Path) -> Pressure:
    """Judged by a kubelet's eviction thresholds; disk at 10 % free, but no more than 1 GiB on large disks."""
    usage = shutil.disk_usage(data)
    disk_threshold = min(usage.total * _DISK_THRESHOLD_SHARE, _DISK_THRESHOLD_CAP_BYTES)
    available = _available_memory_bytes()
    return Pressure(
        memory=available is not None and available < _MEMORY_THRESHOLD_BYTES,
        disk=usage.free < disk_threshold,
        pids=_few_pids_left(),
    )


def _available_memory_bytes() -> int | None:
    with contextlib.suppress(OSError), open("/proc/meminfo") as meminfo:
        for line in meminfo:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def _few_pids_left() -> bool:
    with contextlib.suppress(OSError, ValueError):
        limit = int(_read("/proc/sys/kernel/pid_max"))
        # The fourth field is "running/existing" scheduling entities.
        existing = int(_read("/proc/loadavg").split()[3].partition("/")[2])
        return existing > limit * (1 - _PID_THRESHOLD_SHARE)
    return False


def _os_image() -> str:
    for line in _read("/etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return platform.platform()


def _read(path: str) -> str:
    with contextlib.suppress(OSError):
        return Path(path).read_text().strip()
    return ""

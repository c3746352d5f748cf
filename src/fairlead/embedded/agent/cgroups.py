"""Resource limits through cgroup v2, where this machine offers it to the agent.

A container's group is `<mount>/fairlead/<container id>`. Where the unified hierarchy carries no memory or CPU
controller (a hybrid machine), groups serve to find and end a container's processes, and limits fall back to the shim's
memory watch and resource limits.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

_ROOT_NAME = "fairlead"
_CPU_PERIOD_US = 100_000
_REMOVE_ATTEMPTS = 20
_REMOVE_INTERVAL_S = 0.01


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """Where container groups are made, and which controllers limit them. `why_limited` is "" if all are there."""

    root: Path | None
    controllers: frozenset[str]
    why_limited: str


def detect() -> Hierarchy:
    """Look at the machine and prepare the root group; never raises."""
    mount = _unified_mount()
    if mount is None:
        return Hierarchy(None, frozenset(), "this machine has no cgroup v2 hierarchy")
    root = mount / _ROOT_NAME
    try:
        root.mkdir(exist_ok=True)
    except OSError as error:
        return Hierarchy(None, frozenset(), f"cgroup v2 at {mount} is not writable ({error.strerror})")
    available = set((mount / "cgroup.controllers").read_text().split())
    enabled = frozenset(name for name in ("cpu", "memory") if name in available and _enable(mount, root, name))
    missing = sorted({"cpu", "memory"} - enabled)
    why = f"cgroup v2 at {mount} offers no {' and no '.join(missing)} controller" if missing else ""
    return Hierarchy(root, enabled, why)


def create(
    hierarchy: Hierarchy, name: str, *, memory_bytes: int | None, cpu_cores: float | None, cpu_request: float
) -> str | None:
    """Make a container's group with its limits; None where there is no hierarchy or the group cannot be made."""
    if hierarchy.root is None:
        return None
    group = hierarchy.root / name
    try:
        group.mkdir(exist_ok=True)
        if "memory" in hierarchy.controllers and memory_bytes:
            (group / "memory.max").write_text(str(memory_bytes))
            with contextlib.suppress(OSError):
                (group / "memory.swap.max").write_text("0")
            (group / "memory.oom.group").write_text("1")
        if "cpu" in hierarchy.controllers:
            if cpu_cores:
                (group / "cpu.max").write_text(f"{max(1000, int(cpu_cores * _CPU_PERIOD_US))} {_CPU_PERIOD_US}")
            (group / "cpu.weight").write_text(str(_weight(cpu_request)))
    except OSError:
        return None
    return str(group)


def kill(path: str | None) -> None:
    """End every process of the group."""
    if path:
        with contextlib.suppress(OSError), open(os.path.join(path, "cgroup.kill"), "w") as file:
            file.write("1")


def remove(path: str | None) -> None:
    """Delete the group of an ended container; the kernel may take a moment to let its last process go."""
    if not path:
        return
    for _ in range(_REMOVE_ATTEMPTS):
        try:
            os.rmdir(path)
            return
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(_REMOVE_INTERVAL_S)


def _weight(cpu_request: float) -> int:
    # The kubelet's mapping: shares = 1024 per core in 2..262144, mapped linearly to a weight in 1..10000.
    shares = min(262144, max(2, int(cpu_request * 1024)))
    return 1 + ((shares - 2) * 9999) // 262142


def _unified_mount() -> Path | None:
    with contextlib.suppress(OSError), open("/proc/self/mounts") as mounts:
        for line in mounts:
            _, path, kind, options, *_ = line.split()
            if kind == "cgroup2" and "rw" in options.split(","):
                return Path(path)
    return None


def _enable(mount: Path, root: Path, controller: str) -> bool:
    try:
        for group in (mount, root):
            control = group / "cgroup.subtree_control"
            if controller not in control.read_text().split():
                control.write_text(f"+{controller}")
    except OSError:
        return False
    return True

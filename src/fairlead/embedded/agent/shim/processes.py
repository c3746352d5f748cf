"""Facts about processes from /proc, and the Linux process controls that Python's `os` lacks."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import signal
from collections.abc import Iterable

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

libc = ctypes.CDLL(None, use_errno=True)


def start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since boot: with the pid it names one process for good.

    None if there is no such process (a zombie counts as none).
    """
    fields = _stat(pid)
    return None if fields is None or fields[0] == "Z" else int(fields[19])


def children(pid: int) -> list[int]:
    """Direct children, from the kernel's own list where it keeps one."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as listed:
            return [int(child) for child in listed.read().split()]
    except OSError:
        return [other for other in _all_pids() if (fields := _stat(other)) and int(fields[1]) == pid]


def descendants(pid: int) -> list[int]:
    """Every process below `pid`, parents before children."""
    found: list[int] = []
    frontier = children(pid)
    while frontier:
        found.extend(frontier)
        frontier = [child for parent in frontier for child in children(parent)]
    return found


def resident_bytes(pids: Iterable[int]) -> int:
    """Memory resident in the given processes, shared pages counted in each."""
    pages = 0
    for pid in pids:
        with contextlib.suppress(OSError, ValueError), open(f"/proc/{pid}/statm") as statm:
            pages += int(statm.read().split()[1])
    return pages * _PAGE_BYTES


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU time used so far by the given processes and their waited-for children."""
    ticks = 0
    for pid in pids:
        fields = _stat(pid)
        if fields is not None:
            ticks += sum(int(field) for field in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def marked_with(variable: bytes) -> list[int]:
    """Processes whose initial environment holds `variable` (`NAME=value`); those of other users are not seen."""
    found = []
    for pid in _all_pids():
        with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as environ:
            if variable in environ.read().split(b"\0"):
                found.append(pid)
    return found


def adopt_orphans() -> None:
    """Make this process the parent of every descendant whose own parent dies. Linux only; elsewhere nothing."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent dies. Must follow a change of user, which clears it."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(128 + signal.SIGKILL)


def check(result: int, what: str) -> None:
    """Raise OSError with `what` if a libc call returned an error."""
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"cannot {what}: {os.strerror(code)}")


def _prctl(option: int, value: int) -> None:
    with contextlib.suppress(AttributeError):
        libc.prctl(option, value, 0, 0, 0)


def _stat(pid: int) -> list[str] | None:
    # Fields after the parenthesised command name, which may itself hold spaces and parentheses.
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESRCH):
            return None
        raise


def _all_pids() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []

"""Processes identified by pid *and* start time, so that a reused pid is never mistaken for ours."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fairlead.clock import SYSTEM, Clock

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class ProcessId:
    """`start_ticks` is field 22 of /proc/<pid>/stat: clock ticks after boot at which the process started."""

    pid: int
    start_ticks: int

    def alive(self) -> bool:
        return start_ticks(self.pid) == self.start_ticks

    def signal(self, number: signal.Signals) -> None:
        """Send a signal if the process is still the same one; gone is fine."""
        if self.alive():
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return


def start_ticks(pid: int) -> int | None:
    """When the process started, or None if there is none (a zombie counts as none)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # The command name may contain anything, parentheses included: fields count from the last one.
    fields = stat[stat.rindex(b")") + 2 :].split()
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def identify(pid: int) -> ProcessId:
    return ProcessId(pid, start_ticks(pid) or 0)


async def end(processes: Sequence[ProcessId], grace_s: float = 10.0, clock: Clock = SYSTEM) -> None:
    """SIGTERM to all, and SIGKILL to those that still live after the grace period."""
    for process in processes:
        process.signal(signal.SIGTERM)
    deadline_s = clock.monotonic_s() + grace_s
    while any(p.alive() for p in processes) and clock.monotonic_s() < deadline_s:
        await clock.sleep(0.05)
    for process in processes:
        process.signal(signal.SIGKILL)


def die_with_parent() -> Callable[[], None]:
    """A `preexec_fn` that makes the child get SIGTERM when its parent dies, however the parent dies."""
    libc = ctypes.CDLL(None, use_errno=True)

    def set_death_signal() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)

    return set_death_signal

"""Going before what else runs on the machine, for as long as that harms nobody.

A fair scheduler lets a process that wakes wait for the slice of another, 3 ms and more: on a busy machine most of what
makes a request late. SCHED_FIFO (sched(7)) runs it at once. It needs root, CAP_SYS_NICE or RLIMIT_RTPRIO; a container
mostly has none of them, and then niceness is tried. FAIRLEAD_BENCH_PRIORITY=normal does without.
"""

from __future__ import annotations

import os
from collections.abc import Callable

REAL_TIME, NICE, NORMAL = "real-time", "nice", "normal"
NICENESS = -5
VARIABLE = "FAIRLEAD_BENCH_PRIORITY"
TAKES_A_CORE, TAKES_A_CORE_S = 0.9, 1.0
"""A worker that uses this share of a core for so long is no longer real-time: its stage is invalid by then, and others
need some CPU too."""
_LOWEST = 1
"""Of the real-time priorities: kernel threads and whatever else is real-time on the machine go before."""


def go_first() -> str:
    """Of this process, and not of those that it starts: the best that is permitted, and wanted."""
    if os.environ.get(VARIABLE) == NORMAL:
        return NORMAL
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(_LOWEST))
        return REAL_TIME
    except OSError:
        return _nice()


def step_back() -> str:
    """No longer real-time: a process that uses up a core must not take it from everybody else."""
    try:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    except OSError:
        return REAL_TIME
    return _nice()


class Standing:
    """What a process has of it, and whether it keeps it. `give_up` takes it back and says what is left."""

    def __init__(self, priority: str = NORMAL, give_up: Callable[[], str] = step_back) -> None:
        self.priority = priority
        self._give_up = give_up
        self._full_s = 0.0

    def used(self, cpu_s: float, wall_s: float) -> None:
        """So much CPU in the last so many seconds."""
        self._full_s = self._full_s + wall_s if cpu_s > TAKES_A_CORE * wall_s else 0.0
        if self.priority == REAL_TIME and self._full_s > TAKES_A_CORE_S:
            self.priority = self._give_up()


def _nice() -> str:
    if os.getpriority(os.PRIO_PROCESS, 0) <= NICENESS:
        return NICE
    try:
        os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
    except OSError:
        return NORMAL
    return NICE

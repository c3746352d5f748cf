"""Calls at points in time, finer than an event loop's own timers.

libuv (uvloop) counts in whole milliseconds and asyncio's epoll waits are rounded up; a timerfd on CLOCK_MONOTONIC wakes
the same loop within some tens of microseconds (timerfd_create(2)).
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import heapq
import itertools
import os
import time
from collections.abc import Callable

_CLOCK_MONOTONIC = 1
_NONBLOCK_CLOEXEC = 0o4000 | 0o2000000
_ABSOLUTE = 1


class _Spec(ctypes.Structure):
    _fields_ = [
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("s", ctypes.c_long),
        ("ns", ctypes.c_long),
    ]


class Alarm:
    """One timer for all that waits. `at` takes CLOCK_MONOTONIC in seconds; calls come in order of time, then of
    asking."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed: the load generator needs Linux")
        self._settime = libc.timerfd_settime
        self._spec = _Spec()
        self._pointer = ctypes.byref(self._spec)
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._armed_s = float("inf")
        self._loop = loop
        loop.add_reader(self._fd, self._ring)

    def at(self, time_s: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (time_s, next(self._order), call))
        if time_s < self._armed_s:
            self._arm(time_s)

    def close(self) -> None:
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _arm(self, time_s: float) -> None:
        self._armed_s = time_s
        # A time of zero disarms, and the past rings at once: never below one nanosecond.
        ns = max(1, int(time_s * 1e9))
        self._spec.s, self._spec.ns = divmod(ns, 1_000_000_000)
        self._settime(self._fd, _ABSOLUTE, self._pointer, None)

    def _ring(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._fd, 8)
        heap = self._heap
        try:
            while heap and heap[0][0] <= time.monotonic():  # noqa: TID251 (the hot path reads the clock itself)
                heapq.heappop(heap)[2]()
        finally:  # one call that fails must not silence the others
            if heap:
                self._arm(heap[0][0])
            else:
                self._armed_s = float("inf")

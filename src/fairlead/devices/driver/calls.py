"""A vendor's calls, made in threads: one at a time per vendor, each with a time limit.

A vendor's library may hang for good (a driver in the kernel that waits for dead hardware). Python cannot end a thread,
so a call over its limit is given up, not stopped: its vendor stays blocked until it returns, later calls are refused at
once with an error that says since when, and nobody else waits. Threads are daemons, so that a process can end anyway.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final, TypeVar

from fairlead.clock import SYSTEM, Clock
from fairlead.devices.errors import ProbeError, VendorBusy, VendorTimeout

T = TypeVar("T")
_Job = tuple[Callable[[], Any], "asyncio.Future[Any]", asyncio.AbstractEventLoop]
_IDLE_THREADS: Final = 8
"""Threads kept for the next calls of all vendors of a process."""


class CallThreads:
    """The threads that make calls, shared by a process's vendors. It grows while calls hang, and shrinks after."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0
        self._started = 0

    def submit(self, call: Callable[[], T]) -> asyncio.Future[T]:
        """Run `call` in a thread. The future belongs to the running loop. Raises RuntimeError where no thread
        can be started."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        with self._lock:
            if self._idle > 0:
                self._idle -= 1
            else:
                threading.Thread(target=self._work, name=f"vendor calls {self._started + 1}", daemon=True).start()
                self._started += 1
        self._jobs.put((call, future, loop))
        return future

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                return
            _run(*job)
            with self._lock:
                if self._idle >= _IDLE_THREADS:
                    return
                self._idle += 1


_SHARED: Final = CallThreads()


class VendorCalls:
    """One vendor's calls, in the order in which they are asked for. Everything that calls this vendor shares it."""

    def __init__(self, name: str, *, threads: CallThreads = _SHARED, clock: Clock = SYSTEM) -> None:
        """`name` tells people which vendor on which node."""
        self.name = name
        self._threads = threads
        self._clock = clock
        self._turn = asyncio.Lock()
        self._running = ""
        self._started_s = 0.0
        self._limit_s = 0.0

    @property
    def stuck(self) -> str:
        """Which call is over its limit, as a clause; "" when none is."""
        if not self._running:
            return ""
        for_s = self._clock.monotonic_s() - self._started_s
        return f"{self._running} has not returned for {for_s:.0f} s" if for_s >= self._limit_s else ""

    @property
    def is_busy(self) -> bool:
        """Whether a call runs or waits: one that need not happen now can be left out."""
        return self._turn.locked()

    async def call(self, what: str, call: Callable[[], T], *, limit_s: float) -> T:
        """The result of `call`, or what it raises. It may wait for its turn as long as it may then take.

        Raises VendorTimeout when it takes longer, or when a call before it is stuck; VendorBusy when it got no turn;
        ProbeError when the machine gives no thread for it.
        """
        if self.stuck:
            raise VendorTimeout(f"{self.name}: {what} is not tried: {self.stuck}")
        try:
            async with asyncio.timeout(limit_s):
                await self._turn.acquire()
        except TimeoutError:
            kind = VendorTimeout if self.stuck else VendorBusy
            why = self.stuck or f"{self._running or 'another call'} took its turn"
            raise kind(f"{self.name}: {what} did not begin within {limit_s:g} s: {why}") from None
        try:
            future = self._threads.submit(call)
        except RuntimeError as error:
            self._turn.release()
            raise ProbeError(
                f"{self.name}: {what} has no thread to run in: {error}; raise the limit of tasks"
            ) from error
        self._running, self._started_s, self._limit_s = what, self._clock.monotonic_s(), limit_s
        future.add_done_callback(self._ended)
        # Not cancelled with us: the thread goes on, and the vendor is taken until it is done.
        done, _ = await asyncio.wait([future], timeout=limit_s)
        if not done:
            raise VendorTimeout(f"{self.name}: {what} did not return within {limit_s:g} s")
        return future.result()

    def _ended(self, future: asyncio.Future[Any]) -> None:
        self._running = ""
        self._turn.release()
        if not future.cancelled():
            # Whoever waited may be gone; what it raised late is nobody's any more.
            future.exception()


def _run(call: Callable[[], Any], future: asyncio.Future[Any], loop: asyncio.AbstractEventLoop) -> None:
    try:
        result, error = call(), None
    except BaseException as raised:
        result, error = None, raised
    try:
        loop.call_soon_threadsafe(_settle, future, result, error)
    except RuntimeError:
        # The loop is closed: the process is ending.
        return


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    elif isinstance(error, Exception) and not isinstance(error, StopIteration):
        future.set_exception(error)
    else:
        future.set_exception(RuntimeError(f"vendor call ended by {type(error).__name__}: {error}"))

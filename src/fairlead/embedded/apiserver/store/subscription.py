"""A watcher's end of the store: changes in version order, each exactly once, in as large batches as have gathered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fairlead.embedded.apiserver.store.record import Record


class Subscription:
    """Changes of one resource from a version on. `overflowed` once more changes waited than the limit: the reader is
    too slow and has to start anew."""

    def __init__(
        self, backlog: list[Record], position: Callable[[], int], leave: Callable[[Subscription], None], limit: int
    ) -> None:
        self._waiting = backlog
        self._position = position
        self._leave = leave
        self._limit = max(limit, 2 * len(backlog))
        self._wakeup: asyncio.Future[None] | None = None
        self.overflowed = False
        self.closed = False

    def push(self, record: Record) -> None:
        if len(self._waiting) >= self._limit:
            self.overflowed = True
        elif not self.overflowed:
            self._waiting.append(record)

    def wake(self) -> None:
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)

    def take(self) -> list[Record]:
        """The changes that wait; empty where there are none."""
        taken, self._waiting = self._waiting, []
        return taken

    def position(self) -> int:
        """The version up to which everything was taken or waits: valid for a bookmark after an empty `take`."""
        return self._position()

    async def wait(self, timeout_s: float) -> None:
        """Return when changes wait, the subscription ends, or the time is over."""
        if self._waiting or self.overflowed or self.closed or timeout_s <= 0:
            return
        loop = asyncio.get_running_loop()
        self._wakeup = loop.create_future()
        timer = loop.call_later(timeout_s, self.wake)
        try:
            await self._wakeup
        finally:
            timer.cancel()
            self._wakeup = None

    def close(self) -> None:
        """Leave the store. Safe to call again."""
        if not self.closed:
            self.closed = True
            self._leave(self)
            self.wake()

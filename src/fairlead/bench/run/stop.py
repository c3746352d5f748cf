"""Asking a run to end before its time."""

from __future__ import annotations

import asyncio


class Stop:
    """Asked once, a run sends nothing more, lets what is in flight end for some seconds, and reports what ran. Asked
    twice, it closes what is in flight at once, and reports. Asked when the load is over, it leaves records as they
    are."""

    def __init__(self) -> None:
        self.asked = 0
        self.why = ""
        self._event = asyncio.Event()

    def ask(self, why: str) -> None:
        self.asked += 1
        self.why = self.why or why
        self._event.set()

    async def wait(self, since: int | None = None) -> None:
        """Until asked, again if it has been asked before: more often than `since`, or than it was when this began."""
        before = self.asked if since is None else since
        while self.asked <= before:
            self._event.clear()
            await self._event.wait()

"""A stream that goes wrong on purpose, see `failures`."""

from __future__ import annotations

import os

from fairlead.simulator.server.driver import Live
from fairlead.simulator.server.failures import Fate
from fairlead.simulator.server.stream import Stream, Whole

CRASH_STATUS = 70
"""Exit status of a process that crashed on purpose."""

_GARBAGE = b'data: {"id": "cmpl-\xff\xfe, "choices": [{"ind\n\n'


class FaultyStream(Stream):
    """Breaks off, garbles an event or takes the process down when its first sequence has enough tokens."""

    fate = Fate()

    def tokens(self, live: Live, count: int) -> None:
        fate = self.fate
        crash(fate, count)
        if fate.truncate_tokens is not None and count >= fate.truncate_tokens:
            self.transport.abort()
            return
        if fate.corrupt_token is not None and live.sent < fate.corrupt_token <= count:
            live.sent = count
            self.write(_GARBAGE)
            return
        super().tokens(live, count)

    def ended(self, live: Live) -> None:
        count = len(live.request.outcome.ids)
        if self.fate.truncate_tokens is not None and count >= self.fate.truncate_tokens:
            self.transport.abort()
        crash(self.fate, count)
        super().ended(live)


class FaultyWhole(Whole):
    """Takes the process down when there are enough tokens."""

    fate = Fate()

    def tokens(self, live: Live, count: int) -> None:
        crash(self.fate, count)

    def ended(self, live: Live) -> None:
        crash(self.fate, len(live.request.outcome.ids))
        super().ended(live)


def crash(fate: Fate, tokens: int) -> None:
    """End the process as a crash does, when it is time: nothing is cleaned up."""
    if fate.crash_tokens is not None and tokens >= fate.crash_tokens:
        os._exit(CRASH_STATUS)

"""Receivers of tokens: a stream of server-sent events straight onto a connection, and an answer that is awaited whole.

A stream writes finished HTTP chunks to the transport. When its client does not read, it skips turns, and sends what
has come up meanwhile in one event when there is room again: memory is bounded, and the engine never waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from fairlead.simulator.engine import State
from fairlead.simulator.server.answers.answer import Answer
from fairlead.simulator.server.answers.outcome import Outcome
from fairlead.simulator.server.driver import Live

BUFFER_BYTES = 64 * 1024
"""Most bytes that wait for a slow client before its stream skips turns."""
ABORT = "abort"


class Whole:
    """Waits for all sequences of a response that is sent in one piece."""

    def __init__(self, sequences: int) -> None:
        self._left = sequences
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def tokens(self, live: Live, count: int) -> None:
        """Nothing is sent before the end."""

    def ended(self, live: Live) -> None:
        settle(live)
        self._left -= 1
        if not self._left and not self.over.done():
            self.over.set_result(None)

    def failed(self, error: Exception) -> None:
        """What cannot be sent ends the exchange."""
        if not self.over.done():
            self.over.set_exception(error)


class Stream:
    """The events of one response, as HTTP chunks on its connection (`chunked=False`: bare, for HTTP/1.0)."""

    def __init__(self, transport: asyncio.Transport, answer: Answer, sequences: int, *, chunked: bool = True) -> None:
        self.transport = transport
        self._answer = answer
        self._chunked = chunked
        self._opened = False
        self._left = sequences
        self._behind: list[Live] = []
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def tokens(self, live: Live, count: int) -> None:
        transport = self.transport
        if transport.is_closing() or transport.get_write_buffer_size() > BUFFER_BYTES:
            return
        data = self._answer.tokens(live.request.index, live.sent, count)
        live.sent = count
        if not self._opened:
            data = self._opening() + data
        if data:
            transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def open(self) -> None:
        """Send the events before the first token now, and not with it."""
        self.write(self._opening())

    def ended(self, live: Live) -> None:
        settle(live)
        if not self.transport.is_closing() and self.transport.get_write_buffer_size() > BUFFER_BYTES:
            self._behind.append(live)
        else:
            self._rest(live)
        self._left -= 1
        if not self._left and not self.over.done():
            self.over.set_result(None)

    def failed(self, error: Exception) -> None:
        """What cannot be sent ends the exchange."""
        if not self.over.done():
            self.over.set_exception(error)

    async def close(self, drain: Callable[[], Awaitable[None]]) -> None:
        """Send what a slow client has not got yet, and the events that end the answer."""
        for live in self._behind:
            await drain()
            self._rest(live)
        self.write(self._answer.closing())

    def write(self, data: bytes) -> None:
        """Send events as one chunk."""
        if data and not self.transport.is_closing():
            self.transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def _opening(self) -> bytes:
        opening = b"" if self._opened else self._answer.opening()
        self._opened = True
        return opening

    def _rest(self, live: Live) -> None:
        count = len(live.request.outcome.ids)
        data = self._answer.tokens(live.request.index, live.sent, count)
        live.sent = count
        self.write(self._opening() + data)


def settle(live: Live) -> None:
    """An answer that the server has ended before its end is what there is of it by now."""
    if live.sequence.state in (State.FINISHED, State.HELD):
        return
    outcome = live.request.outcome
    live.request.outcome = Outcome(
        outcome.ids[: live.count], outcome.texts[: live.count], ABORT, None, outcome.seed, outcome.call
    )

"""Where the workers of other pods call in: the coordinator's end of a run over TCP.

Only who proves that it belongs to the run (`greeting`) is heard. Everybody else is dropped, and told of at the end.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from fairlead.bench.cluster.greeting import STOP, WORKER, Stranger, keep_alive, receive
from fairlead.bench.run.links import Link, WorkerLost
from fairlead.bench.run.stop import Stop
from fairlead.clock import SYSTEM

SILENT_S = 15.0
"""A worker elsewhere that has said nothing for so long is lost: pulses come four times a second."""
GREETED_AT_ONCE = 64
"""Callers that have not proved themselves yet; more are dropped unheard."""
UNREAD_BYTES = 2**17
"""Of each connection, about twice: what somebody may send that has not proved itself is buffered too."""
NAMED = 5
DONE = b"!"
"""The answer to who asked for the end of the run."""


class Called:
    """A worker that has called in."""

    silent_s = SILENT_S
    shares_clock = False
    pid = -1

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, who: str) -> None:
        self.reader, self.writer, self._who = reader, writer, who

    async def ending(self, why: str) -> str:
        self.writer.transport.abort()
        return f"{self._who}: {why or 'its connection ended'}"

    async def close(self) -> None:
        self.writer.close()


class Rendezvous:
    """A crew of `count` workers, who have `within_s` from now on to call. `name_of` says what the worker of a number is
    called, for messages."""

    def __init__(self, token: bytes, count: int, within_s: float, stop: Stop, name_of: Callable[[int], str]) -> None:
        loop = asyncio.get_running_loop()
        self._token, self._within_s, self._stop, self._name_of = token, within_s, stop, name_of
        self._until_s = SYSTEM.monotonic_s() + within_s
        self._slots: list[asyncio.Future[Link]] = [loop.create_future() for _ in range(count)]
        self._greeting = 0
        self._dropped: Counter[tuple[str, str]] = Counter()  # (host, why) -> how often
        self._server: asyncio.Server | None = None

    async def listen(self, host: str, port: int) -> int:
        """Take calls from here on; returns the port. Raises OSError."""
        self._server = await asyncio.start_server(self._called, host, port, limit=UNREAD_BYTES)
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def link(self, number: int) -> Link:
        slot = self._slots[number]
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            left_s = 0.0 if self._stop.asked else max(0.0, self._until_s - SYSTEM.monotonic_s())
            await asyncio.wait((slot, stopping), timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
        if slot.done():
            return slot.result()
        if self._stop.asked:
            raise WorkerLost(f"ended by {self._stop.why} before it began")
        raise WorkerLost(f"{self._name_of(number)} did not call within {self._within_s:g} s")

    @property
    def called(self) -> int:
        """How many workers are there."""
        return sum(slot.done() and not slot.cancelled() for slot in self._slots)

    def notes(self) -> list[str]:
        listed = [f"{count} from {host}: {why}" for (host, why), count in self._dropped.most_common(NAMED)]
        more = f"; and {len(self._dropped) - NAMED} more kinds" if len(self._dropped) > NAMED else ""
        return [f"connections to the coordinator were dropped ({'; '.join(listed)}{more})"] if listed else []

    async def close(self) -> None:
        """Take no more calls, and hang up on who was not linked."""
        if self._server is not None:
            self._server.close()
        for slot in self._slots:
            if slot.done() and not slot.cancelled():
                await slot.result().close()
            else:
                slot.cancel()

    async def _called(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host = str((writer.get_extra_info("peername") or ("an unknown host",))[0])
        try:
            if self._greeting >= GREETED_AT_ONCE:
                raise Stranger(f"{GREETED_AT_ONCE} others were being heard")
            self._greeting += 1
            try:
                keep_alive(writer)
                role, number = await receive(reader, writer, self._token)
            finally:
                self._greeting -= 1
            if role == STOP:
                self._stop.ask("spec.stop")
                writer.write(DONE)
                await writer.drain()
                writer.close()
                return
            self._take(role, number, reader, writer, host)
        except TimeoutError:
            self._drop(writer, host, "it said nothing for too long")
        except OSError as error:
            self._drop(writer, host, str(error))

    def _take(
        self, role: bytes, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str
    ) -> None:
        if role != WORKER or number >= len(self._slots):
            raise Stranger(f"there is no worker {number}, of {len(self._slots)}")
        if self._slots[number].done():
            raise Stranger(f"worker {number} has called before")
        self._slots[number].set_result(Called(reader, writer, f"{self._name_of(number)} at {host}"))

    def _drop(self, writer: asyncio.StreamWriter, host: str, why: str) -> None:
        if len(self._dropped) < 1000:  # whoever hammers at the door gets no more of our memory
            self._dropped[(host, why)] += 1
        writer.transport.abort()

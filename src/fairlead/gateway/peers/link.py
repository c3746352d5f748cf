"""The side that calls: listens to one peer, and hands it the ends of its requests."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from fairlead.clock import SYSTEM, Clock
from fairlead.gateway.peers.inbox import Inbox
from fairlead.gateway.peers.messages import (
    Ended,
    Hello,
    Loads,
    Prompts,
    ProtocolError,
    SnapshotPart,
    WantSnapshot,
    frame,
    read_message,
)
from fairlead.gateway.peers.place import connect, remove
from fairlead.gateway.route import Completion

SILENCE_S = 2.0
"""A peer beats twice a second; one that is silent for so long is counted no more."""
MIN_RETRY_S = 0.1
MAX_RETRY_S = 5.0
MAX_REFUSED = 5
MAX_BUFFERED_BYTES = 1024 * 1024
MAX_SNAPSHOT_BYTES = 32 * 1024 * 1024

_log = logging.getLogger(__name__)


class LinkState(StrEnum):
    """What is known of a place."""

    CONNECTING = "connecting"
    LISTENING = "listening"
    SELF = "self"
    """This very picker."""
    KNOWN = "known"
    """A picker that is listened to at another of its places."""
    OTHER = "other"
    """A picker of another gateway or version."""


@dataclass(slots=True)
class Shared:
    """What all links of a picker share."""

    hello: Hello
    inbox: Inbox
    restore: Callable[[bytes], None] | None
    """What to do with a snapshot of the prefix index; None where none is wanted (any more)."""
    by_replica: dict[str, Link]


class Link:
    """One place where a peer may be."""

    def __init__(self, place: str, shared: Shared, clock: Clock = SYSTEM) -> None:
        self.place = place
        self.state = LinkState.CONNECTING
        self.replica = ""
        self._shared = shared
        self._clock = clock
        self._writer: asyncio.StreamWriter | None = None
        self._ends: list[Completion] = []
        self._snapshot = bytearray()
        self._failing = False
        self._refused = 0
        """Connections in a row."""

    def hand_over(self, completion: Completion) -> bool:
        """Tell the peer that a request of its own is over; False where it cannot be told."""
        writer = self._writer
        if writer is None or writer.transport.get_write_buffer_size() > MAX_BUFFERED_BYTES:
            return False
        if not self._ends:
            # The access log brings many at once.
            asyncio.get_running_loop().call_soon(self._flush_ends)
        self._ends.append(completion)
        return True

    def _flush_ends(self) -> None:
        ends, self._ends = self._ends, []
        if self._writer is not None and ends:
            self._writer.write(frame(Ended(ends)))

    async def run(self) -> None:
        """Listen to the peer whenever it can be reached, until cancelled."""
        retry_s = MIN_RETRY_S
        while True:
            try:
                async with asyncio.timeout(SILENCE_S):
                    reader, writer = await connect(self.place)
            except (OSError, TimeoutError) as error:
                self._say(error)
                self._refused = self._refused + 1 if isinstance(error, ConnectionRefusedError) else 0
                if self._refused >= MAX_REFUSED:
                    # Nobody listens on the socket file of a picker that was killed, and nobody will.
                    remove(self.place)
            else:
                self._refused = 0
                try:
                    await self._talk(reader, writer)
                except (OSError, EOFError, TimeoutError, ProtocolError) as error:
                    self._say(error)
                finally:
                    retry_s = MIN_RETRY_S if self.state == LinkState.LISTENING else retry_s
                    self._lost(writer)
            waits = self.state in (LinkState.SELF, LinkState.OTHER, LinkState.KNOWN)
            await self._clock.sleep(MAX_RETRY_S if waits else retry_s)
            retry_s = min(MAX_RETRY_S, 2 * retry_s)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        shared = self._shared
        writer.write(frame(shared.hello))
        hello = await self._next(reader)
        if not isinstance(hello, Hello):
            raise ProtocolError(f"began with {type(hello).__name__}")
        self.state = self._judge(hello)
        if self.state != LinkState.LISTENING:
            return
        self.replica, self._writer, self._failing = hello.replica, writer, False
        shared.by_replica[hello.replica] = self
        _log.info("listening to picker %s at %s", hello.replica, self.place)
        if shared.restore is not None:
            writer.write(frame(WantSnapshot()))
        while True:
            self._take(await self._next(reader))

    async def _next(self, reader: asyncio.StreamReader) -> object:
        async with asyncio.timeout(SILENCE_S):
            return await read_message(reader)

    def _judge(self, hello: Hello) -> LinkState:
        own = self._shared.hello
        if hello.replica == own.replica:
            return LinkState.SELF
        if (hello.version, hello.group) != (own.version, own.group):
            if self.state != LinkState.OTHER:
                _log.warning("the picker at %s is of gateway %r, version %d; it is left alone", self.place,
                             hello.group[:60], hello.version)  # fmt: skip
            return LinkState.OTHER
        return LinkState.KNOWN if hello.replica in self._shared.by_replica else LinkState.LISTENING

    def _take(self, message: object) -> None:
        if isinstance(message, Loads):
            self._shared.inbox.take_loads(self.replica, message, self._clock.monotonic_s())
        elif isinstance(message, Prompts):
            self._shared.inbox.take_prompts(message)
        elif isinstance(message, SnapshotPart):
            self._take_part(message)

    def _take_part(self, part: SnapshotPart) -> None:
        restore = self._shared.restore
        if restore is None:
            return
        self._snapshot += part.data
        if len(self._snapshot) > MAX_SNAPSHOT_BYTES:
            raise ProtocolError(f"a snapshot of more than {MAX_SNAPSHOT_BYTES} bytes")
        if part.is_last:
            self._shared.restore = None
            data, self._snapshot = bytes(self._snapshot), bytearray()
            restore(data)

    def _lost(self, writer: asyncio.StreamWriter) -> None:
        writer.close()
        self._writer = None
        self._snapshot.clear()
        if self._shared.by_replica.get(self.replica) is self:
            del self._shared.by_replica[self.replica]
            self._shared.inbox.gone(self.replica)
            self.state = LinkState.CONNECTING

    def _say(self, error: Exception) -> None:
        if not self._failing:
            said = "silent" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
            _log.info("picker %s at %s: %s; trying again", self.replica or "?", self.place, said)
        self._failing = True

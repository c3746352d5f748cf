"""The side that is called: tells every peer that listens what this picker has in flight and sends where."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence

from fairlead.clock import SYSTEM, Clock
from fairlead.gateway.peers.messages import (
    SNAPSHOT_PART_BYTES,
    Beat,
    Ended,
    Hello,
    ProtocolError,
    SnapshotPart,
    WantSnapshot,
    frame,
    read_message,
)
from fairlead.gateway.peers.outbox import Outbox
from fairlead.gateway.peers.place import listen, remove
from fairlead.gateway.prefix.snapshot import SLICE_NODES, Draft
from fairlead.gateway.prefix.tree import PrefixTree
from fairlead.gateway.route import Completion

FLUSH_INTERVAL_S = 0.025
QUIET_FLUSH_INTERVAL_S = 0.1
"""After a second without anything to tell; the first prompt ends it at once."""
BEAT_INTERVAL_S = 0.5
WHOLE_INTERVAL_S = 5.0
HELLO_TIMEOUT_S = 2.0
MAX_BUFFERED_BYTES = 4 * 1024 * 1024
"""A peer that takes its messages so slowly is not told of prompts, and of loads only by whole reports."""
MAX_SNAPSHOT_BYTES = 8 * 1024 * 1024
"""A million blocks, the latest used; the starting picker takes half a second to take them over."""
MAX_PEERS = 64

_log = logging.getLogger(__name__)


class _Listening:
    """One peer that listens."""

    __slots__ = ("behind", "replica", "writer")

    def __init__(self, replica: str, writer: asyncio.StreamWriter) -> None:
        self.replica = replica
        self.writer = writer
        self.behind = False
        """Loads were not told; a whole report has to make that good."""

    def is_slow(self) -> bool:
        return self.writer.transport.get_write_buffer_size() > MAX_BUFFERED_BYTES


class Listener:
    """Serves peers until closed."""

    def __init__(
        self,
        hello: Hello,
        outbox: Outbox,
        tree: PrefixTree | None,
        completed: Callable[[Sequence[Completion]], None],
        clock: Clock = SYSTEM,
    ) -> None:
        """`completed` gets the ends of this picker's own requests that were reported to a peer."""
        self._hello = hello
        self._outbox = outbox
        self._tree = tree
        self._completed = completed
        self._clock = clock
        self._peers: set[_Listening] = set()
        self._serving: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._joined = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._place = ""

    async def start(self, place: str) -> str:
        """Listen; returns where, with the port that was given where it was 0. Raises OSError, ValueError."""
        self._server = server = await listen(place, self._serve)
        self._place = place
        if place.startswith("unix:"):
            return place
        port = server.sockets[0].getsockname()[1]
        return f"{place.rpartition(':')[0]}:{port}"

    async def run(self) -> None:
        """Tell what is new, until cancelled."""
        told_s = whole_s = busy_s = self._clock.monotonic_s()
        while True:
            if not self._peers:
                self._outbox.open = False
                self._joined.clear()
                await self._joined.wait()
                self._outbox.open = True
            await self._pause(self._clock.monotonic_s() - busy_s > 1.0)
            now_s = self._clock.monotonic_s()
            loads, prompts = self._outbox.take_loads(), self._outbox.take_prompts()
            if loads or prompts:
                busy_s = now_s
            if now_s - whole_s >= WHOLE_INTERVAL_S:
                loads, whole_s = self._outbox.whole(), now_s
            elif not loads and not prompts and now_s - told_s >= BEAT_INTERVAL_S:
                loads = frame(Beat())
            if loads or prompts:
                told_s = now_s
                self._tell(loads, prompts)

    async def _pause(self, quiet: bool) -> None:
        if quiet:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(QUIET_FLUSH_INTERVAL_S):
                    await self._outbox.has_prompts.wait()
        else:
            await self._clock.sleep(FLUSH_INTERVAL_S)

    async def close(self) -> None:
        """End all connections and listen no more."""
        if self._server is not None:
            self._server.close()
            remove(self._place)
        serving = dict(self._serving)
        for writer in serving.values():
            writer.transport.abort()
        await asyncio.gather(*serving, return_exceptions=True)

    def _tell(self, loads: bytes, prompts: bytes) -> None:
        whole = b""
        for peer in self._peers:
            if peer.is_slow():
                peer.behind = True
                continue
            if peer.behind:
                whole = whole or self._outbox.whole()
                peer.behind = False
                peer.writer.write(whole)
            peer.writer.write(loads + prompts if loads and prompts else loads or prompts)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving[task] = writer
        try:
            if len(self._serving) <= MAX_PEERS:
                await self._talk(reader, writer)
        except (OSError, EOFError, TimeoutError, ProtocolError) as error:
            if isinstance(error, ProtocolError):
                _log.warning("a peer is hung up on: %s", error)
        finally:
            del self._serving[task]
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(HELLO_TIMEOUT_S):
            hello = await read_message(reader)
        if not isinstance(hello, Hello):
            raise ProtocolError(f"began with {type(hello).__name__}")
        writer.write(frame(self._hello))
        own = self._hello
        if (hello.version, hello.group) != (own.version, own.group) or hello.replica == own.replica:
            await writer.drain()
            return
        writer.write(self._outbox.whole())
        peer = _Listening(hello.replica, writer)
        self._peers.add(peer)
        self._joined.set()
        sending: asyncio.Task[None] | None = None
        try:
            while True:
                message = await read_message(reader)
                if isinstance(message, Ended):
                    self._completed(message.completions)
                elif isinstance(message, WantSnapshot) and sending is None:
                    sending = asyncio.create_task(self._send_index(writer))
        finally:
            self._peers.discard(peer)
            if sending is not None:
                sending.cancel()

    async def _send_index(self, writer: asyncio.StreamWriter) -> None:
        if self._tree is None:
            return
        draft = Draft(MAX_SNAPSHOT_BYTES)
        for _ in draft.draw(self._tree, SLICE_NODES):
            await asyncio.sleep(0)
        data = await asyncio.to_thread(draft.encode)
        with contextlib.suppress(OSError):
            for start in range(0, len(data), SNAPSHOT_PART_BYTES):
                part = data[start : start + SNAPSHOT_PART_BYTES]
                writer.write(frame(SnapshotPart(part, start + SNAPSHOT_PART_BYTES >= len(data))))
                await writer.drain()

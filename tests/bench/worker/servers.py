"""Servers that are written for one fault each, on loopback, in the worker's own event loop; and a worker."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

from bench.worker.test_reading import peer
from fairlead.bench.record import Record
from fairlead.bench.session import Job, PreparedTurn
from fairlead.bench.wire import (
    LENGTH_BYTES,
    Down,
    Finish,
    Finished,
    Jobs,
    Pulse,
    Ready,
    Records,
    Settings,
    Start,
    frame,
    up_decoder,
)
from fairlead.bench.worker.process import Worker
from fairlead.clock import SYSTEM

Reply = Callable[[int, bytes, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bool]]
"""Given the number of the request (from 0) and its body; returns whether the connection is kept."""

EVENTS = (
    b'data: {"choices":[{"text":"a"}]}\n\ndata: {"choices":[{"text":"b","finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
)
GOOD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n%b" % (len(EVENTS), EVENTS)


class Server:
    """`connections` and `requests` that came; `most`: connections open at once."""

    def __init__(self, reply: Reply) -> None:
        self.port = self.connections = self.requests = self.most = self._open = 0
        self.bodies: list[bytes] = []
        self._reply = reply
        self.writers: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open += 1
        self.most = max(self.most, self._open)
        self.writers.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                at = head.find(b"Content-Length: ") + 16
                body = await reader.readexactly(int(head[at : head.index(b"\r", at)]))
                number, self.requests = self.requests, self.requests + 1
                self.bodies.append(body)
                if not await self._reply(number, body, reader, writer):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self._open -= 1
            self.writers.discard(writer)
            writer.close()


@contextlib.asynccontextmanager
async def served(reply: Reply, ssl: object = None) -> AsyncIterator[Server]:
    server = Server(reply)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, backlog=2048, limit=2**20, ssl=ssl)  # type: ignore[arg-type]
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for writer in list(server.writers):
            writer.transport.abort()


def job(number: int, due_s: float, *bodies: bytes | list[bytes], stage: int = 0) -> Job:
    """A session whose turns have these bodies."""
    turns = [PreparedTurn(body if isinstance(body, list) else [body], 1, 2, 0.0) for body in bodies or (b"{}",)]
    return Job(number, stage, due_s, 0, -1, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: ", turns)


class Coordinator:
    """The other end of a worker's socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.records: list[Record] = []
        self.pulses: list[Pulse] = []
        self.ready: Ready | None = None
        self.finished: Finished | None = None
        self.origin_s = 0.0

    def say(self, *messages: Down) -> None:
        for message in messages:
            self._writer.write(frame(message))

    def start(self) -> None:
        self.origin_s = SYSTEM.monotonic_s()
        self.say(Start(round(self.origin_s * 1e9)))

    async def hear(self, until: Callable[[Coordinator], bool]) -> None:
        """Until this holds."""
        while not until(self):
            length = int.from_bytes(await self._reader.readexactly(LENGTH_BYTES), "big")
            message = up_decoder.decode(await self._reader.readexactly(length))
            if isinstance(message, Records):
                self.records.extend(message.records)
            elif isinstance(message, Pulse):
                self.pulses.append(message)
            elif isinstance(message, Ready):
                self.ready = message
            else:
                self.finished = message

    async def records_of(self, *jobs: Job) -> list[Record]:
        """What has become of these jobs, all turns, in order."""
        expected = sum(len(job.turns) for job in jobs)
        self.say(Jobs(list(jobs)))
        await self.hear(lambda told: len(told.records) >= expected)
        return sorted(self.records, key=lambda record: (record.number, record.turn))

    def hang_up(self) -> None:
        self._writer.close()


@contextlib.asynccontextmanager
async def worker(port: int, keep_text: bool = False, **changed: object) -> AsyncIterator[Coordinator]:
    """A worker that is ready and has its origin; it has ended when the block is left."""
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=theirs, limit=2**22)
    running = asyncio.ensure_future(Worker(reader, writer).run())
    told = Coordinator(*await asyncio.open_connection(sock=ours, limit=2**22))
    told.say(Settings(0, [peer(port=port, **changed)], keep_text, 0.05, 0.02))
    await told.hear(lambda told: told.ready is not None)
    assert told.ready == Ready("", "normal")
    told.start()
    try:
        yield told
        if told.finished is None:
            told.say(Finish(0.0))
            await told.hear(lambda told: told.finished is not None)
    finally:
        told.hang_up()
        await asyncio.wait_for(running, 30)

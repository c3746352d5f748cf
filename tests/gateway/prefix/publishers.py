"""Publishers of cache events for tests, straight on pyzmq: one within the test, one as a process that can be killed."""

from __future__ import annotations

import asyncio
import sys
import textwrap

import zmq
import zmq.asyncio

from fairlead.engines.kv_events import BlockStored, Form, KvEvent, KvEventBatch, encode_batch
from patience import PATIENCE_S

END = (-1).to_bytes(8, "big", signed=True)


class Publisher:
    """As an engine publishes: PUB for all, ROUTER for those who missed something."""

    def __init__(self, form: Form = "map", topic: bytes = b"") -> None:
        self.form, self.topic = form, topic
        self.context = zmq.asyncio.Context()
        self.socket = self.context.socket(zmq.PUB, socket_class=zmq.Socket)
        self.endpoint = f"tcp://127.0.0.1:{self.socket.bind_to_random_port('tcp://127.0.0.1')}"
        self.router = self.context.socket(zmq.ROUTER)
        self.replay_endpoint = f"tcp://127.0.0.1:{self.router.bind_to_random_port('tcp://127.0.0.1')}"
        self.kept: list[tuple[int, bytes]] = []
        self.number = 0
        self.asked: list[int] = []
        self.answers = True
        self.serving = asyncio.ensure_future(self._serve())

    def send(self, *events: KvEvent, payload: bytes | None = None, lose: bool = False, rank: int | None = None) -> None:
        if payload is None:
            payload = encode_batch(KvEventBatch(0.0, events, rank), self.form)
        self.kept.append((self.number, payload))
        if not lose:
            self.socket.send_multipart((self.topic, self.number.to_bytes(8, "big"), payload))
        self.number += 1

    async def _serve(self) -> None:
        while True:
            client, _, start = await self.router.recv_multipart()
            first = int.from_bytes(start, "big")
            self.asked.append(first)
            if not self.answers:
                continue
            for number, payload in list(self.kept):
                if number >= first:
                    await self.router.send_multipart((client, b"", number.to_bytes(8, "big"), payload))
            await self.router.send_multipart((client, b"", END, b""))

    def close(self) -> None:
        self.serving.cancel()
        self.context.destroy(linger=0)


PROCESS = """
    import sys, time, zmq
    from fairlead.engines.kv_events import *
    context = zmq.Context()
    socket = context.socket(zmq.PUB)
    socket.bind(sys.argv[1])
    print("bound", flush=True)
    for number, line in enumerate(sys.stdin):
        tokens = tuple(map(int, line.split()))
        event = BlockStored(tuple(range(number * 100, number * 100 + len(tokens) // 4)), None, tokens, 4)
        socket.send_multipart((b"", number.to_bytes(8, "big"), encode_batch(KvEventBatch(0.0, (event,)))))
"""


async def publisher_process(endpoint: str) -> asyncio.subprocess.Process:
    """A process that stores the tokens of each line of its input."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", textwrap.dedent(PROCESS), endpoint,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), PATIENCE_S) == b"bound\n"
    return process


def stored(*tokens: int, block: int = 4, first_hash: int = 0) -> BlockStored:
    return BlockStored(tuple(range(first_hash, first_hash + len(tokens) // block)), None, tokens, block)

"""A server that is asked for completions and does something else."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Awaitable, Callable, Iterator

Handler = Callable[["Hostile", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(text: str = " token", finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return chunk(b"data: " + json.dumps({"object": "chat.completion.chunk", "choices": [choice]}).encode() + b"\n\n")


def usage(tokens: int) -> bytes:
    said = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": tokens, "total_tokens": 5 + tokens}}
    return chunk(b"data: " + json.dumps(said).encode() + b"\n\n")


END = chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
GOOD = HEAD + event() + event() + event(finish="length") + usage(3) + END


def status(line: str, body: str = "{}", *headers: str) -> bytes:
    more = "".join(f"{header}\r\n" for header in headers)
    return f"HTTP/1.1 {line}\r\nContent-Length: {len(body)}\r\n{more}\r\n{body}".encode()


class Hostile:
    """Listens on a loopback port, in a thread of its own; `answer` gives the bytes for the n-th request (from 0), and
    whether the connection is closed after them. None: nothing is ever said."""

    def __init__(self, answer: Callable[[int], tuple[bytes, bool] | None]) -> None:
        self.requests = 0
        self.port = 0
        self._answer = answer
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def reached(self, requests: int) -> None:
        """Until so many have come."""
        while self.requests < requests:  # noqa: ASYNC110 (they are counted in another thread)
            await asyncio.sleep(0.02)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=512))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                at = head.lower().find(b"content-length:")
                if at >= 0:
                    await reader.readexactly(int(head[at + 15 : head.index(b"\r", at)]))
                answer = self._answer(self.requests)
                self.requests += 1
                if answer is None:
                    continue
                data, closes = answer
                writer.write(data)
                await writer.drain()
                if closes:
                    writer.close()
                    return


@contextlib.contextmanager
def hostile(answer: Callable[[int], tuple[bytes, bool] | None]) -> Iterator[Hostile]:
    """The server, until the block is left."""
    server = Hostile(answer)
    server._thread.start()
    server._ready.wait(30)
    try:
        yield server
    finally:
        server._loop.call_soon_threadsafe(server._loop.stop)
        server._thread.join(10)

"""An engine that does as a test says, byte by byte: it writes down what it is asked and answers with anything."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

Answer = Callable[["Asked", asyncio.StreamWriter], Awaitable[None]]

PAGE = "vllm:num_requests_running 0\nvllm:num_requests_waiting 0\nvllm:kv_cache_usage_perc 0\n"
CHAT = {
    "id": "c", "object": "chat.completion", "created": 1, "model": "tiny",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6},
}  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    line: str
    head: str
    body: bytes

    @property
    def json(self) -> dict:
        return json.loads(self.body)


def plain(body: bytes | str, kind: str = "application/json", status: str = "200 OK", head: str = "") -> bytes:
    """A whole answer."""
    raw = body.encode() if isinstance(body, str) else body
    return f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(raw)}\r\n{head}\r\n".encode() + raw


def saying(text: bytes, *, close: bool = False) -> Answer:
    """Always these bytes."""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(text)
        await writer.drain()
        if close:
            writer.close()

    return answer


@dataclass
class HostileEngine:
    """`page` answers GET /metrics, `answer` every POST; other questions get 200."""

    page: Answer = field(default_factory=lambda: saying(plain(PAGE, "text/plain")))
    answer: Answer = field(default_factory=lambda: saying(plain(json.dumps(CHAT))))
    reads_bodies: bool = True
    asked: list[Asked] = field(default_factory=list)
    """The POSTs."""
    asked_pages: int = 0
    others: dict[str, bytes] = field(default_factory=dict)
    """Path -> answer of further pages."""
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def address(self) -> str:
        assert self._server is not None
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> HostileEngine:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=4_000_000)
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                line = head.partition("\r\n")[0]
                body = await _body(reader, head) if self.reads_bodies else b""
                asked = Asked(line, head.lower(), body)
                if line.startswith("POST"):
                    self.asked.append(asked)
                    await self.answer(asked, writer)
                elif line.startswith("GET /metrics"):
                    self.asked_pages += 1
                    await self.page(asked, writer)
                else:
                    await saying(self.others.get(line.split(" ")[1], plain("{}")))(asked, writer)
        self._writers.discard(writer)
        writer.close()


async def _body(reader: asyncio.StreamReader, head: str) -> bytes:
    for line in head.lower().split("\r\n"):
        if line.startswith("content-length:"):
            return await reader.readexactly(int(line.partition(":")[2]))
    if "transfer-encoding: chunked" not in head.lower():
        return b""
    parts = []
    while size := int(await reader.readline(), 16):
        parts.append(await reader.readexactly(size))
        await reader.readline()
    await reader.readline()
    return b"".join(parts)

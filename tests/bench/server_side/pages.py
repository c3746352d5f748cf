"""Pages that servers of all sorts give, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from fairlead.bench.config import Benchmark
from fairlead.bench.config.read import read_config

VLLM = (Path(__file__).parents[2] / "data" / "engines" / "vllm-0.32-metrics.txt").read_bytes()

Handler = Callable[[asyncio.StreamWriter], Awaitable[None]]


def answer(page: bytes, status: str = "200 OK", kind: str = "text/plain") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(page)}\r\n\r\n".encode() + page


def engine(tokens: int, running: int = 1, started_s: float = 1000.0) -> bytes:
    """A page of vLLM's with little on it."""
    return (
        f"# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{{engine=\"0\"}} {running}\n"
        f"# TYPE vllm:generation_tokens_total counter\nvllm:generation_tokens_total{{engine=\"0\"}} {tokens}\n"
        f"# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds {started_s}\n"
    ).encode()  # fmt: skip


class Served:
    """Counts the questions; `handler` writes the answer to each."""

    def __init__(self, handler: Handler) -> None:
        self.port = 0
        self.asked = 0
        self.connections = 0
        self.heads: list[bytes] = []
        self._handler = handler
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def authority(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def reached(self, count: int) -> None:
        while self.asked < count:  # noqa: ASYNC110 (they are counted by the server's own task)
            await asyncio.sleep(0.005)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.add(writer)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    self.asked += 1
                    self.heads.append(head)
                    await self._handler(writer)
                    await writer.drain()
        finally:
            self._open.discard(writer)
            writer.close()

    def cut(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()


@contextlib.asynccontextmanager
async def serving(handler: Handler, port: int = 0, host: str = "127.0.0.1") -> AsyncIterator[Served]:
    served = Served(handler)
    server = await asyncio.start_server(served.serve, host, port)
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()
        served.cut()
        await server.wait_closed()


def pages(*bodies: bytes) -> Handler:
    """One after the other, the last one for ever."""
    left = list(bodies)

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(left.pop(0) if len(left) > 1 else left[0])

    return write


def looked_at(server: dict[str, Any], url: str = "http://127.0.0.1:1", **more: Any) -> Benchmark:
    """A benchmark that looks at such pages."""
    return read_config(
        {
            "targets": [{"url": url, "model": "m"}],
            "load": {"stages": [{"rate_per_s": 1, "seconds": 1}]},
            "server": {"every_s": 0.1, **server},
            **more,
        }
    )

"""Engines as far as their metrics tell: one small HTTP server for each pod, on a loopback address of its own."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os

PORT = 8000
_NUMBERS = itertools.count(os.getpid() * 7919)


class Engine:
    """Says how many requests it has in flight, and that it makes tokens as long as it has any."""

    def __init__(self) -> None:
        self.address = ""
        self.in_flight = 0
        self._tokens = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        for number in itertools.islice(_NUMBERS, 1000):
            address = f"127.{40 + number // 62_500 % 200}.{1 + number // 250 % 250}.{2 + number % 250}"
            with contextlib.suppress(OSError):
                self._server = await asyncio.start_server(self._answer, address, PORT)
                self.address = address
                return
        raise OSError("no free loopback address")

    def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    def _page(self) -> bytes:
        self._tokens += 7 * self.in_flight
        values = {
            "num_requests_running": self.in_flight, "num_requests_waiting": 0, "kv_cache_usage_perc": 0.0,
            "prompt_tokens_total": self._tokens, "generation_tokens_total": self._tokens,
        }  # fmt: skip
        return "".join(f'vllm:{name}{{model_name="m"}} {value}\n' for name, value in values.items()).encode()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                page = self._page()
                close = b"connection: close" in head.lower()
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n%s\r\n"
                    % (len(page), b"Connection: close\r\n" if close else b"") + page
                )  # fmt: skip
                await writer.drain()
                if close:
                    break
        writer.close()

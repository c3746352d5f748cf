"""Engines as far as controllers ask them: one small HTTP server for each pod, on a loopback address of its own."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import re

PORT = 8000
_NUMBERS = itertools.count(os.getpid() * 7919)
_LENGTH = re.compile(rb"content-length: *(\d+)", re.I)


class Engine:
    """Says how many requests it has in flight, and that it makes tokens as long as it has any; takes adapters as vLLM
    does."""

    def __init__(self) -> None:
        self.address = ""
        self.in_flight = 0
        self.adapters: dict[str, str] = {}  # name -> path
        self.unloaded: list[str] = []
        """Names that it was told to unload, in order."""
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
        lines = [f'vllm:{name}{{model_name="m"}} {value}\n' for name, value in values.items()]
        lines.append('vllm:lora_requests_info{max_lora="2",running_lora_adapters="",waiting_lora_adapters=""} 1.0\n')
        return "".join(lines).encode()

    def _do(self, path: bytes, body: bytes) -> tuple[int, bytes]:
        if path == b"/v1/models":
            cards = [{"id": "m", "parent": None}, *({"id": name, "parent": "m"} for name in self.adapters)]
            return 200, json.dumps({"data": cards}).encode()
        if path == b"/metrics":
            return 200, self._page()
        if b"lora_adapter" not in path:
            return 200, b'{"choices": [{"text": "x"}], "usage": {"completion_tokens": 1}}'
        name = json.loads(body)["lora_name"]
        if path == b"/v1/load_lora_adapter":
            if name in self.adapters:
                return 400, b'{"message": "it has already been loaded"}'
            self.adapters[name] = json.loads(body)["lora_path"]
            return 200, b"Success"
        self.unloaded.append(name)
        if self.adapters.pop(name, None) is None:
            return 404, b'{"message": "it cannot be found"}'
        return 200, b"Success"

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = _LENGTH.search(head)
                body = await reader.readexactly(int(length[1])) if length is not None else b""
                code, page = self._do(head.split(b" ", 2)[1], body)
                close = b"connection: close" in head.lower()
                writer.write(
                    b"HTTP/1.1 %d X\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n%s\r\n"
                    % (code, len(page), b"Connection: close\r\n" if close else b"") + page
                )  # fmt: skip
                await writer.drain()
                if close:
                    break
        writer.close()

"""A server that answers completions at exact times with no model behind it, and notes what it saw and did.

`python -m fairlead.bench.check.null_server` prints its port. `GET /arrivals` gives when requests arrived since it was
last asked, as float64 seconds of CLOCK_MONOTONIC; `GET /served` of each answer that was streamed whole its request's
arrival, and when its first and its last token were written; `GET /usage` the CPU time. An independent witness: it
shares no code with the worker but the timer and how a process goes first.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import os
import re
import sys
import time
from array import array

import uvloop

from fairlead.bench.worker.alarm import Alarm
from fairlead.bench.worker.priority import go_first

_now = time.monotonic  # noqa: TID251 (arrivals are what is measured)
_MAX_TOKENS = re.compile(rb'"max_(?:completion_)?tokens":\s*(\d+)')
_STREAM = re.compile(rb'"stream":\s*true')
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _event(value: object) -> bytes:
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


class _Api:
    """Answers as one of the two APIs has them."""

    def __init__(self, chat: bool) -> None:
        self._chat = chat
        name = "chat.completion" if chat else "text_completion"
        self._whole = {"id": "null", "object": name, "created": 0, "model": "null"}
        self._event = self._whole | ({"object": f"{name}.chunk"} if chat else {})
        self.last = functools.lru_cache(4096)(self._last)  # lengths repeat, and its time is the server's
        self.token = _chunk(_event({**self._event, "choices": [self._choice("delta", " token", None)]}))

    def _choice(self, of: str, text: str, finish: str | None) -> dict[str, object]:
        said = {of: {"role": "assistant", "content": text}} if self._chat else {"text": text}
        return {"index": 0, **said, "logprobs": None, "finish_reason": finish}

    def _last(self, tokens: int, prompt_tokens: int) -> bytes:
        end = _event({**self._event, "choices": [self._choice("delta", " token", "length")]})
        usage = _event({**self._event, "choices": [], "usage": _usage(tokens, prompt_tokens)})
        return _chunk(end + usage + b"data: [DONE]\n\n") + b"0\r\n\r\n"

    def whole(self, tokens: int, prompt_tokens: int) -> bytes:
        choice, usage = self._choice("message", " token" * tokens, "length"), _usage(tokens, prompt_tokens)
        body = json.dumps({**self._whole, "choices": [choice], "usage": usage}).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def _usage(tokens: int, prompt_tokens: int) -> dict[str, int]:
    return {"prompt_tokens": prompt_tokens, "completion_tokens": tokens, "total_tokens": prompt_tokens + tokens}


class NullServer:
    """Settings, and what has arrived and been served."""

    def __init__(self, alarm: Alarm, ttft_s: float, itl_s: float, default_tokens: int) -> None:
        self.alarm, self.ttft_s, self.itl_s, self.default_tokens = alarm, ttft_s, itl_s, default_tokens
        self.arrivals = array("d")
        self.served = array("d")
        self.chat, self.completions = _Api(True), _Api(False)


class _Client(asyncio.Protocol):
    def __init__(self, server: NullServer) -> None:
        self._server = server
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        now_s = _now()
        data = self._rest + data if self._rest else data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._rest = data
            return
        at = data.lower().find(b"content-length:", 0, end)
        length = int(data[at + 15 : data.find(b"\r", at)]) if at >= 0 else 0
        if len(data) < end + 4 + length:
            self._rest = data
            return
        self._rest = b""
        self._answer(data[: data.find(b"\r\n")], data[end + 4 :], now_s)

    def _answer(self, line: bytes, body: bytes, now_s: float) -> None:
        server = self._server
        if line.startswith(b"GET"):
            self._transport.write(_page(server, line))
            return
        server.arrivals.append(now_s)
        found = _MAX_TOKENS.search(body)
        tokens = int(found.group(1)) if found else server.default_tokens
        prompt_tokens = len(body) // 4
        api = server.chat if b"/chat/" in line else server.completions
        if not _STREAM.search(body):
            at_s = now_s + server.ttft_s + server.itl_s * (tokens - 1)
            server.alarm.at(at_s, lambda: self._transport.write(api.whole(tokens, prompt_tokens)))
            return
        self._transport.write(_HEAD)
        stream = _Stream(server, api, self._transport, now_s, tokens, prompt_tokens)
        server.alarm.at(now_s + server.ttft_s, stream.send)


class _Stream:
    """One answer under way. Tokens are due from its request's arrival on: a late one makes no other later."""

    __slots__ = (
        "_api", "_arrived_s", "_due_s", "_first_s", "_left", "_prompt_tokens", "_server", "_tokens", "_transport",
    )  # fmt: skip

    def __init__(
        self, server: NullServer, api: _Api, transport: asyncio.Transport, arrived_s: float, tokens: int,
        prompt_tokens: int,
    ) -> None:  # fmt: skip
        self._server, self._api, self._transport, self._arrived_s = server, api, transport, arrived_s
        self._tokens = self._left = tokens
        self._prompt_tokens = prompt_tokens
        self._due_s = arrived_s + server.ttft_s
        self._first_s = 0.0

    def send(self) -> None:
        if self._transport.is_closing():
            return
        server, now_s = self._server, _now()
        if self._left == self._tokens:
            self._first_s = now_s
        self._left -= 1
        if self._left <= 0:
            self._transport.write(self._api.last(self._tokens, self._prompt_tokens))
            server.served.extend((self._arrived_s, self._first_s, now_s))
            return
        self._transport.write(self._api.token)
        self._due_s += server.itl_s
        server.alarm.at(self._due_s, self.send)


_MODELS = {"object": "list", "data": [{"id": "null", "object": "model", "created": 0, "owned_by": "fairlead"}]}


def _page(server: NullServer, line: bytes) -> bytes:
    kind = b"application/json"
    if line.startswith(b"GET /arrivals"):
        body, server.arrivals = server.arrivals.tobytes(), array("d")
    elif line.startswith(b"GET /served"):
        body, server.served = server.served.tobytes(), array("d")
    elif line.startswith(b"GET /usage"):
        body = json.dumps({"cpu_s": time.process_time()}).encode()
    elif line.startswith(b"GET /metrics"):
        kind, body = b"text/plain; version=0.0.4", b""
    else:
        body = json.dumps(_MODELS if line.startswith(b"GET /v1/models") else {}).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b" % (kind, len(body), body)


async def serve(port: int, ttft_s: float, itl_s: float, tokens: int, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    state = NullServer(Alarm(loop), ttft_s, itl_s, tokens)
    server = await loop.create_server(lambda: _Client(state), "127.0.0.1", port, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.sleep(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ttft-ms", type=float, default=20.0)
    parser.add_argument("--itl-ms", type=float, default=5.0)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=600.0, help="ends by itself")
    parser.add_argument("--core", type=int)
    parser.add_argument("--first", action="store_true", help="before what else runs, where that is permitted")
    given = parser.parse_args()
    if given.core is not None:
        os.sched_setaffinity(0, {given.core})
    if given.first:
        go_first()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    uvloop.run(serve(given.port, given.ttft_ms / 1e3, given.itl_ms / 1e3, given.tokens, given.seconds))


if __name__ == "__main__":
    main()

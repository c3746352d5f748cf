"""What one external-processor call costs the picker's process, on the own gRPC server and on grpcio's.

Envoy is the client, with the gateway's own configuration; requests of 1.2 kB and of 220 kB go through it to a server
that answers at once, with bodies that Envoy holds and bodies that stream through the processor. The processor parses
each message with protobuf and gives a constant answer, so what is measured is the transport, the parsing and the
framing. CPU is the server process's own, all its threads included. The two servers take turns; figures are
medians of the rounds, and their ratio.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import cast

import uvloop
from envoy.config.core.v3 import base_pb2
from envoy.extensions.filters.http.ext_proc.v3 import processing_mode_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb

from fairlead.gateway import envoy
from fairlead.gateway.protocol import ENDPOINT_HEADER
from fairlead.gateway.transport import FastServer, ReferenceServer, Stream
from harness.report import Figure, arguments, report

_PROCESS = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
_FRAME_BYTES = 62_000
_SERVERS = {"own": FastServer, "grpcio": ReferenceServer}


@dataclass(frozen=True)
class Load:
    """Requests of one kind. The goal is the own server's CPU, in milliseconds per call."""

    name: str
    body_bytes: int
    held: bool
    connections: int
    goal_ms: float


_LOADS = (
    Load("1.2 kB streamed", 1_200, False, 64, 0.062),
    Load("1.2 kB held", 1_200, True, 64, 0.062),
    Load("1.2 kB streamed, 4 at once", 1_200, False, 4, 0.1),
    Load("220 kB streamed", 220_000, False, 16, 0.77),
    Load("220 kB held", 220_000, True, 16, 0.77),
)
"""The goals are what a prototype needed, and for few requests at once, which share no read or write, somewhat more."""


class ConstantPick:
    """An external processor that sends every request to one endpoint. Bodies that Envoy holds need not go back."""

    def __init__(self, stream: Stream, endpoint: str) -> None:
        self._stream = stream
        self._endpoint = endpoint
        self._parts: list[bytes] = []
        self._held = False

    def message(self, data: bytes) -> None:
        message = pb.ProcessingRequest.FromString(data)
        if message.WhichOneof("request") == "request_headers":
            self._held = message.protocol_config.request_body_mode == processing_mode_pb2.ProcessingMode.BUFFERED
            if self._held:
                self._stream.send([_GO_ON])
            return
        part = message.request_body
        self._parts.append(part.body)
        if part.end_of_stream:
            body = b"".join(self._parts)
            if self._held:
                self._stream.send([_routed(self._endpoint, True)], end=True)
            else:
                self._stream.send([_routed(self._endpoint, False), *_frames(body)], end=True)

    def half_closed(self) -> None:
        self._stream.send([], end=True)

    def closed(self) -> None:
        pass


_GO_ON = pb.ProcessingResponse(request_headers=pb.HeadersResponse()).SerializeToString()


def _frames(body: bytes) -> list[bytes]:
    frames = []
    for start in range(0, len(body), _FRAME_BYTES):
        answer = pb.ProcessingResponse()
        streamed = answer.request_body.response.body_mutation.streamed_response
        streamed.body = body[start : start + _FRAME_BYTES]
        streamed.end_of_stream = start + _FRAME_BYTES >= len(body)
        frames.append(answer.SerializeToString())
    return frames


@functools.cache
def _routed(endpoint: str, on_body: bool) -> bytes:
    answer = pb.ProcessingResponse()
    common = answer.request_body.response if on_body else answer.request_headers.response
    common.clear_route_cache = True
    header = base_pb2.HeaderValue(key=ENDPOINT_HEADER, raw_value=endpoint.encode())
    common.header_mutation.set_headers.append(
        base_pb2.HeaderValueOption(header=header, append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD)
    )
    return bytes(answer.SerializeToString())


async def _serve(kind: str, address: str, endpoint: str, profile: str) -> None:
    server = _SERVERS[kind]({_PROCESS: lambda stream, _: ConstantPick(stream, endpoint)})
    await server.start(address)
    print("ready", flush=True)
    profiler = None
    if profile:
        import cProfile

        profiler = cProfile.Profile()
        profiler.enable()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    if profiler is not None:
        profiler.disable()
        profiler.dump_stats(profile)
    await server.stop(0.2)


class Sink(asyncio.Protocol):
    """An engine that answers when a body is over, of known length or in chunks."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._seen = b""
        self._left: int | None = None
        """Bytes of the body that are to come; None before its head was read, -1 when it comes in chunks."""

    def data_received(self, data: bytes) -> None:
        if self._left is None:
            head, found, data = (self._seen + data).partition(b"\r\n\r\n")
            self._seen = b"" if found else head
            if not found:
                return
            _, known, length = head.lower().partition(b"content-length: ")
            self._left = int(length.split(b"\r\n", 1)[0]) if known else -1
        if self._left >= 0:
            self._left -= len(data)
            over = self._left == 0
        else:
            self._seen = (self._seen + data[-8:])[-8:]
            over = self._seen.endswith(b"\r\n0\r\n\r\n")
        if over:
            self._seen, self._left = b"", None
            self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")


class Client(asyncio.Protocol):
    """Sends one request after the other on one connection until it is told to stop."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._seen = b""
        self.answers = 0
        self.failures = 0
        self.running = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._seen += data
        if not self._seen.endswith(b"\r\n\r\nok"):
            if b" 200 OK" not in self._seen[:20] and len(self._seen) > 20:
                self.failures += 1
                self._transport.close()
            return
        self._seen = b""
        self.answers += 1
        if self.running:
            self._transport.write(self._request)
        else:
            self._transport.close()


def _same(client: Client) -> Client:
    return client


def _cpu_s(pid: int) -> float:
    """CPU time of a process with all its threads, to the nanosecond: Linux's clock of another process, whose id is made
    as clock_getcpuclockid(3) does."""
    return time.clock_gettime((~pid << 3) | 2)


def _request(load: Load) -> bytes:
    """Bodies of known length are held by Envoy, those in chunks stream through the processor."""
    body = b'{"model":"m","prompt":"' + b"x" * (load.body_bytes - 25) + b'"}'
    head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    if load.held:
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    return head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"


async def _measure_load(port: int, load: Load, duration_s: float, pids: list[int]) -> list[float]:
    """CPU seconds per request of each process, and requests/s."""
    request = _request(load)
    loop = asyncio.get_running_loop()
    clients = [Client(request) for _ in range(load.connections)]
    for client in clients:
        await loop.create_connection(functools.partial(_same, client), "127.0.0.1", port)
    await asyncio.sleep(0.3)
    answers_before = sum(client.answers for client in clients)
    before = [_cpu_s(pid) for pid in pids]
    await asyncio.sleep(duration_s)
    answers = sum(client.answers for client in clients) - answers_before
    after = [_cpu_s(pid) for pid in pids]
    for client in clients:
        client.running = False
    await asyncio.sleep(0.2)
    if any(client.failures for client in clients) or not answers:
        raise RuntimeError(f"{sum(c.failures for c in clients)} requests failed, {answers} succeeded")
    return [(b - a) / answers for a, b in zip(before, after, strict=True)] + [answers / duration_s]


@contextlib.asynccontextmanager
async def _gateway(kind: str, endpoint: str, port: int, profile: str) -> AsyncIterator[list[int]]:
    """A processor and an Envoy; their process ids."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        address = f"unix:{envoy.picker_socket(data)}"
        processor = await asyncio.create_subprocess_exec(
            sys.executable, __file__, "--serve", kind, address, endpoint, profile,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert processor.stdout is not None and processor.stdin is not None
        await processor.stdout.readline()
        proxy = await asyncio.create_subprocess_exec(
            *envoy.command(data, port, 1), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            await _until_open(port)
            yield [processor.pid, proxy.pid]
        finally:
            proxy.terminate()
            processor.stdin.close()
            await asyncio.wait_for(asyncio.gather(proxy.wait(), processor.wait()), 10)


async def _until_open(port: int) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.05)
    raise RuntimeError(f"Envoy does not listen on port {port}")


async def _measure(
    rounds: int, duration_s: float, profile: str, kinds: list[str]
) -> dict[tuple[str, str], list[float]]:
    """(server, load) -> medians of CPU seconds of server and Envoy, and requests/s."""
    loop = asyncio.get_running_loop()
    sink = await loop.create_server(Sink, "127.0.0.1", 0)
    endpoint = f"127.0.0.1:{sink.sockets[0].getsockname()[1]}"
    port = 20_000 + os.getpid() % 10_000
    samples: dict[tuple[str, str], list[list[float]]] = {}
    for _ in range(rounds):
        for kind in kinds:
            async with _gateway(kind, endpoint, port, profile) as pids:
                for load in _LOADS:
                    samples.setdefault((kind, load.name), []).append(await _measure_load(port, load, duration_s, pids))
    sink.close()
    return {key: [median(column) for column in zip(*rows, strict=True)] for key, rows in samples.items()}


def main() -> None:
    if sys.argv[1:2] == ["--serve"]:
        uvloop.run(_serve(*sys.argv[2:6]))
        return
    parser = arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--duration-s", type=float, default=2.0)
    parser.add_argument("--profile", default="", help="write a cProfile of the own server here, and measure only it")
    options = parser.parse_args()
    kinds = ["own"] if options.profile else list(_SERVERS)
    medians = uvloop.run(_measure(options.rounds, options.duration_s, options.profile, kinds))
    figures = []
    for load in _LOADS:
        for kind in kinds:
            server_s, envoy_s, per_s = medians[kind, load.name]
            goal = load.goal_ms if kind == "own" else None
            figures.append(Figure(f"{load.name}: CPU per call, {kind}", server_s * 1e3, "ms", goal))
            figures.append(Figure(f"{load.name}: CPU of Envoy per request, {kind}", envoy_s * 1e3, "ms"))
            figures.append(Figure(f"{load.name}: requests through Envoy, {kind}", per_s, "1/s"))
        if len(kinds) == 2:
            ratio = medians["grpcio", load.name][0] / medians["own", load.name][0]
            figures.append(Figure(f"{load.name}: grpcio's CPU, as a multiple of the own", ratio, "x"))
    report(figures, options.json)


if __name__ == "__main__":
    main()

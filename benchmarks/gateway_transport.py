"""What one external-processor call costs the picker's process, on the own gRPC server and on grpcio's.

Envoy is the client, with the gateway's own configuration; requests of 1.2 kB and of 220 kB go through it to a server
that answers at once. The processor parses each message with protobuf and gives a constant answer, so what is measured
is the transport, the parsing and the framing. CPU is the server process's own, from /proc, all its threads included.
The two servers take turns on the same Envoy; figures are medians of the rounds, and their ratio.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from statistics import median
from typing import cast

import uvloop
from envoy.config.core.v3 import base_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb

from fairlead.gateway import envoy
from fairlead.gateway.protocol import ENDPOINT_HEADER
from fairlead.gateway.transport import FastServer, ReferenceServer, Stream
from harness.report import Figure, arguments, report

_PROCESS = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
_FRAME_BYTES = 62_000
_SMALL_BYTES = 1_200
_LARGE_BYTES = 220_000
_SERVERS = {"own": FastServer, "grpcio": ReferenceServer}
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


class ConstantPick:
    """An external processor that sends every request to one endpoint."""

    def __init__(self, stream: Stream, endpoint: str) -> None:
        self._stream = stream
        self._endpoint = endpoint
        self._parts: list[bytes] = []

    def message(self, data: bytes) -> None:
        message = pb.ProcessingRequest.FromString(data)
        if message.WhichOneof("request") != "request_body":
            return
        part = message.request_body
        self._parts.append(part.body)
        if part.end_of_stream:
            body = b"".join(self._parts)
            self._stream.send([_routed(self._endpoint), *_frames(body)], end=True)

    def half_closed(self) -> None:
        self._stream.send([], end=True)

    def closed(self) -> None:
        pass


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
def _routed(endpoint: str) -> bytes:
    answer = pb.ProcessingResponse()
    common = answer.request_headers.response
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
    """An engine that answers when a body is over. Envoy sends bodies that passed a processor in chunks."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._tail = b""

    def data_received(self, data: bytes) -> None:
        self._tail = (self._tail + data[-8:])[-8:]
        if self._tail.endswith(b"\r\n0\r\n\r\n"):
            self._tail = b""
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
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS


async def _load(port: int, body_bytes: int, connections: int, duration_s: float, pids: list[int]) -> list[float]:
    """CPU seconds per request of each process."""
    body = b'{"model":"m","prompt":"' + b"x" * (body_bytes - 25) + b'"}'
    request = (
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        % len(body)
    ) + body
    loop = asyncio.get_running_loop()
    clients = [Client(request) for _ in range(connections)]
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
) -> dict[tuple[str, int], list[float]]:
    """(server, body size) -> medians of CPU milliseconds of server and Envoy, and requests/s."""
    loop = asyncio.get_running_loop()
    sink = await loop.create_server(Sink, "127.0.0.1", 0)
    endpoint = f"127.0.0.1:{sink.sockets[0].getsockname()[1]}"
    samples: dict[tuple[str, int], list[list[float]]] = {}
    for _ in range(rounds):
        for kind in kinds:
            async with _gateway(kind, endpoint, 20_000 + os.getpid() % 10_000, profile) as pids:
                for size, connections in ((_SMALL_BYTES, 64), (_LARGE_BYTES, 16)):
                    samples.setdefault((kind, size), []).append(
                        await _load(20_000 + os.getpid() % 10_000, size, connections, duration_s, pids)
                    )
    sink.close()
    return {key: [median(column) for column in zip(*rows, strict=True)] for key, rows in samples.items()}


def main() -> None:
    if sys.argv[1:2] == ["--serve"]:
        uvloop.run(_serve(*sys.argv[2:6]))
        return
    parser = arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--duration-s", type=float, default=3.0)
    parser.add_argument("--profile", default="", help="write a cProfile of the own server here, and measure only it")
    options = parser.parse_args()
    kinds = ["own"] if options.profile else list(_SERVERS)
    medians = uvloop.run(_measure(options.rounds, options.duration_s, options.profile, kinds))
    figures = []
    for size, name in ((_SMALL_BYTES, "1.2 kB"), (_LARGE_BYTES, "220 kB")):
        for kind in kinds:
            server_s, envoy_s, per_s = medians[kind, size]
            goal = {("own", _SMALL_BYTES): 0.08, ("own", _LARGE_BYTES): 0.8}.get((kind, size))
            figures.append(Figure(f"{name}: CPU of the {kind} server per call", server_s * 1e3, "ms", goal))
            figures.append(Figure(f"{name}: CPU of Envoy per request, {kind}", envoy_s * 1e3, "ms"))
            figures.append(Figure(f"{name}: requests through Envoy, {kind}", per_s, "1/s"))
        if len(kinds) == 2:
            ratio = medians["grpcio", size][0] / medians["own", size][0]
            figures.append(Figure(f"{name}: grpcio's CPU as a multiple of the own server's", ratio, "x", 3.0, "higher"))
    report(figures, options.json)


if __name__ == "__main__":
    main()

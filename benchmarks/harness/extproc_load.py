"""A load of ext_proc calls and access-log entries on a picker's socket, as Envoy sends them, from one thread.

Envoy and the clients before it cost several times what the picker does, so on a small machine they would be what is
measured. This driver replays prepared frames and reads just enough of the answers to know when each was complete, and
under which id the pick is to be reported as over. Open loop: requests are sent when they are due, late or not.

Protocol: HTTP/2 (RFC 9113), gRPC, envoy.service.ext_proc.v3 and envoy.service.accesslog.v3.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import hpack
from envoy.data.accesslog.v3 import accesslog_pb2
from envoy.service.accesslog.v3 import als_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FRAME = struct.Struct(">HBBBL")  # length (high 16 bits), length (low 8), type, flags, stream
_DATA, _HEADERS, _RST, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_PICK = b"x-fairlead-pick"
_ENDPOINT = b"x-gateway-destination-endpoint"
_MAX_FRAME = 16_384
_FULL_DUPLEX = 4
"""ProcessingMode.BodySendMode."""
_LOG_EVERY_S = 0.05
_BIG_WINDOW = 2**31 - 1


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    length = len(payload)
    return _FRAME.pack(length >> 8, length & 0xFF, kind, flags, stream) + payload


def message(payload: bytes) -> bytes:
    """One gRPC message, not compressed."""
    return b"\0" + len(payload).to_bytes(4, "big") + payload


def request_headers(path: str, body_mode: int) -> bytes:
    """The first message of a call: what Fairlead's Envoy shows of a client's POST."""
    headers = {
        ":method": "POST", ":path": path, "authorization": "Bearer EMPTY",
        "x-request-id": "5f0f3b0e-7a0c-4a8e-9d3b-0c3a3f0e1d2c",
    }  # fmt: skip
    request = pb.ProcessingRequest()
    for key, value in headers.items():
        request.request_headers.headers.headers.add(key=key, raw_value=value.encode())
    request.protocol_config.request_body_mode = body_mode
    return bytes(request.SerializeToString())


def request_body(part: bytes, *, ends: bool) -> bytes:
    return bytes(pb.ProcessingRequest(request_body=pb.HttpBody(body=part, end_of_stream=ends)).SerializeToString())


def call_frames(path: str, body: bytes, part_bytes: int = 65_536) -> list[bytes]:
    """The DATA payloads of one call: Envoy passes bodies on behind the head, in parts of up to 64 kB."""
    stream = message(request_headers(path, _FULL_DUPLEX))
    parts = [body[i : i + part_bytes] for i in range(0, len(body), part_bytes)]
    for index, part in enumerate(parts):
        stream += message(request_body(part, ends=index == len(parts) - 1))
    return _cut(stream)


def _cut(stream: bytes) -> list[bytes]:
    return [stream[i : i + _MAX_FRAME] for i in range(0, len(stream), _MAX_FRAME)]


def log_entry(pick_id: str, address: str) -> accesslog_pb2.HTTPAccessLogEntry:
    entry = accesslog_pb2.HTTPAccessLogEntry()
    entry.request.request_headers[_PICK.decode()] = pick_id
    entry.request.request_method = 2
    entry.request.path = "/v1/chat/completions"
    entry.response.response_code.value = 200
    common = entry.common_properties
    common.duration.nanos = 450_000_000
    common.time_to_first_downstream_tx_byte.nanos = 80_000_000
    common.time_to_last_downstream_tx_byte.nanos = 450_000_000
    common.upstream_request_attempt_count = 1
    host, _, port = address.rpartition(":")
    common.upstream_remote_address.socket_address.address = host
    common.upstream_remote_address.socket_address.port_value = int(port)
    return entry


def value_of(data: bytes, header: bytes) -> str:
    """The value that an answer sets for a header: the next field of the same protobuf message; empty if none."""
    at = data.find(header)
    if at < 0:
        return ""
    start = at + len(header) + 2
    return data[start : start + data[start - 1]].decode()


@dataclass
class Connection:
    """One HTTP/2 connection to the picker."""

    path: str
    socket: socket.socket = field(init=False)
    next_stream: int = 1
    received: bytearray = field(default_factory=bytearray)
    unsent: deque[bytes | memoryview] = field(default_factory=deque)
    credit_bytes: int = 0
    began_s: dict[int, float] = field(default_factory=dict)
    """Stream -> when its request was due."""

    def __post_init__(self) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(self.path)
        self.socket.setblocking(False)
        settings = struct.pack(">HL", 4, _BIG_WINDOW)
        self.unsent.append(_PREFACE + frame(_SETTINGS, 0, 0, settings))
        self.unsent.append(frame(_WINDOW, 0, 0, struct.pack(">L", _BIG_WINDOW - 65_535)))
        self._encoder = hpack.Encoder()

    def open(self, method: str) -> int:
        """A new call; returns its stream."""
        stream, self.next_stream = self.next_stream, self.next_stream + 2
        block = self._encoder.encode(
            [
                (":method", "POST"), (":path", method), (":authority", "picker"), (":scheme", "http"),
                ("te", "trailers"), ("content-type", "application/grpc"), ("x-envoy-internal", "true"),
            ]
        )  # fmt: skip
        self.unsent.append(frame(_HEADERS, _END_HEADERS, stream, block))
        return stream

    def data(self, stream: int, payload: bytes) -> None:
        """One DATA frame; a large payload is not copied."""
        length = len(payload)
        head = _FRAME.pack(length >> 8, length & 0xFF, _DATA, 0, stream)
        if length < 4096:
            self.unsent.append(head + payload)
        else:
            self.unsent.append(head)
            self.unsent.append(payload)

    def flush(self) -> None:
        unsent = self.unsent
        while unsent:
            try:
                sent = self.socket.sendmsg(list(islice(unsent, 64)))
            except BlockingIOError:
                return
            while sent:
                first = unsent.popleft()
                if sent < len(first):
                    unsent.appendleft(memoryview(first)[sent:])
                    return
                sent -= len(first)

    def read(self) -> list[tuple[int, bytes, bool]]:
        """(stream, data, whether the call is over) of what has come."""
        try:
            chunk = self.socket.recv(1 << 20)
        except BlockingIOError:
            return []
        if not chunk:
            raise ConnectionError("the picker closed the connection")
        buffer = self.received
        buffer += chunk
        events: list[tuple[int, bytes, bool]] = []
        at, end = 0, len(buffer)
        while end - at >= 9:
            high, low, kind, flags, stream = _FRAME.unpack_from(buffer, at)
            length = high << 8 | low
            if end - at - 9 < length:
                break
            payload = bytes(buffer[at + 9 : at + 9 + length])
            at += 9 + length
            if kind == _DATA:
                self.credit_bytes += length
                events.append((stream, payload, bool(flags & _END_STREAM)))
            elif kind == _HEADERS:
                events.append((stream, b"", bool(flags & _END_STREAM)))
            elif kind == _SETTINGS and not flags & _ACK:
                self.unsent.append(frame(_SETTINGS, _ACK, 0, b""))
            elif kind == _PING and not flags & _ACK:
                self.unsent.append(frame(_PING, _ACK, 0, payload))
            elif kind == _GOAWAY or (kind == _RST and any(payload)):
                raise ConnectionError(f"the picker ended stream {stream} with {payload.hex()}")
        del buffer[:at]
        if self.credit_bytes > 1 << 20:
            self.unsent.append(frame(_WINDOW, 0, 0, struct.pack(">L", self.credit_bytes)))
            self.credit_bytes = 0
        return events


@dataclass
class Load:
    """Calls at a rate for a time over several connections, and their ends by access log `hold_s` later."""

    socket_path: str
    bodies: list[bytes]
    rate_per_s: float
    seconds: float
    connections: int = 2
    hold_s: float = 0.3
    path: str = "/v1/chat/completions"
    max_open: int = 400
    """Calls under way beyond which the driver waits: above the picker's capacity the load is a closed loop."""

    def __post_init__(self) -> None:
        self._connections = [Connection(self.socket_path) for _ in range(self.connections)]
        self._logs = Connection(self.socket_path)
        self._log_stream = self._logs.open("/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs")
        self._calls = [call_frames(self.path, body) for body in self.bodies]
        self._by_fd = {c.socket.fileno(): c for c in self._connections}
        self._times_ms: list[float] = []
        self._ends: deque[tuple[float, str, str]] = deque()  # when to report, pick id, address
        self._picks: dict[tuple[int, int], tuple[str, str]] = {}  # (fd, stream) -> pick id, address
        self._under_way = self._sent = self._picked = 0
        self._named = False

    def run(self) -> dict[str, object]:
        """Returns the count, the rate and the times of the calls in milliseconds, from due to answered."""
        poll = select.epoll()
        for connection in (*self._connections, self._logs):
            poll.register(connection.socket.fileno(), select.EPOLLIN)
        began_s = time.monotonic()
        stop_s = began_s + self.seconds
        next_s, next_log_s = began_s, began_s
        while (now_s := time.monotonic()) < stop_s or self._under_way:
            if now_s > stop_s + 10:
                raise TimeoutError(f"{self._under_way} calls were not answered")
            while next_s <= now_s < stop_s and self._under_way < self.max_open:
                self._call(max(next_s, now_s - 1.0))
                next_s += 1.0 / self.rate_per_s
            if now_s >= next_log_s:
                next_log_s = now_s + _LOG_EVERY_S
                self._report_ends(now_s)
            for connection in (*self._connections, self._logs):
                if connection.unsent:
                    connection.flush()
            for fd, _ in poll.poll(max(0.0, min(0.001, next_s - time.monotonic()))):
                if fd in self._by_fd:
                    self._take(fd, self._by_fd[fd])
                else:
                    self._logs.read()
        wall_s = time.monotonic() - began_s
        times_ms = sorted(self._times_ms)
        return {
            "calls": len(times_ms), "picked": self._picked, "per_s": len(times_ms) / wall_s,
            "p50_ms": times_ms[len(times_ms) // 2], "p95_ms": times_ms[int(len(times_ms) * 0.95)],
        }  # fmt: skip

    def _call(self, due_s: float) -> None:
        connection = self._connections[self._sent % len(self._connections)]
        stream = connection.open("/envoy.service.ext_proc.v3.ExternalProcessor/Process")
        for payload in self._calls[self._sent % len(self._calls)]:
            connection.data(stream, payload)
        connection.began_s[stream] = due_s
        self._sent += 1
        self._under_way += 1

    def _take(self, fd: int, connection: Connection) -> None:
        for stream, data, over in connection.read():
            if pick_id := value_of(data, _PICK):
                self._picks[fd, stream] = pick_id, value_of(data, _ENDPOINT)
            if not over:
                continue
            done_s = time.monotonic()
            self._times_ms.append((done_s - connection.began_s.pop(stream)) * 1e3)
            self._under_way -= 1
            if pick := self._picks.pop((fd, stream), None):
                self._picked += 1
                self._ends.append((done_s + self.hold_s, *pick))

    def _report_ends(self, now_s: float) -> None:
        batch = als_pb2.StreamAccessLogsMessage()
        while self._ends and self._ends[0][0] <= now_s:
            _, pick_id, address = self._ends.popleft()
            batch.http_logs.log_entry.append(log_entry(pick_id, address))
        if not batch.http_logs.log_entry:
            return
        if not self._named:
            batch.identifier.log_name, batch.identifier.node.id = "requests", "driver"
            self._named = True
        data = message(batch.SerializeToString())
        for i in range(0, len(data), _MAX_FRAME):
            self._logs.data(self._log_stream, data[i : i + _MAX_FRAME])


def main() -> None:
    """`python -m harness.extproc_load FILE`: a load described by JSON, so that the driver is a process of its own."""
    wanted = json.loads(Path(sys.argv[1]).read_text())
    if (core := wanted.pop("core", None)) is not None:
        os.sched_setaffinity(0, {core})
    wanted["bodies"] = [body.encode() for body in wanted["bodies"]]
    json.dump(Load(**wanted).run(), sys.stdout)


if __name__ == "__main__":
    main()

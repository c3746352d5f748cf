"""Streamed chat requests over HTTP/1.1 at a rate, read raw: what clients of the gateway do, at little cost.

Open loop. Each request has a keep-alive connection of its own while it lasts. The time to the first body byte is from
when the request was due.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass
class _Open:
    socket: socket.socket
    due_s: float = 0.0
    first_s: float = 0.0
    tail: bytes = b""
    head: bytes = b""


def run(host: str, port: int, bodies: list[bytes], rate_per_s: float, seconds: float) -> dict[str, object]:
    """Returns counts, the rate, and percentiles in milliseconds of the time to the first byte of the body."""
    requests = [
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        for body in bodies
    ]
    poll = select.epoll()
    idle: list[_Open] = []
    by_fd: dict[int, _Open] = {}
    first_ms: list[float] = []
    failed = ended = sent = under_way = 0
    began_s = time.monotonic()
    next_s, stop_s = began_s, began_s + seconds
    while (now_s := time.monotonic()) < stop_s or under_way:
        if now_s > stop_s + 20:
            raise TimeoutError(f"{under_way} answers did not end")
        while next_s <= now_s < stop_s:
            one = idle.pop() if idle else None
            if one is None:
                one = _Open(socket.create_connection((host, port)))
                one.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                by_fd[one.socket.fileno()] = one
                poll.register(one.socket.fileno(), select.EPOLLIN)
            one.due_s, one.first_s, one.tail, one.head = next_s, 0.0, b"", b""
            one.socket.sendall(requests[sent % len(requests)])
            sent, under_way, next_s = sent + 1, under_way + 1, next_s + 1.0 / rate_per_s
        for fd, _ in poll.poll(max(0.0, min(0.002, next_s - time.monotonic()))):
            one = by_fd[fd]
            data = one.socket.recv(65_536)
            if not one.first_s:
                one.head += data
                at = one.head.find(b"\r\n\r\n")
                if at >= 0 and len(one.head) > at + 4:
                    one.first_s = time.monotonic()
                    if not one.head.startswith(b"HTTP/1.1 200"):
                        raise RuntimeError(one.head.decode(errors="replace"))
                    first_ms.append((one.first_s - one.due_s) * 1e3)
            one.tail = (one.tail + data)[-5:]
            if not data or one.tail == b"0\r\n\r\n":
                ended, under_way = ended + 1, under_way - 1
                if data:
                    idle.append(one)
                else:
                    failed += 1
                    poll.unregister(fd)
                    one.socket.close()
    first_ms.sort()
    return {
        "requests": ended, "failed": failed, "per_s": ended / (time.monotonic() - began_s),
        "p50_ms": first_ms[len(first_ms) // 2], "p95_ms": first_ms[int(len(first_ms) * 0.95)],
    }  # fmt: skip


def main() -> None:
    """`python -m harness.stream_load FILE`."""
    wanted = json.loads(Path(sys.argv[1]).read_text())
    if (core := wanted.pop("core", None)) is not None:
        os.sched_setaffinity(0, {core})
    wanted["bodies"] = [body.encode() for body in wanted["bodies"]]
    json.dump(run(**wanted), sys.stdout)


if __name__ == "__main__":
    main()

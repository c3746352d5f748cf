"""Streamed requests at a steady rate, each answer checked to be whole: what a client sees while engines come and go.

Open loop over keep-alive connections. An answer is whole when its status is 200, it has as many events as were asked
for and it ends with `[DONE]`; whatever is not is kept with the reason and the time.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MAX_SILENCE_S = 30.0
MAX_FAILURES = 50


@dataclass
class _Open:
    socket: socket.socket
    due_s: float = 0.0
    first_s: float = 0.0
    head: bytes = b""
    tail: bytes = b""
    events: int = 0
    is_busy: bool = False


@dataclass
class Outcome:
    """What became of all requests."""

    whole: int = 0
    failures: list[tuple[float, str]] = field(default_factory=list)
    """Seconds since the start, and what was wrong."""
    first_ms: list[float] = field(default_factory=list)


class Load:
    """One run. `stop` may be set by another thread; answers under way are then waited for."""

    def __init__(self, host: str, port: int, model: str, tokens: int, rate_per_s: float, headers: str = "") -> None:
        prompt = " ".join(["word"] * 30)
        body = json.dumps(
            {"model": model, "prompt": prompt, "max_tokens": tokens, "stream": True, "ignore_eos": True}
        ).encode()
        self._request = (
            f"POST /v1/completions HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\n{headers}"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body
        self._place, self._tokens, self._gap_s = (host, port), tokens, 1.0 / rate_per_s
        self.stop = False
        self.sent = 0
        self._poll = select.epoll()
        self._idle: list[_Open] = []
        self._by_fd: dict[int, _Open] = {}
        self._busy = 0

    def run(self, seconds: float) -> Outcome:
        """Send for so long, or until `stop`; then wait for what is under way."""
        outcome = Outcome()
        began_s = time.monotonic()
        next_s, end_s = began_s, began_s + seconds
        heard_s = began_s
        while True:
            now_s = time.monotonic()
            is_over = self.stop or now_s >= end_s
            if is_over and (not self._busy or now_s > heard_s + MAX_SILENCE_S):
                break
            while not is_over and next_s <= now_s:
                self._send(next_s)
                next_s += self._gap_s
            heard = self._poll.poll(max(0.0, min(0.005, next_s - time.monotonic())))
            for fd, _ in heard:
                self._read(fd, outcome, began_s)
            heard_s = time.monotonic() if heard else heard_s
        silent = f"no byte for {MAX_SILENCE_S:.0f} s"
        outcome.failures += [(time.monotonic() - began_s, silent) for one in self._by_fd.values() if one.is_busy]
        for one in self._by_fd.values():
            one.socket.close()
        return outcome

    def _send(self, due_s: float) -> None:
        one = self._idle.pop() if self._idle else None
        if one is None:
            one = _Open(socket.create_connection(self._place, timeout=5.0))
            one.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._by_fd[one.socket.fileno()] = one
            self._poll.register(one.socket.fileno(), select.EPOLLIN)
        one.due_s, one.first_s, one.head, one.tail, one.events, one.is_busy = due_s, 0.0, b"", b"", 0, True
        one.socket.sendall(self._request)
        self.sent, self._busy = self.sent + 1, self._busy + 1

    def _read(self, fd: int, outcome: Outcome, began_s: float) -> None:
        one = self._by_fd[fd]
        try:
            data = one.socket.recv(262_144)
        except OSError:
            data = b""
        if not one.first_s and data:
            one.first_s = time.monotonic()
            outcome.first_ms.append((one.first_s - one.due_s) * 1e3)
        if len(one.head) < 4096:
            one.head += data[:4096]
        # An event may be split between two reads: look again at the last bytes of the one before.
        one.events += (one.tail[-5:] + data).count(b"data: ") if one.tail else data.count(b"data: ")
        one.tail = (one.tail + data)[-64:]
        if data and not self._has_ended(one):
            return
        if one.is_busy:
            self._judge(one, outcome, time.monotonic() - began_s)
            self._busy -= 1
        one.is_busy = False
        if data and one.head.startswith(b"HTTP/1.1 200"):
            self._idle.append(one)
            return
        if one in self._idle:
            self._idle.remove(one)
        self._poll.unregister(fd)
        one.socket.close()
        del self._by_fd[fd]

    def _has_ended(self, one: _Open) -> bool:
        if one.tail.endswith(b"0\r\n\r\n"):
            return True
        head, separator, body = one.head.partition(b"\r\n\r\n")
        lower = head.lower()
        if not separator or b"content-length:" not in lower:
            return False
        return len(body) >= int(lower.split(b"content-length:")[1].split(b"\r\n")[0])

    def _judge(self, one: _Open, outcome: Outcome, at_s: float) -> None:
        wrong = ""
        if not one.head.startswith(b"HTTP/1.1 200"):
            wrong = one.head.decode(errors="replace")[:600] or "connection closed before an answer"
        elif b"[DONE]" not in one.tail:
            wrong = f"cut after {one.events} events"
        elif one.events < self._tokens + 1:
            wrong = f"{one.events - 1} events for {self._tokens} tokens"
        if not wrong:
            outcome.whole += 1
        elif len(outcome.failures) < MAX_FAILURES:
            outcome.failures.append((at_s, wrong))


def main() -> None:
    """`python -m harness.whole_answers FILE`: a JSON object of arguments; ends early on a line on standard input."""
    wanted: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    seconds = wanted.pop("seconds")
    load = Load(**wanted)
    import threading

    def listen() -> None:
        sys.stdin.readline()
        load.stop = True

    threading.Thread(target=listen, daemon=True).start()
    outcome = load.run(seconds)
    outcome.first_ms.sort()
    p99 = outcome.first_ms[int(0.99 * (len(outcome.first_ms) - 1))] if outcome.first_ms else None
    json.dump(
        {"sent": load.sent, "whole": outcome.whole, "failures": outcome.failures, "first_p99_ms": p99}, sys.stdout
    )


if __name__ == "__main__":
    main()

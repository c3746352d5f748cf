"""A proxy before a real registry that does to its answers what networks and bad registries do.

It counts what passes, so that a test can say what was sent twice.
"""

from __future__ import annotations

import http.client
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_PIECE_BYTES = 16 << 10


@dataclass
class Fault:
    """What is done to requests whose `METHOD path` matches, `times` times.

    `status`: answered so, without asking the registry, with `headers` and `body`. `cut_after`, `stall_after`: of the
    answer's body so many bytes come, then the connection is cut, or nothing more until the proxy ends. `change`: makes
    another body of the answer's. `edit`: headers of the answer that are replaced (None: left out). `lose_answer`: the
    registry does what it was asked, and nobody learns of it. `cut_upload_after`: bytes of the request's body that pass.
    `without`: a header of the request that the registry does not see.
    """

    match: str
    times: int = 1
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut_after: int | None = None
    stall_after: int | None = None
    change: Callable[[bytes], bytes] | None = None
    edit: dict[str, str | None] = field(default_factory=dict)
    lose_answer: bool = False
    cut_upload_after: int | None = None
    without: str = ""


@dataclass
class Proxy:
    """`pause_s`: waits between 16 KiB in either direction. `up`, `down`: bytes of bodies that passed."""

    upstream: str
    faults: list[Fault] = field(default_factory=list)
    pause_s: float = 0.0
    up: int = 0
    down: int = 0
    asked: list[str] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)
    host: str = ""
    ended: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fault(self, what: str) -> Fault | None:
        with self.lock:
            self.asked.append(what)
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.match, what):
                    fault.times -= 1
                    return fault
        return None

    def count(self, pattern: str) -> int:
        """How many requests were like this."""
        with self.lock:
            return sum(1 for what in self.asked if re.search(pattern, what))

    def passed(self, *, up: int = 0, down: int = 0) -> None:
        with self.lock:
            self.up += up
            self.down += down
        if self.pause_s:
            time.sleep(self.pause_s)


@contextmanager
def proxying(upstream: str, *faults: Fault, pause_s: float = 0.0) -> Iterator[Proxy]:
    """A proxy of the registry at `upstream` (host:port) on a free loopback port."""
    proxy = Proxy(upstream, list(faults), pause_s)
    handler = type("Handler", (_Handler,), {"proxy": proxy})
    server = _Quiet(("127.0.0.1", 0), handler)
    proxy.host = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.05), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.ended.set()
        server.shutdown()
        server.server_close()


class _Cut(Exception):
    pass


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def log_message(self, *_: Any) -> None:
        return

    def _any(self) -> None:
        fault = self.proxy.fault(f"{self.command} {self.path}")
        with self.proxy.lock:
            self.proxy.authorizations.append(self.headers.get("Authorization", ""))
        try:
            if fault is not None and fault.status:
                self._refuse(fault)
            else:
                self._pass_on(fault or Fault(""))
        except (_Cut, OSError, http.client.HTTPException):
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _any

    def _refuse(self, fault: Fault) -> None:
        left = int(self.headers.get("Content-Length") or 0)
        while left and (part := self.rfile.read(min(left, _PIECE_BYTES))):
            left -= len(part)
        self.send_response(fault.status)
        for name, value in fault.headers.items():
            self.send_header(name, value.replace("PROXY", self.proxy.host))
        self.send_header("Content-Length", str(len(fault.body)))
        self.end_headers()
        self.wfile.write(fault.body)

    def _pass_on(self, fault: Fault) -> None:
        registry = http.client.HTTPConnection(self.proxy.upstream, timeout=30)
        try:
            self._send_up(registry, fault)
            answer = registry.getresponse()
            if fault.lose_answer:
                answer.read()
                raise _Cut
            self._send_down(answer, fault)
        finally:
            registry.close()

    def _send_up(self, registry: http.client.HTTPConnection, fault: Fault) -> None:
        registry.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in ("connection", fault.without.lower()):
                registry.putheader(name, value)
        registry.endheaders()
        left, sent = int(self.headers.get("Content-Length") or 0), 0
        while left:
            part = self.rfile.read1(min(left, _PIECE_BYTES))
            if not part:
                raise _Cut
            registry.send(part)
            left, sent = left - len(part), sent + len(part)
            self.proxy.passed(up=len(part))
            if fault.cut_upload_after is not None and sent >= fault.cut_upload_after:
                raise _Cut

    def _send_down(self, answer: http.client.HTTPResponse, fault: Fault) -> None:
        changed = None if fault.change is None else fault.change(answer.read())
        self.send_response(answer.status)
        headers = {name: value for name, value in answer.getheaders() if name.lower() not in ("connection", "date")}
        if changed is not None:
            headers["Content-Length"] = str(len(changed))
        for name, value in fault.edit.items():
            headers = {n: v for n, v in headers.items() if n.lower() != name.lower()}
            if value is not None:
                headers[name] = value
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if changed is not None:
            self.wfile.write(changed)
            return
        sent = 0
        while part := answer.read1(_PIECE_BYTES):
            for limit, stalls in ((fault.cut_after, False), (fault.stall_after, True)):
                if limit is not None and sent + len(part) > limit:
                    self.wfile.write(part[: limit - sent])
                    if stalls:
                        self.proxy.ended.wait(60)
                    self.connection.shutdown(socket.SHUT_RDWR)
                    raise _Cut
            self.wfile.write(part)
            sent += len(part)
            self.proxy.passed(down=len(part))

"""The shim's side of `attach`: a Unix socket on which a container's output is repeated and its input is taken.

Frames in both directions: one byte kind, four bytes big-endian length, payload.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct

STDIN, STDOUT, STDERR, STDIN_CLOSED, RESIZE = range(5)
HEADER = struct.Struct(">BI")
_BACKLOG_LIMIT_BYTES = 1 << 20
"""A client that reads this much too slowly is dropped: it must not hold up the container."""


class Client:
    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._received = b""
        self.pending = b""

    def receive(self) -> list[tuple[int, bytes]] | None:
        """Frames that have arrived, or None once the client is gone."""
        try:
            data = self.connection.recv(1 << 16)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not data:
            return None
        self._received += data
        frames = []
        while len(self._received) >= HEADER.size:
            kind, length = HEADER.unpack_from(self._received)
            end = HEADER.size + length
            if len(self._received) < end:
                break
            frames.append((kind, self._received[HEADER.size : end]))
            self._received = self._received[end:]
        return frames

    def send(self, data: bytes = b"") -> bool:
        """Send or keep `data`; False once the client is gone or too far behind."""
        self.pending += data
        try:
            sent = self.connection.send(self.pending) if self.pending else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            return False
        self.pending = self.pending[sent:]
        return len(self.pending) <= _BACKLOG_LIMIT_BYTES


class AttachServer:
    """Listens at `path`, which is relative: absolute paths may exceed the length limit of Unix sockets."""

    def __init__(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.listener.bind(path)
        os.chmod(path, 0o600)
        self.listener.listen(8)
        self.listener.setblocking(False)
        self.clients: dict[int, Client] = {}

    def accept(self) -> int | None:
        try:
            connection, _ = self.listener.accept()
        except OSError:
            return None
        connection.setblocking(False)
        self.clients[connection.fileno()] = Client(connection)
        return connection.fileno()

    def drop(self, descriptor: int) -> None:
        client = self.clients.pop(descriptor, None)
        if client is not None:
            client.connection.close()

    def broadcast(self, kind: int, data: bytes) -> list[int]:
        """Repeat output to every client; returns the descriptors of those that were dropped."""
        frame = HEADER.pack(kind, len(data)) + data
        lost = [descriptor for descriptor, client in self.clients.items() if not client.send(frame)]
        for descriptor in lost:
            self.drop(descriptor)
        return lost

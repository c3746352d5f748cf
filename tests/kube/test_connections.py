"""Whole requests over kept connections: answers in any pieces, connections that end, and those that are used again."""

from __future__ import annotations

import asyncio
import ssl
import zlib
from collections.abc import Callable
from typing import Any

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from fairlead.kube.client import Client
from fairlead.kube.connections import BrokenOff, CannotConnect, Connections, WholeAnswer, _Connection
from fairlead.kube.kinds import NAMESPACES

BODY = b'{"kind":"Status"}'
GZIPPED = zlib.compress(BODY, wbits=31)
ANSWERS = {
    "by its length": b"HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n" + BODY,
    "in chunks": b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n7\r\n"
    + BODY[:7] + b"\r\nA;x=y\r\n" + BODY[7:] + b"\r\n0\r\nTrailer: t\r\n\r\n",
    "after an interim answer": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n" + BODY,
    "compressed": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(GZIPPED) + GZIPPED,
}  # fmt: skip


class _Wire:
    """A transport that only takes."""

    def write(self, data: bytes) -> None:
        pass

    def abort(self) -> None:
        pass


def _receive(pieces: list[bytes], *, ends: bool = False) -> WholeAnswer:
    async def receive() -> WholeAnswer:
        connection = _Connection()
        connection.connection_made(_Wire())  # type: ignore[arg-type]
        done = connection.send("GET", b"")
        for piece in pieces:
            connection.data_received(piece)
        if ends:
            connection.connection_lost(None)
        assert done.done()
        return done.result()

    return asyncio.run(receive())


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
@given(data=st.data())
def test_an_answer_may_come_in_any_pieces(answer: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(answer)), max_size=6)))
    pieces = [answer[a:b] for a, b in zip([0, *cuts], [*cuts, len(answer)], strict=True)]
    found = _receive([piece for piece in pieces if piece])
    assert (found.status, found.body) == (200, BODY)


def test_an_answer_without_a_length_ends_with_the_connection() -> None:
    assert _receive([b"HTTP/1.0 200 OK\r\n\r\n", BODY], ends=True).body == BODY


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([b"SSH-2.0-OpenSSH\r\n\r\n"], id="no HTTP"),
        pytest.param([b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"], id="no length"),
        pytest.param([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"], id="no chunk"),
        pytest.param([b"HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\nabc"], id="too short"),
        pytest.param([b"x" * 70_000], id="no end of the head"),
    ],
)
def test_what_is_no_whole_answer_is_broken_off(pieces: list[bytes]) -> None:
    with pytest.raises(BrokenOff):
        _receive(pieces, ends=True)


class _Server:
    """Answers requests by a script: for each connection, how many it answers before it closes."""

    def __init__(self, answers: list[int]) -> None:
        self.answers = answers
        self.requests: list[bytes] = []
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        left = self.answers.pop(0) if self.answers else 1000
        while left:
            head = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(head.split(b"\r\n")[0])
            left -= 1
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        if self.requests:
            # Closed when the next request comes: the client finds out after it has sent.
            await reader.readuntil(b"\r\n\r\n")
        writer.close()


async def _with_server(server: _Server, use: Callable[[Connections], Any], tls: ssl.SSLContext | None = None) -> Any:
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    connections = Connections("127.0.0.1", listening.sockets[0].getsockname()[1], idle_s=30.0)
    try:
        return await use(connections)
    finally:
        connections.close()
        listening.close()


async def _send(connections: Connections, method: str, tls: ssl.SSLContext | None = None) -> bytes:
    answer = await connections.send(method, "/x", {}, None, tls=tls, server_name=None)
    return answer.body


async def test_connections_are_used_again() -> None:
    server = _Server([])

    async def use(connections: Connections) -> None:
        for _ in range(5):
            assert await _send(connections, "POST") == b"ok"

    await _with_server(server, use)
    assert (server.connections, len(server.requests)) == (1, 5)


async def test_a_read_on_a_connection_that_was_closing_is_sent_again_and_a_write_is_not() -> None:
    server = _Server([1, 1])

    async def use(connections: Connections) -> None:
        assert await _send(connections, "GET") == b"ok"
        assert await _send(connections, "GET") == b"ok"
        with pytest.raises(BrokenOff):
            await _send(connections, "POST")

    await _with_server(server, use)
    assert server.requests == [b"GET /x HTTP/1.1"] * 2


async def test_a_request_that_is_given_up_takes_its_connection_along() -> None:
    server = _Server([0, 1])

    async def use(connections: Connections) -> None:
        with pytest.raises((TimeoutError, BrokenOff)):
            async with asyncio.timeout(0.05):
                await _send(connections, "POST")
        assert await _send(connections, "POST") == b"ok"

    await _with_server(server, use)
    assert server.connections == 2


async def test_a_port_where_nobody_listens_cannot_be_connected_to() -> None:
    with pytest.raises(CannotConnect):
        await _send(Connections("127.0.0.1", 1, idle_s=1.0), "GET")


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_requests_go_through_tls_on_either_loop(api_server: Any, run: Callable[[Any], Any]) -> None:
    async def read() -> str:
        async with Client.load(api_server.kubeconfig) as client:
            for _ in range(3):
                found = await client.get(NAMESPACES, "default")
            return found.metadata.name

    assert run(read()) == "default"

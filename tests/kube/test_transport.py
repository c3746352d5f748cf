from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from fairlead.kube.client import Client
from fairlead.kube.credentials import Credentials
from fairlead.kube.errors import Conflict, InternalError, Invalid, NotFound, ServiceUnavailable, TooManyRequests
from fairlead.kube.kinds import PODS
from fairlead.kube.objects import ObjectMeta, Pod
from fairlead.kube.transport import RetryPolicy, Unreachable
from fairlead.kube.watch import split_lines
from patience import PATIENCE_S


def status(code: int, reason: str = "", message: str = "no", **headers: str) -> web.Response:
    body = {"kind": "Status", "status": "Failure", "message": message, "reason": reason, "code": code}
    return web.json_response(body, status=code, headers={k.replace("_", "-"): v for k, v in headers.items()})


async def test_requests_are_sent_again_where_the_server_asks_for_it(scripted: Any, scripted_client: Client) -> None:
    scripted.faults.answers = [
        status(429, "TooManyRequests", Retry_After="0"),
        status(503, "ServiceUnavailable", Retry_After="0"),
        web.json_response({"metadata": {"name": "a"}}, status=201),
    ]
    created = await scripted_client.create(PODS, Pod(metadata=ObjectMeta(name="a", namespace="default")))
    assert created.metadata.name == "a"
    assert len(scripted.requests) == 3
    assert len(set(scripted.bodies)) == 1


async def test_refusals_without_a_time_are_not_repeated(scripted: Any, scripted_client: Client) -> None:
    scripted.faults.answers = [status(429, "TooManyRequests", "budget"), status(503)]
    with pytest.raises(TooManyRequests, match="budget"):
        await scripted_client.request("POST", "/api/v1/evict")
    with pytest.raises(ServiceUnavailable):
        await scripted_client.request("POST", "/api/v1/evict")
    assert len(scripted.requests) == 2


async def test_attempts_are_bounded(scripted: Any, scripted_client: Client) -> None:
    scripted.faults.answers = [status(503, Retry_After="0") for _ in range(10)]
    with pytest.raises(ServiceUnavailable):
        await scripted_client.request("GET", "/x")
    assert len(scripted.requests) == 5


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (status(409, "Conflict", "stale"), Conflict, "stale"),
        (status(422, "Invalid", "bad"), Invalid, "bad"),
        (status(404, "NotFound", "gone"), NotFound, "gone"),
        (web.Response(status=500, text="panic"), InternalError, "GET /x: panic"),
        (web.Response(status=404, text="404 page not found\n"), NotFound, "GET /x: 404 page not found"),
    ],
)
async def test_errors_are_typed(
    scripted: Any, scripted_client: Client, answer: web.Response, kind: type[Exception], message: str
) -> None:
    scripted.faults.answers = [answer]
    with pytest.raises(kind, match=message):
        await scripted_client.request("GET", "/x")


async def test_unreachable_server_is_named() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    async with Client(Credentials(f"http://127.0.0.1:{port}"), retry=RetryPolicy(attempts=2, first_delay_s=0.01)) as c:
        with pytest.raises(Unreachable, match=f"GET http://127.0.0.1:{port}/version: "):
            await c.request("GET", "/version")


async def breaking_server(answers_after: int) -> tuple[asyncio.Server, list[bytes]]:
    """A server that breaks so many connections after reading the request, then answers."""
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        if len(seen) > answers_after:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
            await writer.drain()
        writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0), seen


async def test_broken_connections_are_retried_for_reads_only() -> None:
    server, seen = await breaking_server(2)
    port = server.sockets[0].getsockname()[1]
    async with server, Client(Credentials(f"http://127.0.0.1:{port}"), retry=RetryPolicy(first_delay_s=0.01)) as client:
        assert (await client.request("GET", "/x")).json() == {}
        assert len(seen) == 3
        seen.clear()
        with pytest.raises(Unreachable):
            await client.request("POST", "/x", body={})
        assert len(seen) == 1


async def test_a_silent_server_is_given_up() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, Client(Credentials(f"http://127.0.0.1:{port}"), timeout_s=0.1) as client:
        with pytest.raises(Unreachable, match="no answer in time"):
            await client.request("GET", "/x")


async def test_a_stream_must_begin_in_time() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, Client(Credentials(f"http://127.0.0.1:{port}")) as client:
        with pytest.raises(Unreachable, match="no answer in time"):
            async with client.transport.stream("GET", "/x", head_timeout_s=0.1):
                pytest.fail("there is no answer")


async def test_warnings_are_reported(scripted: Any) -> None:
    heard: list[str] = []
    async with Client(Credentials(scripted.url), on_warning=heard.append) as client:
        scripted.faults.answers = [
            web.json_response({}, headers={"Warning": '299 - "unknown field \\"spec.x\\"", 299 - "old version"'})
        ]
        await client.request("GET", "/x")
    assert heard == ['unknown field "spec.x"', "old version"]


class Renewable:
    """Credentials that the server refuses until they are renewed."""

    def __init__(self) -> None:
        self.token = "old"

    async def header(self) -> str:
        return f"Bearer {self.token}"

    async def refused(self) -> bool:
        self.token = "new"
        return True


async def test_renewed_credentials_get_one_more_attempt(scripted: Any) -> None:
    async with Client(Credentials(scripted.url, authorization=Renewable()), retry=RetryPolicy()) as client:
        scripted.faults.answers = [status(401, "Unauthorized"), web.json_response({"ok": True})]
        assert (await client.request("POST", "/x", body={})).json() == {"ok": True}
    assert [r.headers["Authorization"] for r in scripted.requests] == ["Bearer old", "Bearer new"]


@given(st.lists(st.binary(max_size=20).map(lambda b: b.replace(b"\n", b"")), max_size=12), st.data())
def test_lines_do_not_depend_on_chunks(lines: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(line + b"\n" for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    chunks = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]

    async def collect(keep_tail: bool, *extra: bytes) -> list[bytes]:
        async def source() -> AsyncIterator[bytes]:
            for chunk in (*chunks, *extra):
                yield chunk

        return [line async for line in split_lines(source(), keep_tail=keep_tail)]

    assert asyncio.run(collect(False, b"cut off")) == [line for line in lines if line]
    assert asyncio.run(collect(True, b"tail")) == [*lines, b"tail"]


def test_importing_the_client_pulls_in_no_generated_models() -> None:
    program = "import fairlead.kube.client, sys; print(any(m.startswith('kubernetes_asyncio') for m in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    assert done.stdout.strip() == "False"

"""The WebSocket channel protocol against a server that speaks it as a kubelet does."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer

from fairlead.kube.client import Client
from fairlead.kube.credentials import Credentials
from fairlead.kube.errors import ApiError, NotFound
from fairlead.kube.pods import follow_log, read_log
from fairlead.kube.remote import STDERR, STDOUT, connect, execute, run


class Kubelet:
    """Runs `cat` (echoes stdin), `fail` (exit code 3), `missing` (cannot start); forwards ports to an echo."""

    def __init__(self) -> None:
        self.protocols = ["v5.channel.k8s.io", "v4.channel.k8s.io"]
        self.requests: list[web.Request] = []
        self.resizes: list[dict[str, int]] = []
        self.app = web.Application()
        pod = "/api/v1/namespaces/ns/pods/p"
        self.app.router.add_get(f"{pod}/exec", self._exec)
        self.app.router.add_get(f"{pod}/portforward", self._forward)
        self.app.router.add_get(f"{pod}/log", self._log)

    async def _exec(self, request: web.Request) -> web.WebSocketResponse:
        self.requests.append(request)
        socket = web.WebSocketResponse(protocols=self.protocols)
        await socket.prepare(request)
        command = request.query.getall("command")
        await socket.send_bytes(b"\x01")
        if command == ["cat"]:
            await self._echo(socket)
        elif command == ["fail"]:
            await socket.send_bytes(b"\x02oh no")
        status: dict[str, Any] = {"status": "Success"}
        if command == ["fail"]:
            causes = [{"reason": "ExitCode", "message": "3"}]
            status = {"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": causes}}
        elif command == ["missing"]:
            status = {"status": "Failure", "reason": "InternalError", "message": "no such command", "code": 500}
        await socket.send_bytes(b"\x03" + json.dumps(status).encode())
        await socket.close()
        return socket

    async def _echo(self, socket: web.WebSocketResponse) -> None:
        async for message in socket:
            assert message.type is WSMsgType.BINARY
            if message.data == b"\xff\x00":
                return
            if message.data[0] == 4:
                self.resizes.append(json.loads(message.data[1:]))
            else:
                await socket.send_bytes(b"\x01" + message.data[1:])

    async def _forward(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=["v4.channel.k8s.io"])
        await socket.prepare(request)
        port = int(request.query["ports"]).to_bytes(2, "little")
        await socket.send_bytes(b"\x00" + port)
        await socket.send_bytes(b"\x01" + port)
        if request.query["ports"] == "1":
            await socket.send_bytes(b"\x01connection refused")
        async for message in socket:
            await socket.send_bytes(b"\x00" + message.data[1:].upper())
            break
        await socket.close()
        return socket

    async def _log(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"one\n\ntw")
        await response.write("o é\nthree".encode())
        return response


@pytest.fixture
async def kubelet() -> AsyncIterator[tuple[Kubelet, Client]]:
    kubelet = Kubelet()
    listener = TestServer(kubelet.app)
    await listener.start_server(shutdown_timeout=0.1)
    async with Client(Credentials(f"http://127.0.0.1:{listener.port}")) as client:
        yield kubelet, client
    await listener.close()


async def test_run_gives_output_and_exit_code(kubelet: Any) -> None:
    server, client = kubelet
    done = await run(client, "ns", "p", ["cat"], container="main", stdin=b"hello", timeout_s=5)
    assert (done.exit_code, done.stdout, done.stderr) == (0, b"hello", b"")
    assert server.requests[0].query["container"] == "main"
    failed = await run(client, "ns", "p", ["fail"], timeout_s=5)
    assert (failed.exit_code, failed.stderr) == (3, b"oh no")


async def test_a_command_that_cannot_start_raises(kubelet: Any) -> None:
    _, client = kubelet
    with pytest.raises(ApiError, match="no such command"):
        await run(client, "ns", "p", ["missing"], timeout_s=5)


async def test_a_pod_that_is_not_there_raises(kubelet: Any) -> None:
    _, client = kubelet
    with pytest.raises(NotFound):
        await run(client, "ns", "other", ["cat"], timeout_s=5)


async def test_a_conversation_with_a_terminal(kubelet: Any) -> None:
    server, client = kubelet
    heard: list[tuple[int, bytes]] = []
    async with execute(client, "ns", "p", ["cat"], stdin=True, tty=True) as process:
        await process.resize(80, 24)
        await process.send(b"ping")
        async for channel, data in process.output():
            heard.append((channel, data))
            await process.close_stdin()
    assert heard == [(STDOUT, b"ping")]
    assert process.exit_code == 0
    assert server.resizes == [{"Width": 80, "Height": 24}]
    assert server.requests[0].query["tty"] == "true"
    assert STDERR not in dict(heard)


async def test_older_servers_without_half_close(kubelet: Any) -> None:
    server, client = kubelet
    server.protocols = ["v4.channel.k8s.io"]
    async with execute(client, "ns", "p", ["cat"], stdin=True) as process:
        await process.send(b"x")
        await process.close_stdin()
        async for _, data in process.output():
            assert data == b"x"
            break


async def test_forwarded_port(kubelet: Any) -> None:
    _, client = kubelet
    async with connect(client, "ns", "p", 8000) as stream:
        await stream.send(b"hello")
        assert [data async for data in stream.receive()] == [b"HELLO"]
    async with connect(client, "ns", "p", 1) as stream:
        with pytest.raises(ConnectionError, match="connection refused"):
            async for _ in stream.receive():
                pass


async def test_logs(kubelet: Any) -> None:
    server, client = kubelet
    assert await read_log(client, "ns", "p", tail_lines=5, previous=True) == "one\n\ntwo é\nthree"
    assert dict(server.requests[0].query) == {"previous": "true", "tailLines": "5"}
    assert [line async for line in follow_log(client, "ns", "p", container="c")] == ["one", "", "two é", "three"]
    assert dict(server.requests[1].query) == {"container": "c", "follow": "true"}

"""The name server, asked by a real resolver library."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import dns.asyncquery
import dns.flags
import dns.message
import dns.rcode
import dns.reversename
import pytest
from dns_builders import Objects, pod, service

from fairlead.embedded.dns.forward import name_servers
from fairlead.embedded.dns.server import NameServer
from patience import PATIENCE_S

HOST = "127.0.0.1"
MANY = 90


@contextlib.asynccontextmanager
async def serving(*objects: dict[str, object], upstream: list[str] | None = None) -> AsyncIterator[NameServer]:
    server = NameServer(Objects(*objects), HOST, port=0, upstream=upstream or [])
    task = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(PATIENCE_S):
            await server.started.wait()
        yield server
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def ask(server: NameServer, name: str, kind: str = "A", *, tcp: bool = False) -> dns.message.Message:
    query = dns.message.make_query(name, kind)
    by = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
    return await by(query, HOST, port=server.port, timeout=PATIENCE_S)


def answers(message: dns.message.Message) -> list[str]:
    return sorted(item.to_text() for rrset in message.answer for item in rrset)


async def test_names_of_the_cluster() -> None:
    a = pod("a", "127.64.0.2", hostname="a", subdomain="web", containers=[])
    async with serving(service(ports=[{"name": "http", "port": 80, "targetPort": 8000}]), a) as server:
        answer = await ask(server, "web.default.svc.cluster.local.")
        assert answers(answer) == ["127.64.0.2"] and answer.flags & dns.flags.AA and answer.flags & dns.flags.RA
        assert answers(await ask(server, "A.Web.Default.SVC.cluster.LOCAL.", tcp=True)) == ["127.64.0.2"]
        srv = await ask(server, "_http._tcp.web.default.svc.cluster.local.", "SRV")
        assert answers(srv) == ["0 100 8000 a.web.default.svc.cluster.local."]
        back = await ask(server, dns.reversename.from_address("127.64.0.2").to_text(), "PTR")
        assert answers(back) == ["a.web.default.svc.cluster.local."]
        none = await ask(server, "web.default.svc.cluster.local.", "AAAA")
        assert none.rcode() == dns.rcode.NOERROR and not none.answer and none.authority
        unknown = await ask(server, "nosuch.default.svc.cluster.local.")
        assert unknown.rcode() == dns.rcode.NXDOMAIN and unknown.authority


async def test_an_answer_that_is_too_long_for_a_datagram_comes_by_tcp() -> None:
    pods = [pod(f"p{n}", f"127.64.0.{n + 2}") for n in range(MANY)]
    async with serving(service(), *pods) as server:
        short = await ask(server, "web.default.svc.cluster.local.")
        assert short.flags & dns.flags.TC and not short.answer
        assert len(answers(await ask(server, "web.default.svc.cluster.local.", tcp=True))) == MANY


async def test_other_names_are_asked_of_the_machines_servers() -> None:
    # Another server stands in for the machine's: it knows a name that ours does not.
    async with serving(service("web", "far"), pod("a", "127.64.9.9", namespace="far")) as far:
        far._domain = "example.com"
        async with serving(upstream=[f"{HOST}#1", f"{HOST}#{far.port}"]) as near:
            for tcp in (False, True):
                assert answers(await ask(near, "web.far.svc.example.com.", tcp=tcp)) == ["127.64.9.9"]


@pytest.mark.parametrize("tcp", [False, True])
async def test_a_name_that_nobody_can_be_asked_for_fails(tcp: bool) -> None:
    async with serving(upstream=[f"{HOST}#1"]) as server:
        assert (await ask(server, "example.com.", tcp=tcp)).rcode() == dns.rcode.SERVFAIL


async def test_it_never_asks_itself() -> None:
    async with serving(upstream=[HOST]) as server:
        assert (await ask(server, "example.com.")).rcode() == dns.rcode.SERVFAIL


async def test_garbage_does_not_end_it() -> None:
    async with serving(service()) as server:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as talker:
            talker.connect((HOST, server.port))
            for data in (b"", b"x", bytes(12), b"\xff" * 40, b"ab\x01\x00" + bytes(8) + b"\xff"):
                talker.send(data)
        reader, writer = await asyncio.open_connection(HOST, server.port)
        writer.write(b"\x00\x03abc")
        async with asyncio.timeout(PATIENCE_S):
            assert await reader.read() == b""
        writer.close()
        assert (await ask(server, "web.default.svc.cluster.local.")).rcode() == dns.rcode.NOERROR


async def test_an_address_that_is_taken_is_tried_again() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((HOST, 0))
        server = NameServer(Objects(service()), HOST, port=other.getsockname()[1])
        task = asyncio.create_task(server.serve())
        await asyncio.sleep(0)
        assert not server.started.is_set()
    async with asyncio.timeout(PATIENCE_S):
        await server.started.wait()
    assert (await ask(server, "web.default.svc.cluster.local.")).rcode() == dns.rcode.NOERROR
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("nameserver 10.0.0.1\nnameserver 10.0.0.2\n", ["10.0.0.1", "10.0.0.2"]),
        ("# nothing\nsearch example.com\n", ["127.0.0.1"]),
        ("nameserver\n", ["127.0.0.1"]),
    ],
)
def test_the_machines_servers(text: str, servers: list[str]) -> None:
    assert name_servers(text) == servers

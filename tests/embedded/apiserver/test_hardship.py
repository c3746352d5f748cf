"""Full disks and clients that misbehave: what fails says why, and others do not suffer from it."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from embedded.apiserver.server_process import ServerProcess, request
from patience import PATIENCE_S

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path) as running:
        yield running


@pytest.fixture
async def session(server: ServerProcess) -> AsyncIterator[aiohttp.ClientSession]:
    async with server.session() as session:
        yield session


def config_map(name: str, size: int) -> dict[str, Any]:
    return {"metadata": {"name": name}, "data": {"padding": "x" * size}}


async def test_a_full_disk_is_said_and_passes(server: ServerProcess, session: aiohttp.ClientSession) -> None:
    log = server.data / "apiserver" / "store.db-wal"
    limits = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
    status, kept = await request(session, "POST", CONFIG_MAPS, config_map("kept", 10))
    assert status == 201
    # A file may not grow any more: the nearest thing to a full disk that needs no privileges.
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (log.stat().st_size + 50_000, limits[1]))
    stored = []
    for number in range(4):
        status, answer = await request(session, "POST", CONFIG_MAPS, config_map(f"big-{number}", 40_000))
        if status == 201:
            stored.append(f"big-{number}")
    assert (status, answer["reason"]) == (500, "InternalError")
    assert str(server.data) in answer["message"] and "\n" not in answer["message"]
    assert await request(session, "GET", f"{CONFIG_MAPS}/kept") == (200, kept)
    status, found = await request(session, "GET", CONFIG_MAPS)
    names = {item["metadata"]["name"] for item in found["items"]}
    assert status == 200 and names >= {"kept", *stored} and "big-3" not in names
    status, _ = await request(session, "GET", f"{CONFIG_MAPS}/big-3")
    assert status == 404
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, limits)
    status, after = await request(session, "POST", CONFIG_MAPS, config_map("big-3", 40_000))
    assert status == 201
    assert int(after["metadata"]["resourceVersion"]) > int(found["metadata"]["resourceVersion"])
    server.kill()
    await asyncio.to_thread(server.start)
    async with server.session() as fresh:
        assert await request(fresh, "GET", f"{CONFIG_MAPS}/big-3") == (200, after)


async def test_watchers_that_do_not_read_are_let_go(server: ServerProcess, session: aiohttp.ClientSession) -> None:
    """50 stalled watchers and 60 MB of events: writers do not notice, and memory stays what it is once all stall."""
    stalled = []
    for _ in range(50):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=server.tls(), limit=1)
        writer.write(
            f"GET {CONFIG_MAPS}?watch=true HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token}\r\n\r\n".encode()
        )
        stalled.append((reader, writer))
    await asyncio.sleep(0.3)
    await request(session, "POST", CONFIG_MAPS, config_map("busy", 1))
    loop = asyncio.get_running_loop()
    slowest_s = 0.0
    resident: list[int] = []
    for number in range(240):
        begun_s = loop.time()
        status, _ = await request(session, "PUT", f"{CONFIG_MAPS}/busy", config_map("busy", 250_000 + number))
        slowest_s = max(slowest_s, loop.time() - begun_s)
        assert status == 200
        resident.append(server.resident_bytes())
    assert slowest_s < PATIENCE_S
    # Each watcher has one write under way; what comes after it waits on the disk.
    assert max(resident) - resident[79] < 30 << 20
    for _, writer in stalled:
        writer.close()


async def test_slow_and_idle_clients_do_not_stall_others(server: ServerProcess, session: aiohttp.ClientSession) -> None:
    """200 requests that never end and 1,000 idle connections."""
    before = server.resident_bytes()
    half = f"POST {CONFIG_MAPS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token}\r\nContent-Length: 900\r\n"
    clients: list[asyncio.StreamWriter] = []

    async def connect(text: str) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=server.tls())
        writer.write(text.encode())
        clients.append(writer)

    texts = [half + "\r\n{"] * 100 + [half] * 100 + [""] * 1000
    for begin in range(0, len(texts), 100):
        await asyncio.gather(*map(connect, texts[begin : begin + 100]))
    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    for number in range(20):
        status, _ = await request(session, "POST", CONFIG_MAPS, config_map(f"c{number}", 10))
        assert status == 201
    assert loop.time() - begun_s < PATIENCE_S
    assert server.resident_bytes() - before < 150 << 20
    for writer in clients:
        writer.close()

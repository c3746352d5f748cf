"""Endpoints whose requests fail go out and come back when their readiness page says that they are well."""

import asyncio

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from fairlead.gateway import outliers
from fairlead.gateway.endpoints import Endpoint, Pool, Registry
from fairlead.gateway.load import LoadTable
from fairlead.gateway.scrape import Recovery
from patience import PATIENCE_S


@pytest.fixture
async def engine():
    state = {"status": 503, "asked": 0}

    async def answer(_):
        state["asked"] += 1
        return web.json_response({}, status=state["status"])

    app = web.Application()
    app.router.add_get("/health", answer)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    state["address"] = f"127.0.0.1:{server.port}"
    yield state
    await server.close()


def _gateway(*addresses):
    registry, loads = Registry(), LoadTable()
    recovery = Recovery(registry, loads)
    registry.set_pool(Pool("ns/p", ("m",), tuple(Endpoint(a) for a in addresses)))
    for address in addresses:
        loads.of(address)
    return registry, loads, recovery


async def _until(condition):
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - a server answers in between
            await asyncio.sleep(0.005)


async def test_out_probed_and_back(engine, monkeypatch):
    monkeypatch.setattr(outliers, "BASE_S", 0.01)
    monkeypatch.setattr(outliers, "MAX_S", 0.02)
    address = engine["address"]
    _, loads, recovery = _gateway(address, "127.0.0.1:1")
    for _ in range(outliers.FAILURES):
        assert loads.of(address).reachable
        recovery.ended(address, failed=True)
    assert not loads.of(address).reachable
    loads.scraped(address, loads.of(address).signals, 0.0, 0.0)
    assert not loads.of(address).reachable, "a metrics page is no reason to let it back"
    await _until(lambda: engine["asked"] >= 3)
    assert not loads.of(address).reachable
    engine["status"] = 200
    await _until(lambda: loads.of(address).reachable)
    recovery.ended(address, failed=True)
    assert not loads.of(address).reachable, "on probation one failure is enough"
    recovery.close()


async def test_a_new_process_starts_clean_and_one_that_is_gone_leaves_nothing(engine):
    address = engine["address"]
    registry, loads, recovery = _gateway(address, "127.0.0.1:1")
    for _ in range(outliers.FAILURES):
        recovery.ended(address, failed=True)
    recovery.forget(address)
    assert loads.of(address).reachable
    for _ in range(outliers.FAILURES):
        recovery.ended(address, failed=True)
    registry.remove_pool("ns/p")
    assert not recovery.outliers.is_suspect(address)
    assert not recovery._tasks
    recovery.ended(address, failed=True)
    assert not recovery.outliers.is_suspect(address)

"""The scraper's pace and what becomes of failures, against HTTP servers in the test's own loop."""

import asyncio

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from fairlead.gateway.endpoints import Endpoint, Pool, Registry
from fairlead.gateway.load import LoadTable
from fairlead.gateway.metrics import GatewayMetrics
from fairlead.gateway.scrape import BUSY_INTERVAL_S, Scraper


class Page:
    """A metrics page that counts its readers."""

    def __init__(self):
        self.reads = 0
        self.status = 200
        self.text = "vllm:num_requests_running 2\nvllm:num_requests_waiting 1\n"

    async def answer(self, _):
        self.reads += 1
        return web.Response(status=self.status, text=self.text)


@pytest.fixture
async def scraped():
    page, app = Page(), web.Application()
    app.router.add_get("/metrics", page.answer)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    registry, loads = Registry(), LoadTable()
    scraper = asyncio.create_task(Scraper(registry, loads, GatewayMetrics(registry, loads)).run())
    yield page, registry, loads, f"127.0.0.1:{server.port}"
    scraper.cancel()
    await asyncio.gather(scraper, return_exceptions=True)
    await server.close()


async def _until(condition):
    for _ in range(100):
        if condition():
            return
        await asyncio.sleep(0.05)
    raise TimeoutError


async def test_busy_endpoints_are_asked_often_and_idle_ones_ever_more_rarely(scraped):
    page, registry, loads, address = scraped
    registry.set_pool(Pool("ns/p", ("m",), (Endpoint(address),)))
    await asyncio.sleep(1.1)
    assert loads.of(address).others == 3
    assert 1 / BUSY_INTERVAL_S - 2 <= page.reads <= 1 / BUSY_INTERVAL_S + 2
    page.text = "vllm:num_requests_running 0\nvllm:num_requests_waiting 0\n"
    await asyncio.sleep(0.3)
    before = page.reads
    await asyncio.sleep(1.1)
    assert page.reads - before <= 3


async def test_an_endpoint_that_goes_and_comes_back_keeps_one_pace(scraped):
    page, registry, _, address = scraped
    for _ in range(20):
        registry.set_pool(Pool("ns/p", ("m",), (Endpoint(address),)))
        await asyncio.sleep(0.005)
        registry.set_pool(Pool("ns/p", ("m",), ()))
    registry.set_pool(Pool("ns/p", ("m",), (Endpoint(address),)))
    await asyncio.sleep(0.3)
    before = page.reads
    await asyncio.sleep(1.0)
    assert page.reads - before <= 1 / BUSY_INTERVAL_S + 2


async def test_failures_are_recorded_and_recovered_from(scraped):
    page, registry, loads, address = scraped
    page.status = 500
    registry.set_pool(Pool("ns/p", ("m",), (Endpoint(address), Endpoint("127.0.0.1:1"))))
    await _until(lambda: loads.of(address).scrape_error)
    assert "500" in loads.of(address).scrape_error
    assert loads.of(address).signals_at_s is None
    await _until(lambda: not loads.of("127.0.0.1:1").reachable)
    page.status = 200
    await _until(lambda: loads.of(address).others == 3)
    assert loads.of(address).scrape_error == ""
    registry.remove_pool("ns/p")
    assert loads.of(address).signals_at_s is None

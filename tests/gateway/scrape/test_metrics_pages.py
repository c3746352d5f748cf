"""Where the gateway looks for an endpoint's metrics, and what it makes of it when there are none."""

import asyncio

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from fairlead.engines import engine_for
from fairlead.gateway.endpoints import Endpoint, Pool, Registry
from fairlead.gateway.load import HUNG_AFTER_FAILURES, LoadTable
from fairlead.gateway.scrape import Scraper, metrics_url


@pytest.mark.parametrize(
    ("runtime", "url"),
    [
        ("vllm", "http://10.0.0.1:8000/metrics"),
        ("tensorrt-llm", "http://10.0.0.1:8000/prometheus/metrics"),
        ("triton", "http://10.0.0.1:8002/metrics"),
        ("jetstream", "http://10.0.0.1:9090/"),
    ],
)
def test_metrics_are_on_the_engines_port_or_one_of_their_own(runtime, url):
    assert metrics_url("10.0.0.1:8000", engine_for(runtime)) == url


def test_addresses_of_the_sixth_version():
    assert metrics_url("[fd00::1]:8000", engine_for("triton")) == "http://[fd00::1]:8002/metrics"


def test_an_engine_without_a_metrics_page_stays_reachable():
    loads = LoadTable()
    for _ in range(HUNG_AFTER_FAILURES + 1):
        loads.scrape_failed("a", "HTTP 404", refused=False, silent=False)
        loads.scrape_failed("b", "refused on the metrics port", refused=True, silent=False)
        loads.scrape_failed("c", "timeout", refused=False)
    assert [loads.of(address).reachable for address in "abc"] == [True, True, False]
    assert loads.of("a").scrape_error == "HTTP 404"
    assert loads.candidate("a", 0.0).others is None


async def test_404_and_a_closed_metrics_port_are_told_from_silence(unused_tcp_port_factory):
    app = web.Application()
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    registry, loads = Registry(), LoadTable()
    address, other = f"127.0.0.1:{server.port}", f"127.0.0.1:{unused_tcp_port_factory()}"
    registry.set_pool(Pool("ns/p", ("m",), (Endpoint(address),), "vllm"))
    registry.set_pool(Pool("ns/q", ("n",), (Endpoint(other),), "jetstream"))
    scraper = asyncio.create_task(Scraper(registry, loads).run())
    try:
        for _ in range(200):
            if loads.of(address).scrape_error and loads.of(other).scrape_error:
                break
            await asyncio.sleep(0.05)
    finally:
        scraper.cancel()
        await asyncio.gather(scraper, return_exceptions=True)
        await server.close()
    assert "404" in loads.of(address).scrape_error
    assert (loads.of(address).failed_scrapes, loads.of(other).failed_scrapes) == (0, 0)
    assert loads.of(address).reachable
    assert loads.of(other).reachable

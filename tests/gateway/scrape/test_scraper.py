"""The scraper against HTTP servers in the test's own loop: its paces, and what becomes of failures."""

import asyncio
import contextlib

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from fairlead.gateway.endpoints import Endpoint, Pool, Registry
from fairlead.gateway.load import STALE_AFTER_S, LoadTable
from fairlead.gateway.scrape import BUSY_INTERVAL_S, QUIET_INTERVAL_S, Scraper, pace, scraper
from patience import PATIENCE_S


class Page:
    """A metrics page that counts its readers."""

    def __init__(self):
        self.reads = 0
        self.status = 200
        self.kind = "text/plain"
        self.text = "vllm:num_requests_running 2\nvllm:num_requests_waiting 1\n"
        self.hold = None

    def says(self, running, **counters):
        lines = [f"vllm:num_requests_running {running}", "vllm:num_requests_waiting 0"]
        self.text = "\n".join([*lines, *(f"{name} {value}" for name, value in counters.items()), ""])

    async def answer(self, _):
        self.reads += 1
        if self.hold is not None:
            await self.hold.wait()
        return web.Response(status=self.status, text=self.text, content_type=self.kind)


class Bench:
    """Pages behind ports, a registry, and a scraper that runs."""

    def __init__(self):
        self.registry, self.loads = Registry(), LoadTable()
        self.outcomes = []
        self.scraper = Scraper(self.registry, self.loads, self.outcomes.append)
        self.restarted = []
        self.scraper.on_restarted.append(self.restarted.append)
        self.stack = contextlib.AsyncExitStack()

    async def page(self):
        page, app = Page(), web.Application()
        app.router.add_get("/metrics", page.answer)
        server = TestServer(app, host="127.0.0.1")
        await server.start_server()
        self.stack.push_async_callback(server.close)
        return page, f"127.0.0.1:{server.port}"

    def pool(self, *addresses, key="ns/p", **options):
        self.registry.set_pool(Pool(key, (key,), tuple(Endpoint(a, **options) for a in addresses)))

    def interval_s(self, address):
        return self.scraper._watched[address].interval_s

    async def until(self, condition):
        async with asyncio.timeout(PATIENCE_S):
            while not condition():  # noqa: ASYNC110 - conditions change in callbacks of several parties
                await asyncio.sleep(0.005)


@pytest.fixture
async def bench():
    one = Bench()
    task = asyncio.create_task(one.scraper.run())
    await asyncio.sleep(0)
    yield one
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await one.stack.aclose()


@pytest.fixture
def quick(monkeypatch):
    """Paces so short that a test need not wait for them, and idle endpoints that nothing but a request wakes."""
    monkeypatch.setattr(pace, "QUIET_INTERVAL_S", 0.01)
    monkeypatch.setattr(pace, "BUSY_INTERVAL_S", 0.01)
    monkeypatch.setattr(pace, "DOWN_INTERVAL_S", 0.01)
    monkeypatch.setattr(pace, "IDLE_INTERVAL_S", 600.0)
    monkeypatch.setattr(scraper, "QUIET_INTERVAL_S", 0.01)


async def test_a_loaded_endpoint_a_quiet_one_and_an_idle_one_have_their_paces(bench):
    page, address = await bench.page()
    bench.pool(address)
    await bench.until(lambda: page.reads >= 1 and bench.loads.of(address).others == 3)
    assert bench.interval_s(address) == BUSY_INTERVAL_S  # requests wait in its queue
    page.says(1)
    await bench.until(lambda: bench.loads.of(address).others == 1)
    assert bench.interval_s(address) == QUIET_INTERVAL_S
    page.says(0)
    await bench.until(lambda: bench.interval_s(address) == 2 * QUIET_INTERVAL_S)
    reads = page.reads
    await bench.until(lambda: page.reads > reads)
    await bench.until(lambda: bench.interval_s(address) == 4 * QUIET_INTERVAL_S)
    assert bench.loads.of(address).stale_after_s >= STALE_AFTER_S


async def test_the_first_request_wakes_all_endpoints_of_the_pool(bench, quick):
    (one, a), (two, b), (other, c) = [await bench.page() for _ in range(3)]
    for page in (one, two, other):
        page.says(0)
    bench.pool(a, b)
    bench.pool(c, key="ns/q")
    await bench.until(lambda: min(map(bench.interval_s, (a, b, c))) > 5)
    assert bench.loads.of(a).stale_after_s > 10
    reads = one.reads, two.reads, other.reads
    bench.loads.picked(a, asyncio.get_running_loop().time())
    bench.scraper.picked(a)
    assert bench.loads.of(a).stale_after_s == STALE_AFTER_S
    await bench.until(lambda: one.reads > reads[0] + 3 and two.reads > reads[1] + 3)
    assert other.reads == reads[2]


async def test_a_wake_while_a_question_is_under_way_is_not_lost(bench, quick):
    page, address = await bench.page()
    page.says(0)
    bench.pool(address)
    await bench.until(lambda: bench.interval_s(address) > 5)
    page.hold = asyncio.Event()
    reads = page.reads
    bench.scraper.picked(address)
    await bench.until(lambda: page.reads == reads + 1)
    bench.scraper._idle.add(address)
    bench.scraper.picked(address)
    page.hold.set()
    await bench.until(lambda: page.reads >= reads + 2)


async def test_an_endpoint_that_goes_and_comes_back_keeps_one_pace(bench):
    page, address = await bench.page()
    for _ in range(20):
        bench.pool(address)
        await asyncio.sleep(0.002)
        bench.pool()
    bench.pool(address)
    await bench.until(lambda: bench.loads.of(address).others == 3)
    live = [w for _, entry, w in bench.scraper._due if w.entry == entry]
    assert len(live) <= 1
    assert page.reads <= 22


async def test_failures_are_recorded_and_recovered_from(bench, quick):
    page, address = await bench.page()
    page.status = 500
    bench.pool(address, "127.0.0.1:1")
    await bench.until(lambda: bench.loads.of(address).scrape_error)
    assert "500" in bench.loads.of(address).scrape_error
    assert bench.loads.of(address).signals_at_s is None
    await bench.until(lambda: not bench.loads.of("127.0.0.1:1").reachable)
    page.status = 200
    await bench.until(lambda: bench.loads.of(address).others == 3)
    assert bench.loads.of(address).scrape_error == ""
    assert set(bench.outcomes) == {"ok", "failed", "refused"}
    bench.registry.remove_pool("ns/p")
    assert bench.loads.of(address).signals_at_s is None


async def test_a_page_of_another_kind_is_unknown_and_not_a_hung_engine(bench, quick):
    page, address = await bench.page()
    page.kind = "text/html"
    bench.pool(address)
    await bench.until(lambda: page.reads > 5)
    load = bench.loads.of(address)
    assert "text/html" in load.scrape_error
    assert load.candidate.waiting is None


async def test_connections_are_kept_and_their_end_by_the_engine_is_no_failure(bench, quick):
    connections, requests = 0, 0

    async def serve(reader, writer):
        nonlocal connections, requests
        connections += 1
        for _ in range(3):
            await reader.readuntil(b"\r\n\r\n")
            requests += 1
            body = b"vllm:num_requests_running 9\nvllm:num_requests_waiting 0\n"
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        with contextlib.suppress(asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")  # and hangs up without an answer
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    bench.pool(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
    await bench.until(lambda: len(bench.outcomes) >= 12)
    server.close()
    assert set(bench.outcomes[:12]) == {"ok"}
    assert 3 <= connections <= 6


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"process_start_time_seconds": 1000.5}, {"process_start_time_seconds": 2000.5}),
        ({"vllm:prompt_tokens_total": 700}, {"vllm:prompt_tokens_total": 3}),
    ],
)
async def test_a_new_process_at_the_address_is_told(bench, quick, before, after):
    page, address = await bench.page()
    page.says(1, **before)
    bench.pool(address)
    await bench.until(lambda: page.reads > 3)
    assert bench.restarted == []
    page.says(1, **after)
    await bench.until(lambda: bench.restarted)
    reads = page.reads
    await bench.until(lambda: page.reads > reads + 3)
    assert bench.restarted == [address]


async def test_another_pod_at_the_same_address_is_told(bench):
    _, address = await bench.page()
    bench.pool(address, pod="ns/a")
    bench.pool(address, pod="ns/a", role="decode")
    assert bench.restarted == []
    assert bench.loads.of(address).candidate.role == "decode"
    bench.pool(address, pod="ns/b")
    assert bench.restarted == [address]


async def test_engines_that_hang_do_not_hold_up_the_others(bench, quick, monkeypatch):
    monkeypatch.setattr(scraper, "MAX_CONCURRENT", 4)
    monkeypatch.setattr(scraper, "TIMEOUT_S", 0.05)
    page, address = await bench.page()
    hung = []
    for _ in range(12):
        silent, where = await bench.page()
        silent.hold = asyncio.Event()
        hung.append((silent, where))
    bench.pool(*(where for _, where in hung))
    await bench.until(lambda: all(bench.scraper._watched[where].failures for _, where in hung))
    bench.pool(address, key="ns/well")
    reads = sum(silent.reads for silent, _ in hung)
    await bench.until(lambda: page.reads >= 20)
    assert sum(silent.reads for silent, _ in hung) - reads < 200
    for silent, _ in hung:
        silent.hold.set()


async def test_pools_that_share_a_pod_ask_it_once_and_keep_it_until_both_are_gone(bench):
    page, address = await bench.page()
    bench.pool(address)
    bench.pool(address, key="ns/q")
    await bench.until(lambda: bench.loads.of(address).others == 3)
    assert len(bench.scraper._watched) == 1
    bench.registry.remove_pool("ns/p")
    assert bench.loads.of(address).others == 3
    bench.registry.remove_pool("ns/q")
    assert not bench.scraper._watched
    assert page.reads

"""What idle endpoints cost the picker: 100 pools of 10 endpoints that nobody asks for anything.

Engines are a separate process that answers on 1,000 loopback addresses with a page recorded from vLLM 0.32 and closes
connections after 5 idle seconds, as vLLM's server does. Measured is the CPU time of the picker's registry, load table
and scraper in one process, after the endpoints have settled; beside it the same done by a general HTTP client that
asks each endpoint every 4 s and reads the whole page. What an event loop costs that has nothing to do is part of both.

    .venv/bin/python benchmarks/gateway_idle.py [--seconds 40] [--json]
"""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
import statistics
import time
from pathlib import Path
from typing import cast

from harness.report import Figure, arguments, report

POOLS, ENDPOINTS = 100, 10
PAGE = Path(__file__).parent.parent / "tests" / "data" / "engines" / "vllm-0.32-metrics.txt"
GENERAL_INTERVAL_S = 4.0
SETTLE_S = 35.0
"""Until the paces of all endpoints have reached the idle one."""


def _addresses(port: int) -> list[str]:
    return [f"127.1.{n // 250}.{n % 250 + 1}:{port}" for n in range(POOLS * ENDPOINTS)]


class _Engine(asyncio.Protocol):
    """Answers anything with the page; an idle connection is closed after five seconds."""

    answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._timer = asyncio.get_running_loop().call_later(5, self._transport.close)

    def data_received(self, data: bytes) -> None:
        self._timer.cancel()
        self._transport.write(self.answer)
        if b"Connection: close" in data:
            self._transport.close()
            return
        self._timer = asyncio.get_running_loop().call_later(5, self._transport.close)

    def connection_lost(self, error: Exception | None) -> None:
        self._timer.cancel()


def _page() -> bytes:
    lines = PAGE.read_text().splitlines(keepends=True)
    counts = ("vllm:num_requests_running", "vllm:num_requests_waiting")
    return "".join([f"{x.rpartition(' ')[0]} 0.0\n" if x.startswith(counts) else x for x in lines]).encode()


def _serve_engines(answer: multiprocessing.Queue[int]) -> None:
    import uvloop

    page = _page()
    head = "HTTP/1.1 200 OK\r\nserver: uvicorn\r\ncontent-type: text/plain; version=1.0.0; charset=utf-8\r\n"
    _Engine.answer = f"{head}content-length: {len(page)}\r\n\r\n".encode() + page

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        port = 0
        servers = []
        for address in _addresses(0):
            servers.append(await loop.create_server(_Engine, address.rpartition(":")[0], port))
            port = servers[0].sockets[0].getsockname()[1]
        answer.put(port)
        await asyncio.Event().wait()

    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    uvloop.run(serve())


async def _new(port: int) -> None:
    from fairlead.gateway.endpoints import Endpoint, Pool, Registry
    from fairlead.gateway.load import LoadTable
    from fairlead.gateway.scrape import Scraper

    registry, loads = Registry(), LoadTable()
    addresses = _addresses(port)
    for n in range(POOLS):
        mine = tuple(Endpoint(a) for a in addresses[n * ENDPOINTS : (n + 1) * ENDPOINTS])
        registry.set_pool(Pool(f"ns/pool-{n}", (f"model-{n}",), mine))
    await Scraper(registry, loads).run()


async def _general(port: int) -> None:
    """As a general client does it: each endpoint every 4 s, whole pages."""
    import aiohttp

    from fairlead.engines import engine_for

    engine = engine_for("vllm")

    async def follow(session: aiohttp.ClientSession, address: str, after_s: float) -> None:
        await asyncio.sleep(after_s)
        while True:
            async with session.get(f"http://{address}/metrics") as response:
                engine.signals(await response.read())
            await asyncio.sleep(GENERAL_INTERVAL_S)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64, keepalive_timeout=30)) as session:
        addresses = _addresses(port)
        share_s = GENERAL_INTERVAL_S / len(addresses)
        await asyncio.gather(*(follow(session, a, n * share_s) for n, a in enumerate(addresses)))


def _measure(way: str, port: int, settle_s: float, seconds: float, answer: multiprocessing.Queue[list[float]]) -> None:
    import uvloop

    def cpu_s() -> float:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime

    async def main() -> None:
        work = asyncio.create_task({"new": _new, "general": _general}[way](port))
        await asyncio.sleep(settle_s)
        shares = []
        for _ in range(4):
            began, cpu = time.monotonic(), cpu_s()
            await asyncio.sleep(seconds / 4)
            shares.append((cpu_s() - cpu) / (time.monotonic() - began))
        answer.put(shares)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)

    uvloop.run(main())


def _share(way: str, port: int, settle_s: float, seconds: float) -> float:
    answer: multiprocessing.Queue[list[float]] = multiprocessing.Queue()
    process = multiprocessing.Process(target=_measure, args=(way, port, settle_s, seconds, answer))
    process.start()
    shares = answer.get(timeout=settle_s + seconds + 30)
    process.join(30)
    return 100 * statistics.median(shares)


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--seconds", type=float, default=40, help="how long each way is measured, in four parts")
    options = parser.parse_args()
    multiprocessing.set_start_method("spawn")
    ports: multiprocessing.Queue[int] = multiprocessing.Queue()
    engines = multiprocessing.Process(target=_serve_engines, args=(ports,), daemon=True)
    engines.start()
    port = ports.get(timeout=60)
    try:
        new = _share("new", port, SETTLE_S, options.seconds)
        general = _share("general", port, 2 * GENERAL_INTERVAL_S, options.seconds)
    finally:
        engines.terminate()
        engines.join(10)
    endpoints = POOLS * ENDPOINTS
    report(
        [
            Figure(f"picker with {endpoints} idle endpoints", new, "% core", 5.0),
            Figure("a general client at 4 s, whole pages", general, "% core"),
            Figure("times less", general / new, "", 5.0, "higher"),
        ],
        options.json,
        f"{POOLS} pools of {ENDPOINTS}; page of {len(_page()) / 1000:.0f} kB",
    )


if __name__ == "__main__":
    main()

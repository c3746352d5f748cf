"""What it costs to ask engines what they have in flight: 1,000 services of eight replicas that nobody uses, and eight
replicas among them that leave.

Engines are a process of their own that answers on a thousand loopback addresses with a page recorded from vLLM 0.32.
Measured is the CPU time of the watch in one process, once all engines are followed and none leaves; then how long it
takes from the order to leave until the watch says that the engine is idle.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import cast

from fairlead.engines import engine_for
from fairlead.kube.resources import ObjectKey
from fairlead.serving.drain import EngineWatch, Target
from harness.report import Figure, arguments, report

SERVICES, REPLICAS, ADDRESSES = 1000, 8, 1000
PAGE = Path(__file__).parent.parent / "tests" / "data" / "engines" / "vllm-0.32-metrics.txt"
SETTLE_S = 1.0


class _Engine(asyncio.Protocol):
    """Answers anything with the page."""

    answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(self.answer)
        if b"Connection: close" in data:
            self._transport.close()


def _idle_page() -> bytes:
    counts = ("vllm:num_requests_running", "vllm:num_requests_waiting")
    lines = PAGE.read_text().splitlines(keepends=True)
    return "".join([f"{x.rpartition(' ')[0]} 0.0\n" if x.startswith(counts) else x for x in lines]).encode()


def _host(number: int) -> str:
    return f"127.2.{number // 250}.{number % 250 + 1}"


def _serve(answer: multiprocessing.Queue[int]) -> None:
    import uvloop

    page = _idle_page()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n" % len(page)
    _Engine.answer = head + page

    async def serve() -> None:
        loop, port, servers = asyncio.get_running_loop(), 0, []
        for number in range(ADDRESSES):
            servers.append(await loop.create_server(_Engine, _host(number), port))
            port = servers[0].sockets[0].getsockname()[1]
        answer.put(port)
        await asyncio.Event().wait()

    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    uvloop.run(serve())


async def measure(port: int, seconds: float) -> list[Figure]:
    told: dict[ObjectKey, float] = {}
    heard = asyncio.Event()

    def hear(key: ObjectKey) -> None:
        told.setdefault(key, time.monotonic())
        heard.set()

    watch = EngineWatch(hear)
    vllm = engine_for("vllm")
    targets = {
        ObjectKey("default", f"s{s}"): {
            f"u{s}-{r}": Target(_host((s * REPLICAS + r) % ADDRESSES), port, vllm) for r in range(REPLICAS)
        }
        for s in range(SERVICES)
    }
    running = asyncio.create_task(watch.run())
    for key, of_service in targets.items():
        watch.follow(key, of_service)
    await asyncio.sleep(3.0)
    looks, cpu_s, began_s = watch.looks, time.process_time(), time.monotonic()
    await asyncio.sleep(seconds)
    elapsed_s = time.monotonic() - began_s
    share, rate = (time.process_time() - cpu_s) / elapsed_s, (watch.looks - looks) / elapsed_s
    waits = []
    for key, of_service in list(targets.items())[:REPLICAS]:
        uid, target = next(iter(of_service.items()))
        ordered_s = time.monotonic()
        watch.follow(key, {**of_service, uid: replace(target, settled_s=time.time() + SETTLE_S)})
        while key not in told:
            heard.clear()
            await heard.wait()
        waits.append(told[key] - ordered_s - SETTLE_S)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return [
        Figure(f"CPU of the watch, {SERVICES * REPLICAS:,} idle engines", share * 100, "% of a core", 2.0),
        Figure("  … looks", rate, "1/s", 13.0),
        Figure(
            "an idle engine that leaves is known to be idle, after it is settled, median",
            statistics.median(waits),
            "s",
            0.6,
        ),
        Figure("  … the slowest", max(waits), "s"),
    ]


def main() -> None:
    import uvloop

    parser = arguments(__doc__ or "")
    parser.add_argument("--seconds", type=float, default=20.0)
    given = parser.parse_args()
    answer: multiprocessing.Queue[int] = multiprocessing.Queue()
    engines = multiprocessing.Process(target=_serve, args=(answer,), daemon=True)
    engines.start()
    try:
        figures = uvloop.run(measure(answer.get(timeout=60), given.seconds))
    finally:
        engines.kill()
        engines.join()
    report(figures, given.json)


if __name__ == "__main__":
    main()

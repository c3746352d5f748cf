"""What it costs the coordinator to look at engines' pages during a run.

Pages are vLLM's, of 60 kB as a real one has, served by another process whose counters move; each is looked at once a
second, as `fairlead bench --server` does. Figures are of the looking process alone: CPU over its wall time, what is
left for the last look and the summary, and memory. Nothing is sent to the engines meanwhile; workers, which send, are
other processes.
"""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import uvloop

from engines_metrics import padded
from fairlead.bench.config.read import read_config
from fairlead.bench.server_side.observer import ServerObserver
from fairlead.bench.summary import ClientHealth, Metrics, RunSummary, StageSummary, Verdict
from fairlead.clock import SYSTEM
from harness.report import Figure, arguments, report

PAGE = Path(__file__).parents[1] / "tests" / "data" / "engines" / "vllm-0.32-metrics.txt"


def main() -> None:
    if "--serve" in sys.argv:
        uvloop.run(serve(int(sys.argv[-1])))
        return
    parser = arguments(__doc__ or "")
    parser.add_argument("--engines", type=int, default=64, help="pages to look at")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long")
    parser.add_argument("--every", type=float, default=1.0, help="seconds between looks at one page")
    options = parser.parse_args()
    server = subprocess.Popen([sys.executable, __file__, "--serve", str(options.engines)], stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        ports = [int(port) for port in server.stdout.readline().split()]
        figures = uvloop.run(look(ports, options.seconds, options.every))
    finally:
        server.kill()
        server.wait()
    report(figures, options.json, notes=f"{options.engines} engines, a look each {options.every:g} s.")


async def look(ports: list[int], seconds: float, every_s: float) -> list[Figure]:
    """The observer as a run has it, with nothing else in the process."""
    config = read_config(
        {
            "targets": [{"url": "http://127.0.0.1:1", "model": "m"}],
            "load": {"stages": [{"rate_per_s": 1, "seconds": 1}]},
            "server": {"engines": [f"127.0.0.1:{port}" for port in ports], "every_s": every_s},
        }
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    observer = ServerObserver(config, lambda: [0.0, seconds])
    began_s = time.perf_counter()
    await observer.prepare()
    prepared_s = time.perf_counter() - began_s
    origin_s = SYSTEM.monotonic_s()
    observer.begin(origin_s)
    busy_s, began_s = time.process_time(), time.perf_counter()
    await asyncio.sleep(seconds)
    share = (time.process_time() - busy_s) / (time.perf_counter() - began_s)
    busy_s, began_s = time.process_time(), time.perf_counter()
    seen = await observer.end()
    ended_s, end_busy_s = time.perf_counter() - began_s, time.process_time() - busy_s
    health = ClientHealth(0.0, 0.0, 0.0, 0.0, 0.0)
    stage = StageSummary(
        0, "", "rate", 1.0, 1.0, 0.0, seconds, Metrics(1, 1, {}, seconds, 1.0, 1.0, 1.0), health, Verdict(True)
    )
    run = RunSummary("", "", "", seconds, "complete", "", {}, {}, (stage,), server=seen.series)
    assert seen.complete is not None
    busy_s = time.process_time()
    summary = seen.complete(run)
    figured_s = time.process_time() - busy_s
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert summary.server_side is not None and summary.server_side.stages[0].engines is not None
    looks = sum(len(s.times_s) for s in seen.series if s.name == "running_requests" and s.source != "all engines")
    expected = len(ports) * seconds / every_s
    return [
        Figure("CPU of looking, of a core", 100 * share, "%", goal=5.0),
        Figure("  of one look", 1e6 * share * every_s / len(ports), "us"),
        Figure("looks made, of those due", 100 * looks / expected, "%"),
        Figure("first looks", prepared_s, "s"),
        Figure("last looks, and all series", ended_s, "s"),
        Figure("  CPU of it", end_busy_s, "s"),
        Figure("figures of a stage, CPU", figured_s, "s"),
        Figure("memory more at the end", (after - before) / 1024, "MiB"),
        Figure("signals over time in the summary", len(msgspec.json.encode(seen.series)) / 1e6, "MB"),
        Figure("notes", float(len(seen.notes)), ""),
    ]


async def serve(count: int) -> None:
    """Each on a port of its own; the token counter moves with the clock."""
    page = padded(PAGE.read_bytes())
    name = b"\nvllm:generation_tokens_total{"
    at = page.index(name)
    space = page.index(b" ", at)
    end = page.index(b"\n", space)
    began_s = time.monotonic()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                tokens = int(1e6 + 1000 * (time.monotonic() - began_s))
                body = page[: space + 1] + str(tokens).encode() + page[end:]
                head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"
                writer.write(head.encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    servers = [await asyncio.start_server(answer, "127.0.0.1", 0) for _ in range(count)]
    print(*(server.sockets[0].getsockname()[1] for server in servers), flush=True)
    parent = os.getppid()
    while os.getppid() == parent:  # noqa: ASYNC110 (nobody tells of a parent that was killed)
        await asyncio.sleep(1.0)


if __name__ == "__main__":
    main()

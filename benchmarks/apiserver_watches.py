"""Whether 50 watchers keep up with 500 events a second, and how late events arrive.

Watchers live in a process of their own, so that reading their streams does not slow the writers down; the monotonic
clock is the machine's, so times of both processes compare.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import statistics
import time
from multiprocessing.connection import Connection as Pipe

import uvloop

from harness.apiserver import Connection, Target, pod, prepare, server
from harness.report import Figure, arguments, report

WATCHERS = 50
EVENTS_PER_S = 500
SECONDS = 10.0
WRITERS = 8
DRAIN_S = 10.0
_MARKER = b'"bench-marker":"'


class Watcher:
    """Notes when each event arrives, by the marker that its writer put into a label."""

    def __init__(self, target: Target) -> None:
        self._connection = Connection(target, target.context())
        # marker -> time of arrival
        self.arrivals: dict[int, float] = {}

    async def open(self) -> None:
        await self._connection.open()
        self._connection.send("GET", "/api/v1/namespaces/default/pods?watch=true")
        status, _ = await self._connection.head()
        if status != 200:
            raise RuntimeError(f"watch: {status}")

    async def follow(self, count: int) -> None:
        while len(self.arrivals) < count:
            chunk = await self._connection.chunk()
            arrived_s, at = time.monotonic(), chunk.find(_MARKER)
            while at >= 0:
                at += len(_MARKER)
                self.arrivals[int(chunk[at : chunk.index(b'"', at)])] = arrived_s
                at = chunk.find(_MARKER, at)


async def watch(target: Target, watchers: int, count: int, timeout_s: float, pipe: Pipe) -> None:
    """Follow `count` events with each watcher; sends "ready", then what arrived when."""
    watching = [Watcher(target) for _ in range(watchers)]
    for watcher in watching:
        await watcher.open()
    pipe.send("ready")
    tasks = [asyncio.create_task(watcher.follow(count)) for watcher in watching]
    await asyncio.wait(tasks, timeout=timeout_s)
    for task in tasks:
        task.cancel()
    pipe.send([watcher.arrivals for watcher in watching])


def _watch_process(target: Target, watchers: int, count: int, timeout_s: float, pipe: Pipe) -> None:
    uvloop.run(watch(target, watchers, count, timeout_s, pipe))


async def write(target: Target, rate: float, count: int) -> dict[int, float]:
    """Create `count` pods at `rate`; returns marker -> time of acknowledgement."""
    acknowledged: dict[int, float] = {}
    numbers = iter(range(count))
    begin_s = time.monotonic()

    async def writer() -> None:
        connection = Connection(target, target.context())
        await connection.open()
        for number in numbers:
            await asyncio.sleep(max(0.0, begin_s + number / rate - time.monotonic()))
            obj = pod(f"pod-{number:06d}")
            obj["metadata"]["labels"]["bench-marker"] = str(number)
            body = json.dumps(obj).encode()
            status, _ = await connection.request("POST", "/api/v1/namespaces/default/pods", body)
            if status != 201:
                raise RuntimeError(f"create: {status}")
            acknowledged[number] = time.monotonic()
        connection.close()

    await asyncio.gather(*(writer() for _ in range(WRITERS)))
    return acknowledged


def measure(target: Target, watchers: int, rate: float, seconds: float) -> dict[str, float]:
    uvloop.run(prepare(target))
    count = int(rate * seconds)
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    timeout_s = 2 * seconds + DRAIN_S
    process = spawn.Process(target=_watch_process, args=(target, watchers, count, timeout_s, theirs))
    process.start()
    assert ours.recv() == "ready"
    begin_s = time.monotonic()
    acknowledged = uvloop.run(write(target, rate, count))
    written_s = time.monotonic()
    arrivals: list[dict[int, float]] = ours.recv()
    process.join()
    delays = sorted((arrived_s - acknowledged[n]) * 1000 for each in arrivals for n, arrived_s in each.items())
    last_s = max(arrived_s for each in arrivals for arrived_s in each.values())
    return {
        "rate": count / (written_s - begin_s),
        "missing": float(sum(count - len(each) for each in arrivals)),
        "median": statistics.median(delays),
        "p99": delays[int(len(delays) * 0.99)],
        "drained": max(0.0, last_s - written_s) * 1000,
    }


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--watchers", type=int, default=WATCHERS)
    parser.add_argument("--rate", type=float, default=EVENTS_PER_S)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    options = parser.parse_args()
    with server() as target:
        found = measure(target, options.watchers, options.rate, options.seconds)
    report(
        [
            Figure("events written", found["rate"], "1/s", goal=options.rate * 0.98, better="higher"),
            Figure(f"events missing at {options.watchers} watchers", found["missing"], "events", goal=0),
            Figure("event after its acknowledgement, median", found["median"], "ms"),
            Figure("event after its acknowledgement, p99", found["p99"], "ms", goal=250),
            Figure("last event after the last write", found["drained"], "ms", goal=500),
        ],
        options.json,
    )


if __name__ == "__main__":
    main()

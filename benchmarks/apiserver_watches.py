"""Whether 50 watchers keep up with 500 events a second, and how late events arrive."""

from __future__ import annotations

import asyncio
import json
import statistics
import time

import uvloop

from _apiserver import Connection, Target, pod, prepare, server
from _report import Figure, arguments, report

WATCHERS = 50
EVENTS_PER_S = 500
SECONDS = 10.0
WRITERS = 8


class Watcher:
    """Notes when each event arrives, by the marker that its writer put into it."""

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

    async def follow(self) -> None:
        now = time.perf_counter
        begin, end = b'"bench-marker":"', b'"'
        while True:
            chunk = await self._connection.chunk()
            arrived_s, at = now(), chunk.find(begin)
            while at >= 0:
                at += len(begin)
                self.arrivals[int(chunk[at : chunk.index(end, at)])] = arrived_s
                # The marker stands once in the labels and not in the managed fields, which hold names only.
                at = chunk.find(begin, at)


async def measure(target: Target, watchers: int, rate: float, seconds: float) -> dict[str, float]:
    await prepare(target)
    now_s = time.perf_counter
    watching = [Watcher(target) for _ in range(watchers)]
    for watcher in watching:
        await watcher.open()
    tasks = [asyncio.create_task(watcher.follow()) for watcher in watching]
    count = int(rate * seconds)
    # marker -> time when the write was acknowledged
    acknowledged: dict[int, float] = {}
    numbers = iter(range(count))
    begin_s = now_s()

    async def write() -> None:
        connection = Connection(target, target.context())
        await connection.open()
        for number in numbers:
            await asyncio.sleep(max(0.0, begin_s + number / rate - now_s()))
            obj = pod(f"pod-{number:06d}")
            obj["metadata"]["labels"]["bench-marker"] = str(number)
            body = json.dumps(obj).encode()
            status, _ = await connection.request("POST", "/api/v1/namespaces/default/pods", body)
            if status != 201:
                raise RuntimeError(f"create: {status}")
            acknowledged[number] = now_s()
        connection.close()

    await asyncio.gather(*(write() for _ in range(WRITERS)))
    written_s = now_s() - begin_s
    deadline_s = now_s() + 10
    while now_s() < deadline_s and any(len(w.arrivals) < count for w in watching):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    drained_s = now_s() - begin_s - written_s
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    delays = sorted(
        (arrived_s - acknowledged[number]) * 1000
        for watcher in watching
        for number, arrived_s in watcher.arrivals.items()
    )
    return {
        "rate": count / written_s,
        "missing": float(sum(count - len(watcher.arrivals) for watcher in watching)),
        "median": statistics.median(delays),
        "p99": delays[int(len(delays) * 0.99)],
        "drained": drained_s * 1000,
    }


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--watchers", type=int, default=WATCHERS)
    parser.add_argument("--rate", type=float, default=EVENTS_PER_S)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    options = parser.parse_args()
    with server() as target:
        found = uvloop.run(measure(target, options.watchers, options.rate, options.seconds))
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

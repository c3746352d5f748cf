"""How long a list of 5,000 pods (16 MB) takes, from request to last byte."""

from __future__ import annotations

import statistics
import time

import uvloop

from harness.apiserver import Connection, Target, create_pods, prepare, server
from harness.report import Figure, arguments, report

PODS = 5_000
REPEATS = 15


async def measure(target: Target, pods: int) -> tuple[list[float], int]:
    """Milliseconds of each whole list, and its bytes."""
    await prepare(target)
    await create_pods(target, 0, pods, 16)
    connection = Connection(target, target.context())
    await connection.open()
    now_s = time.perf_counter
    times = []
    for _ in range(REPEATS):
        begin_s = now_s()
        status, body = await connection.request("GET", "/api/v1/pods")
        times.append((now_s() - begin_s) * 1000)
        if status != 200:
            raise RuntimeError(f"list: {status}")
    connection.close()
    return times, len(body)


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--pods", type=int, default=PODS)
    options = parser.parse_args()
    with server() as target:
        times, size = uvloop.run(measure(target, options.pods))
    report(
        [
            Figure(f"list of {options.pods} pods", statistics.median(times), "ms", goal=200),
            Figure("slowest of 15", max(times), "ms"),
            Figure("size of the list", size / 1e6, "MB"),
        ],
        options.json,
    )


if __name__ == "__main__":
    main()

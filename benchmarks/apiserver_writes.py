"""Acknowledged pod creates per second with 16 clients and fsync, and the server's memory with 10,000 pods."""

from __future__ import annotations

import statistics

import uvloop

from harness.apiserver import Connection, Target, create_pods, prepare, resident_mib, server
from harness.report import Figure, arguments, report

CLIENTS = 16
ROUND_PODS = 1000


async def measure(target: Target, pods: int) -> tuple[list[float], float, float]:
    """Creates per second of each round, stored bytes of a pod, and resident MiB at the end."""
    await prepare(target)
    await create_pods(target, 0, 200, CLIENTS)
    rates, made = [], 200
    while made < pods:
        count = min(ROUND_PODS, pods - made)
        rates.append(count / await create_pods(target, made, count, CLIENTS))
        made += count
    connection = Connection(target, target.context())
    await connection.open()
    _, body = await connection.request("GET", "/api/v1/namespaces/default/pods/pod-000000")
    connection.close()
    return rates, len(body), resident_mib(target.pid)


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--pods", type=int, default=10_000)
    options = parser.parse_args()
    with server() as target:
        rates, size, resident = uvloop.run(measure(target, options.pods))
    report(
        [
            Figure("pod creates, 16 clients, fsync", statistics.median(rates), "1/s", goal=800, better="higher"),
            Figure("slowest round of 1,000", min(rates), "1/s", better="higher"),
            Figure("stored size of a pod", size, "bytes"),
            Figure(f"resident with {options.pods} pods", resident, "MiB", goal=150),
        ],
        options.json,
    )


if __name__ == "__main__":
    main()

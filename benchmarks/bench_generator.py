"""The load generator against its own null server: its yardsticks, with the server as witness.

64 tokens in, 16 out, streamed, with all bookkeeping. The highest valid rate is found as `fairlead bench check` finds
it; the rest is measured at 100/s, at 80 % of that rate, and over many requests for the memory of all processes. Two
workers are compared with one where there are cores for them and for two null servers.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

import uvloop

from bench_rivals import Asked, fairlead
from fairlead.bench.check.limits import Limits, Trial
from fairlead.bench.check.machine import ITL_S, TTFT_S, attempt, check
from fairlead.bench.check.witness import null_server
from harness.clients import null_server as started_null_server
from harness.clients import observe
from harness.report import Figure, arguments, report

CORES_FOR_TWO = 5
SECONDS = 6.0


async def measured(notes: list[str]) -> tuple[Limits, Trial, Trial, float | None]:
    """The limits, 100/s, 80 % of the highest valid rate, and what two workers reach of one's (None: not measured)."""
    limits = await check(20.0)
    best_per_s = limits.valid_per_s or 100.0
    async with null_server(TTFT_S, ITL_S, 300.0) as witness:
        even, _ = await attempt(100.0, [witness], seconds=SECONDS)
        loaded, _ = await attempt(0.8 * best_per_s, [witness], seconds=SECONDS)
    cores = len(os.sched_getaffinity(0))
    if cores < CORES_FOR_TWO:
        notes.append(f"two workers are not compared with one: {cores} cores, {CORES_FOR_TWO} are needed")
        return limits, even, loaded, None
    async with contextlib.AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(null_server(TTFT_S, ITL_S, 300.0)) for _ in range(2)]
        for share in (2.0, 1.9, 1.8, 1.6, 1.4, 1.2, 1.0):
            both, _ = await attempt(share * best_per_s, servers, workers=2, seconds=SECONDS)
            if both.valid:
                return limits, even, loaded, share
    return limits, even, loaded, 0.0


def memory(requests: int, rate_per_s: float) -> tuple[float, float]:
    """Of all processes of a run of so many requests, in MB; and its start in seconds."""
    with started_null_server() as port, tempfile.TemporaryDirectory() as scratch:
        asked = Asked(f"http://127.0.0.1:{port}", rate_per_s, requests / rate_per_s, "", Path(scratch))
        seen = observe(fairlead(asked), port, asked.requests, asked.seconds + 120.0)
    return seen.max_rss_bytes / 1e6, seen.start_s


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--requests", type=int, default=100_000, help="of the run whose memory is measured")
    given = parser.parse_args()
    notes: list[str] = []
    limits, even, loaded, two = uvloop.run(measured(notes))
    best_per_s = limits.valid_per_s or 0.0
    taken_mb, start_s = memory(given.requests, max(100.0, 0.7 * best_per_s))
    figures = [
        Figure("highest valid rate of one worker", best_per_s, "1/s", 1000.0, "higher"),
        Figure("CPU per request, at 80 % of it", (loaded.worker_cpu_s + loaded.coordinator_cpu_s) * 1e3, "ms", 0.8),
        Figure("TTFT bias p50, at 80 % of it", loaded.ttft_bias_p50_s * 1e3, "ms", 1.0),
        Figure("CV of gaps at 100/s", even.gap_cv, "", 0.1),
        Figure("deviation at the server at 100/s, p50", even.deviation_p50_s * 1e3, "ms", 0.3),
        Figure("deviation at the server at 100/s, p99", even.deviation_p99_s * 1e3, "ms", 2.0),
        Figure("start of a run", start_s, "s", 2.0),
        Figure(f"memory of all processes, {given.requests:,} requests", taken_mb, "MB", 150.0),
    ]
    if two is not None:
        figures.append(Figure("two workers, of one's rate", two, "×", 1.8, "higher"))
    notes.append(f"above the highest valid rate: {limits.bound_by}")
    report(figures, given.json, "\n".join(notes))


if __name__ == "__main__":
    main()

"""The load generator against its own null server: its yardsticks, with the server as witness.

64 tokens in, 16 out, streamed, with all bookkeeping. The highest valid rate is found as `fairlead bench check` finds
it; the rest is measured at 100/s and at 80 % of that rate, as medians of rounds. `benchmarks/bench_records.py` measures
the memory.

Two workers are compared with one where there are cores for them and two null servers. Where there are not, each worker
gets a third of a core by a control group, so that neither the server nor the coordinator is what limits, and the
highest valid rates are compared; which of the two it was is said. The coordinator's own limit is the rate at which what
it takes for a request (to plan, write, hand over, receive, keep and count it) fills a core.

    python benchmarks/bench_generator.py

takes about two minutes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Awaitable, Callable
from statistics import median

import uvloop

from fairlead.bench.check.limits import Limits, Trial, conclusion, next_rate
from fairlead.bench.check.machine import ITL_S, TTFT_S, attempt, check
from fairlead.bench.check.witness import null_server
from harness.quota import ConfinedCrew, confined
from harness.report import Figure, arguments, report

CORES_FOR_TWO = 5
PART_OF_A_CORE = 1 / 3
SECONDS = 5.0
SHARES = (2.0, 1.9, 1.8, 1.7, 1.6, 1.4, 1.2, 1.0)
CLOSE = 1.06
"""Of the bracket around one worker's highest rate."""


async def searched(attempted: Callable[[float], Awaitable[Trial]]) -> float | None:
    """The highest valid rate, closely: what a check tries, and then between."""
    trials: list[Trial] = []
    while (rate := next_rate(trials)) is not None:
        trials.append(await attempted(rate))
    good, _ = conclusion(trials)
    bad = min((t.rate_per_s for t in trials if not t.valid), default=None)
    while good is not None and bad is not None and bad / good > CLOSE:
        trial = await attempted(round((good * bad) ** 0.5))
        good, bad = (trial.rate_per_s, bad) if trial.valid else (good, trial.rate_per_s)
    return good


async def two_workers(notes: list[str]) -> float | None:
    """Of one's highest valid rate, what two keep; None: it cannot be shown here."""
    cores = len(os.sched_getaffinity(0))
    places = [None, None] if cores >= CORES_FOR_TWO else (sorted(os.sched_getaffinity(0)) * 2)[:2]
    async with contextlib.AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(null_server(TTFT_S, ITL_S, 300.0, core)) for core in places]
        if cores >= CORES_FOR_TWO:
            notes.append(f"two workers: on {cores} cores, each on its own")
        else:
            notes.append(
                f"two workers: on {cores} cores, so each has a third of one, as the one it is compared with had"
            )
        try:
            with _crew(1, cores) as crew:
                best = await searched(lambda rate: _better(lambda: attempt(rate, servers, seconds=3.0, crew=crew)))
            if best is None:
                notes.append("two workers are not compared: one kept no rate, as this machine is now")
                return None
            with _crew(2, cores) as crew:
                for share in SHARES:
                    rate = share * best
                    both = await _better(lambda rate=rate: attempt(rate, servers, 2, SECONDS, crew))  # type: ignore[misc]
                    if both.valid:
                        notes.append(f"two workers: {share * best:.0f}/s; one keeps {best:g}/s, at most 6 % more")
                        return share
        except OSError as error:
            notes.append(f"two workers are not compared: {CORES_FOR_TWO} cores are needed, or control groups: {error}")
            return None
    return 0.0


def _crew(workers: int, cores: int) -> contextlib.AbstractContextManager[ConfinedCrew | None]:
    """Workers as they are, or with a part of a core each."""
    return contextlib.nullcontext() if cores >= CORES_FOR_TWO else confined(workers, PART_OF_A_CORE)


async def _better(attempted: Callable[[], Awaitable[Trial]]) -> Trial:
    """A rate that is invalid once may be so by this machine's own noise: it is tried again."""
    trial = await attempted()
    return trial if trial.valid else await attempted()


async def measured(rounds: int, notes: list[str]) -> tuple[Limits, list[Trial], list[Trial], float | None]:
    """The limits, the trials at 100/s and at 80 % of the highest valid rate, and what two workers reach of one's."""
    limits = await check(24.0)
    best_per_s = limits.valid_per_s or 100.0
    even, loaded = [], []
    async with null_server(TTFT_S, ITL_S, 300.0) as witness:
        for _ in range(rounds):
            even.append(await attempt(100.0, [witness], seconds=SECONDS))
            loaded.append(await attempt(0.8 * best_per_s, [witness], seconds=SECONDS))
    return limits, even, loaded, await two_workers(notes)


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    notes: list[str] = []
    limits, even, loaded, two = uvloop.run(measured(given.rounds, notes))

    def middle(trials: list[Trial], value: Callable[[Trial], float]) -> float:
        return median(value(trial) for trial in trials)

    coordinator_s = middle(loaded, lambda t: t.coordinator_cpu_s)
    worker_s = middle(loaded, lambda t: t.worker_cpu_s)
    figures = [
        Figure("highest valid rate of one worker", limits.valid_per_s or 0.0, "1/s", 1000.0, "higher"),
        Figure("CPU per request, at 80 % of it", (worker_s + coordinator_s) * 1e3, "ms", 0.8),
        Figure("… of it the coordinator's", coordinator_s * 1e3, "ms"),
        Figure("a coordinator with a full core, at that", 1 / coordinator_s, "1/s"),
        Figure("TTFT p50 too long by, at 80 % of it", middle(loaded, lambda t: t.ttft_bias_p50_s) * 1e3, "ms", 1.0),
        Figure("TTFT p99 too long by, at 80 % of it", middle(loaded, lambda t: t.ttft_bias_p99_s) * 1e3, "ms"),
        Figure("CV of gaps at 100/s", middle(even, lambda t: t.gap_cv), "", 0.1),
        Figure("CV of gaps, at 80 % of the highest", middle(loaded, lambda t: t.gap_cv), ""),
        Figure("deviation at the server at 100/s, p50", middle(even, lambda t: t.deviation_p50_s) * 1e3, "ms", 0.3),
        Figure("deviation at the server at 100/s, p99", middle(even, lambda t: t.deviation_p99_s) * 1e3, "ms", 2.0),
        Figure("start until the first request", limits.trials[0].start_s, "s", 2.0),
    ]
    if two is not None:
        figures.append(Figure("two workers, of one's rate", two, "×", 1.8, "higher"))
    notes.append(f"above the highest valid rate: {limits.bound_by}")
    report(figures, given.json, "\n".join(notes))


if __name__ == "__main__":
    main()

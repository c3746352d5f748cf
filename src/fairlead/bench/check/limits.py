"""Which rates a check tries, and what it concludes: functions of what was seen so far."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

FIRST_PER_S = 100.0
FACTOR = 2.5
HIGHEST_PER_S = 20_000.0
CLOSE = 1.15
"""A bracket so narrow is close enough: this machine's own noise is no smaller."""
SERVER_IS_FULL = 0.9


class Trial(msgspec.Struct, frozen=True):
    """One rate that one worker tried to keep, evenly spaced. Times are seconds.

    `lag_*` are the client's own; `deviation_*`: how far the arrivals that the null server noted are from even spacing,
    counted from the earliest; `gap_cv`: of the gaps between them (0 is even, 1 is Poisson). `ttft_bias_*`: percentiles
    of the measured TTFT less those of the server's own, from a request's arrival to its first token. CPU is per
    request. `start_s`: until the first request had arrived. `priority`: how the worker was scheduled
    (`worker.priority`). `reasons` say why it is invalid; none when it is not.
    """

    rate_per_s: float
    achieved_per_s: float
    requests: int
    lag_p50_s: float
    lag_p99_s: float
    loop_lag_p99_s: float
    deviation_p50_s: float
    deviation_p99_s: float
    gap_cv: float
    ttft_bias_p50_s: float
    ttft_bias_p99_s: float
    worker_cpu_share: float
    worker_cpu_s: float
    coordinator_cpu_s: float
    server_cpu_share: float
    start_s: float
    priority: str
    reasons: tuple[str, ...] = ()

    @property
    def valid(self) -> bool:
        return not self.reasons


class Limits(msgspec.Struct, frozen=True):
    """What this machine's load generator can do. `valid_per_s`: the highest rate of one worker whose figures may be
    believed (None: not even the lowest that was tried); `bound_by`: what was full above it."""

    cores: int
    load_before: float
    valid_per_s: float | None
    bound_by: str
    trials: tuple[Trial, ...]

    @property
    def best(self) -> Trial | None:
        """The trial at the highest valid rate."""
        return next((t for t in self.trials if t.rate_per_s == self.valid_per_s), None)


def next_rate(trials: Sequence[Trial]) -> float | None:
    """What to try next: upwards until a rate is invalid, then between; None when there is nothing left to learn."""
    good = max((t.rate_per_s for t in trials if t.valid), default=None)
    bad = min((t.rate_per_s for t in trials if not t.valid), default=None)
    if bad is None:
        if good is None:
            return FIRST_PER_S
        return good * FACTOR if good < HIGHEST_PER_S else None
    if good is None:
        return bad / FACTOR if bad > FIRST_PER_S / FACTOR**2 else None
    # A rate that was valid above one that was not: noise, and the lower of the two is what can be relied on.
    good = max((t.rate_per_s for t in trials if t.valid and t.rate_per_s < bad), default=None)
    if good is None or bad / good <= CLOSE:
        return None
    return float(round((good * bad) ** 0.5))


def conclusion(trials: Sequence[Trial]) -> tuple[float | None, str]:
    """The highest rate below which nothing was invalid, and what bound it."""
    bad = min((t for t in trials if not t.valid), key=lambda t: t.rate_per_s, default=None)
    good = [t.rate_per_s for t in trials if t.valid and (bad is None or t.rate_per_s < bad.rate_per_s)]
    if bad is None:
        return max(good, default=None), "nothing that was tried"
    if bad.server_cpu_share >= SERVER_IS_FULL > bad.worker_cpu_share:
        why = f"the null server at {bad.rate_per_s:g}/s: its core was full, and the load generator may do more"
        return max(good, default=None), why
    return max(good, default=None), f"the load generator at {bad.rate_per_s:g}/s: {bad.reasons[0]}"

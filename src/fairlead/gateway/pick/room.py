"""Whether an endpoint has room for one more request: how full it is by the scarcest of what it has. Pure.

  queue     (in flight + others - running) / slack, while the engine reports a queue: its batch is full at `running`,
            and `slack` requests bridge the time until the end of another one is heard of
  memory    KV tokens in use / (kv_fill x capacity): the smaller of what the requests there may come to hold and of
            what the engine reported per running request, as shared prefixes are held once
  prefill   prompt tokens not computed yet x learned time per token / prefill_backlog_s: beyond that the engine computes
            prompts in the order it got them, without a gain
  requests  in flight / blind_requests, where the engine's report is missing: absent is not zero, but nor is it full

The gate of a pool opens when one endpoint has room (`flow.headroom_detector`); `room-filter` sends what it lets through
there, not to one whose queue is long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fairlead.gateway.pick.candidate import Candidate

NO_VALUE: Final = float("inf")

FIRST_WINDOW: Final = 64
"""Requests that an engine gets at once of which nothing is known."""
_WINDOW_SLACK: Final = 2


@dataclass(frozen=True, slots=True)
class Headroom:
    """Parameters of the detector `headroom` and of the filter that goes with it.

    The defaults are those under which simulated fleets (short and long prompts, short and long answers, below and above
    capacity) had the highest throughput and no preemption while important requests did not wait.
    """

    queue_slack_requests: float = 2.0
    queue_slack_ratio: float = 0.02
    """Of the requests that run; the larger of the two slacks counts."""
    kv_fill: float = 0.9
    """Of the KV cache: answers grow, and an engine whose cache is full preempts and computes again."""
    prefill_backlog_s: float = 2.0
    """Computing time: several batches of prompt tokens on any engine."""
    blind_requests: int = 100
    """In flight at an endpoint whose report is missing."""

    def __post_init__(self) -> None:
        for name in ("queue_slack_requests", "kv_fill", "prefill_backlog_s", "blind_requests"):
            if not getattr(self, name) > 0:
                raise ValueError(f"headroom {name}={getattr(self, name)}: must be above 0")
        if self.kv_fill > 1.0 or self.queue_slack_ratio < 0.0:
            raise ValueError(
                f"headroom kv_fill={self.kv_fill}, queue_slack_ratio={self.queue_slack_ratio}: want kv_fill at most 1 "
                "and queue_slack_ratio 0 or more"
            )


def load_of(c: Candidate, settings: Headroom) -> float:
    """How full an endpoint is: from 1 on it has no room."""
    running, waiting, usage = c.running, c.waiting, c.kv_cache_usage_ratio
    in_flight = c.in_flight
    total = in_flight if c.others is None else in_flight + c.others
    load = 0.0
    if running is None or waiting is None:
        load = in_flight / settings.blind_requests
    elif waiting:
        slack = running * settings.queue_slack_ratio
        if slack < settings.queue_slack_requests:
            slack = settings.queue_slack_requests
        load = (total - running) / slack
    if c.window_requests is not None and total >= c.window_requests and running is not None:
        load = max(load, total / c.window_requests)
    if c.kv_capacity_tokens or usage is not None:
        kv = _kv_use(c, total) / settings.kv_fill
        if kv > load:
            load = kv
    if c.prefill_backlog_tokens and c.speed is not None:
        backlog = c.prefill_backlog_tokens * c.speed.prefill_token_s / settings.prefill_backlog_s
        if backlog > load and in_flight:
            load = backlog
    return load if load > 0.0 else 0.0


def next_window(window: int, running: int, waiting: int, taken: int = 0) -> int:
    """How many requests an engine may have, after a report, until the next one.

    Between two reports nobody knows how large its batch is: a burst would all go into its queue, where a request that
    comes after it has to wait for it, whoever sent it. So an engine gets at most twice what it was seen to take without
    a queue; one that was seen to queue gets half as many as before, down to what it runs. `taken`: how many it was
    sent before the report that are not known to be over; what of them does not run was quick, not refused.
    """
    if waiting:
        return max(running + max(_WINDOW_SLACK, running // 50), window // 2)
    return max(window, 2 * max(running, taken))


def _kv_use(c: Candidate, total: int) -> float:
    """Part of the KV cache that the requests there hold, or come to hold."""
    committed = NO_VALUE
    if c.kv_capacity_tokens:
        # Requests of others are taken to be like ours.
        others = total / c.in_flight if c.in_flight else 1.0
        committed = c.in_flight_tokens * others / c.kv_capacity_tokens
    usage = c.kv_cache_usage_ratio
    if usage is None:
        return committed
    if not c.in_flight and total:
        committed = NO_VALUE
    if not c.running:
        return usage if committed == NO_VALUE else max(usage, committed)
    reported = usage * total / c.running if total > c.running else usage
    return min(committed, reported)


def load_told(c: Candidate, settings: Headroom) -> str:
    """How full an endpoint is, as a phrase for people."""
    total = c.in_flight + (c.others or 0)
    parts = [f"{c.address} has room first, with {total} requests"]
    if c.running is None or c.waiting is None:
        parts.append(f"no report of its engine and {c.in_flight} of {settings.blind_requests} blind ones in flight")
    elif c.waiting:
        parts.append(f"{c.waiting} of them in its queue")
    if c.window_requests is not None and total >= c.window_requests:
        parts.append("as many as are known to run there at once")
    if c.kv_capacity_tokens or c.kv_cache_usage_ratio is not None:
        parts.append(f"its KV cache taken to {_kv_use(c, total):.0%}")
    if c.prefill_backlog_tokens and c.speed is not None:
        parts.append(f"{c.prefill_backlog_tokens * c.speed.prefill_token_s:.1f} s of prompts to compute")
    return ", ".join(parts)

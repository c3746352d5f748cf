"""Whether one more request should be sent now or held: detectors, pure functions of a pool's endpoints.

A request that is held can still be overtaken by a more important one and shared out fairly; one in an engine's queue
cannot. So requests are held as soon as sending them would only lengthen engines' queues, and not earlier, because an
engine whose batch is not full wastes its time.

`headroom` is Fairlead's own detector. The pool has room while one endpoint has; of an endpoint the scarcest of these
counts:

  queue     (in flight + others - running) / slack, while the engine reports a queue: its batch is full at `running`,
            and `slack` requests bridge the time until the end of another one is heard of
  memory    KV tokens in use / (kv_fill x capacity): the smaller of what the requests there may come to hold and of
            what the engine reported per running request, as shared prefixes are held once
  prefill   prompt tokens not computed yet x learned time per token / prefill_backlog_s: beyond that the engine computes
            prompts in the order it got them, without a gain
  requests  in flight / blind_requests, where the engine's report is missing: absent is not zero, but nor is it full

`utilization` and `concurrency` are the two detectors of llm-d's picker, with their parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from fairlead.gateway.pick import Candidate, Context

NO_VALUE: Final = float("inf")


class Saturation(NamedTuple):
    """How full a pool is: from 1 on it is saturated."""

    value: float
    reason: str = ""
    """A phrase for people: what is scarce and how scarce."""
    has_endpoints: bool = True
    recheck_s: float | None = None
    """When to look again though nothing was heard; None = not before something is."""
    spare_requests: int = 0
    """How many requests may be sent before it is worth to look again."""


NO_ENDPOINTS: Final = Saturation(NO_VALUE, "no replica is ready", has_endpoints=False, recheck_s=1.0)

Detector = Callable[[Sequence[Candidate]], Saturation]

RECHECK_S: Final = 0.25
"""A missed report of a request's end must not stop a queue."""

_SOONEST_S: Final = 0.02

_FAR_FROM_FULL: Final = 0.5
_SPARE_RATIO: Final = 0.25
"""Of the requests in flight: what is less than half full cannot be full after so many more."""

_PREFILL_ROLES: Final = frozenset(("prefill", "encode-prefill"))
_ENCODE_ROLE: Final = "encode"


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


def headroom_detector(parameters: Headroom | None = None) -> Detector:
    """Saturated when no endpoint gains from one more request.

    In a pool whose prompts are computed elsewhere both stages must have room. Endpoints that take no connection do not
    count while there are others.
    """
    settings = parameters or Headroom()

    def detect(candidates: Sequence[Candidate]) -> Saturation:
        answering, prefilling = _NONE, _NONE
        in_flight = 0
        for candidate in candidates:
            if not candidate.reachable or candidate.role == _ENCODE_ROLE:
                continue
            load = _load(candidate, settings)
            in_flight += candidate.in_flight
            if candidate.role in _PREFILL_ROLES:
                if load < prefilling[0]:
                    prefilling = (load, candidate)
            elif load < answering[0]:
                answering = (load, candidate)
        if answering[1] is None:
            return _without_answering(candidates, settings)
        value, first = answering
        if prefilling[1] is not None and prefilling[0] > value:
            value, first = prefilling
        if value < 1.0 or first is None:
            return Saturation(value, "", True, None, _spare(value, in_flight))
        return Saturation(value, _told(first, settings), True, _recheck_s(first, settings))

    return detect


def room_filter(parameters: Headroom | None = None) -> Callable[[Context], list[int]]:
    """Keeps the endpoints that have room by the measure of `headroom_detector`; a filter of a profile, not strict.

    The gate opens when one endpoint has room: what it lets through has to go there, not to one whose queue is long.
    """
    settings = parameters or Headroom()

    def keep(context: Context) -> list[int]:
        return [i for i, candidate in enumerate(context.candidates) if _load(candidate, settings) < 1.0]

    return keep


def _spare(value: float, in_flight: int) -> int:
    return int(in_flight * _SPARE_RATIO) if value < _FAR_FROM_FULL else 0


_NONE: Final[tuple[float, Candidate | None]] = (NO_VALUE, None)


def _without_answering(candidates: Sequence[Candidate], settings: Headroom) -> Saturation:
    """No endpoint that answers can be reached, by what is known: whether to try one is the picker's to say."""
    loads = [_load(c, settings) for c in candidates if c.role != _ENCODE_ROLE and c.role not in _PREFILL_ROLES]
    if not loads:
        return NO_ENDPOINTS
    value = min(loads)
    if value < 1.0:
        return Saturation(value)
    return Saturation(value, f"none of {len(loads)} replicas can be reached", True, RECHECK_S)


def _load(c: Candidate, settings: Headroom) -> float:
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
    if c.kv_capacity_tokens or usage is not None:
        kv = _kv_use(c, total) / settings.kv_fill
        if kv > load:
            load = kv
    if c.prefill_backlog_tokens and c.speed is not None:
        backlog = c.prefill_backlog_tokens * c.speed.prefill_token_s / settings.prefill_backlog_s
        if backlog > load and in_flight:
            load = backlog
    return load if load > 0.0 else 0.0


def _recheck_s(c: Candidate, settings: Headroom) -> float:
    """Backlogs shrink with time alone: when this one is no longer too long, by the learned speed."""
    if c.speed is None:
        return RECHECK_S
    excess_s = c.prefill_backlog_tokens * c.speed.prefill_token_s - settings.prefill_backlog_s
    return max(_SOONEST_S, min(RECHECK_S, excess_s)) if excess_s > 0.0 else RECHECK_S


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


def _told(c: Candidate, settings: Headroom) -> str:
    total = c.in_flight + (c.others or 0)
    parts = [f"{c.address} has room first, with {total} requests"]
    if c.running is None or c.waiting is None:
        parts.append(f"no report of its engine and {c.in_flight} of {settings.blind_requests} blind ones in flight")
    elif c.waiting:
        parts.append(f"{c.waiting} of them in its queue")
    if c.kv_capacity_tokens or c.kv_cache_usage_ratio is not None:
        parts.append(f"its KV cache taken to {_kv_use(c, total):.0%}")
    if c.prefill_backlog_tokens and c.speed is not None:
        parts.append(f"{c.prefill_backlog_tokens * c.speed.prefill_token_s:.1f} s of prompts to compute")
    return ", ".join(parts)


def utilization_detector(queue_depth: int = 5, kv_cache_usage: float = 0.8) -> Detector:
    """Mean over the endpoints of the larger of queue / `queue_depth` and KV usage / `kv_cache_usage`.

    An endpoint without a fresh report counts as saturated, as upstream: whoever selects this detector relies on it.
    """
    if queue_depth < 1 or not 0.0 < kv_cache_usage <= 1.0:
        raise ValueError(
            f"queueDepthThreshold={queue_depth}, kvCacheUtilThreshold={kv_cache_usage}: want 1 or more, and above 0 "
            "and at most 1"
        )

    def detect(candidates: Sequence[Candidate]) -> Saturation:
        if not candidates:
            return NO_ENDPOINTS
        total, stale = 0.0, 0
        for candidate in candidates:
            waiting, usage = candidate.waiting, candidate.kv_cache_usage_ratio
            if waiting is None and usage is None:
                total += 1.0
                stale += 1
            else:
                total += max((waiting or 0) / queue_depth, (usage or 0.0) / kv_cache_usage)
        value = total / len(candidates)
        if value < 1.0:
            return Saturation(value)
        reason = f"queues and KV caches of {len(candidates)} replicas are at {value:.0%} of their thresholds on average"
        if stale:
            reason += f"; {stale} have no fresh report and count as full"
        return Saturation(value, reason, True, RECHECK_S)

    return detect


def concurrency_detector(
    requests: int = 100, tokens: int = 1_000_000, mode: Literal["requests", "tokens", "hybrid"] = "requests"
) -> Detector:
    """Requests, or tokens, in flight through this gateway as a part of what the endpoints may have together.

    `hybrid`: the mean over the endpoints of the larger of the two parts.
    """
    if requests < 1 or tokens < 1:
        raise ValueError(f"maxConcurrency={requests}, maxTokenConcurrency={tokens}: both must be 1 or more")

    def detect(candidates: Sequence[Candidate]) -> Saturation:
        count = len(candidates)
        if not count:
            return NO_ENDPOINTS
        if mode == "requests":
            value = sum([c.in_flight for c in candidates]) / (requests * count)
        elif mode == "tokens":
            value = sum([c.in_flight_tokens for c in candidates]) / (tokens * count)
        else:
            value = sum([max(c.in_flight / requests, c.in_flight_tokens / tokens) for c in candidates]) / count
        if value < 1.0:
            return Saturation(value, "", True, None, _spare(value, sum([c.in_flight for c in candidates])))
        return Saturation(value, f"{value:.0%} of the {mode} that {count} replicas may have in flight", True, RECHECK_S)

    return detect

"""Whether one more request should be sent now or held: detectors, pure functions of a pool's endpoints.

A request that is held can still be overtaken by a more important one and shared out fairly; one in an engine's queue
cannot. So requests are held as soon as sending them would only lengthen engines' queues, and not earlier, because an
engine whose batch is not full wastes its time.

`headroom` is Fairlead's own detector: the pool has room while one endpoint has (`pick.room`).

`utilization` and `concurrency` are the two detectors of llm-d's picker, with their parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal, NamedTuple

from fairlead.gateway.pick import Candidate
from fairlead.gateway.pick.room import NO_VALUE, Headroom, load_of, load_told


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
            load = load_of(candidate, settings)
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
        return Saturation(value, load_told(first, settings), True, _recheck_s(first, settings))

    return detect


def _spare(value: float, in_flight: int) -> int:
    return int(in_flight * _SPARE_RATIO) if value < _FAR_FROM_FULL else 0


_NONE: Final[tuple[float, Candidate | None]] = (NO_VALUE, None)


def _without_answering(candidates: Sequence[Candidate], settings: Headroom) -> Saturation:
    """No endpoint that answers can be reached, by what is known: whether to try one is the picker's to say."""
    loads = [load_of(c, settings) for c in candidates if c.role != _ENCODE_ROLE and c.role not in _PREFILL_ROLES]
    if not loads:
        return NO_ENDPOINTS
    value = min(loads)
    if value < 1.0:
        return Saturation(value)
    return Saturation(value, f"none of {len(loads)} replicas can be reached", True, RECHECK_S)


def _recheck_s(c: Candidate, settings: Headroom) -> float:
    """Backlogs shrink with time alone: when this one is no longer too long, by the learned speed."""
    if c.speed is None:
        return RECHECK_S
    excess_s = c.prefill_backlog_tokens * c.speed.prefill_token_s - settings.prefill_backlog_s
    return max(_SOONEST_S, min(RECHECK_S, excess_s)) if excess_s > 0.0 else RECHECK_S


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

"""How long an endpoint will take for a request, from its learned speed and what it has to do already. Pure.

    TTFT = overhead + prefill time per token x (tokens before it + its own uncached ones) + time per request there
           + wait for room
    ITL  = base + time per request x (requests there + 1)

The wait for room: when the KV cache cannot hold what is on its way, tokens have to be released first, and a cache turns
over once in the time of one answer.
"""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.gateway.pick.candidate import Candidate, Speed
from fairlead.gateway.pick.query import Context
from fairlead.gateway.pick.scorers.unknown import fill_unknown

PRIOR = Speed(overhead_s=0.02, prefill_token_s=1e-4, itl_base_s=0.01, itl_request_s=2e-4)
"""An 8B model on a current accelerator, roughly; only differences between endpoints matter to a decision."""

DEFAULT_OUTPUT_TOKENS = 256.0
"""Length of an answer of which nothing is known."""


def known_speeds(candidates: Sequence[Candidate]) -> list[Speed]:
    """The speed of each; an unknown one is the mean of the others, or the prior when all are unknown."""
    speeds = [c.speed for c in candidates]
    if None not in speeds:
        return speeds  # type: ignore[return-value]
    known = [s for s in speeds if s is not None]
    stand_in = mean_speed(known) if known else PRIOR
    return [stand_in if s is None else s for s in speeds]


def mean_speed(speeds: Sequence[Speed]) -> Speed:
    """The speed in the middle of these, of which there is at least one."""
    n = len(speeds)
    return Speed(
        sum([s.overhead_s for s in speeds]) / n,
        sum([s.prefill_token_s for s in speeds]) / n,
        sum([s.itl_base_s for s in speeds]) / n,
        sum([s.itl_request_s for s in speeds]) / n,
        sum([s.ttft_request_s for s in speeds]) / n,
    )


def known_counts(candidates: Sequence[Candidate]) -> list[float]:
    """Requests at each endpoint; the others of one that does not report are as many as elsewhere on average."""
    others = fill_unknown([c.others for c in candidates])
    if others is None:
        return [float(c.in_flight) for c in candidates]
    return [c.in_flight + n for c, n in zip(candidates, others, strict=True)]


def room_wait_s(candidate: Candidate, new_tokens: float, answer_s: float) -> float:
    """How long until the cache has room for the tokens on their way and `new_tokens`; 0 when it does not tell."""
    capacity, usage = candidate.kv_capacity_tokens, candidate.kv_cache_usage_ratio
    if not capacity or usage is None:
        return 0.0
    short = new_tokens + candidate.prefill_backlog_tokens - capacity * (1.0 - usage)
    if short <= 0.0:
        return 0.0
    return answer_s * short / max(capacity * usage, short)


def predicted(context: Context) -> tuple[list[float], list[float]]:
    """TTFT and ITL of each candidate for this request, seconds."""
    query, candidates = context.query, context.candidates
    output = query.output_tokens or DEFAULT_OUTPUT_TOKENS
    ttfts, itls = [], []
    for candidate, matched, speed, count in zip(
        candidates, context.matched, known_speeds(candidates), known_counts(candidates), strict=True
    ):
        uncached = query.prompt_tokens - matched if query.prompt_tokens > matched else 0
        itl_s = speed.itl_base_s + speed.itl_request_s * (count + 1.0)
        ttfts.append(
            speed.overhead_s
            + speed.ttft_request_s * count
            + speed.prefill_token_s * (candidate.prefill_backlog_tokens + uncached)
            + room_wait_s(candidate, uncached + output, output * itl_s)
        )
        itls.append(itl_s)
    return ttfts, itls

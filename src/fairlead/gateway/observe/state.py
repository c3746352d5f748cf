"""The picker's state as values that can be printed: what `fairlead gateway top` shows."""

from __future__ import annotations

import msgspec

from fairlead.gateway.endpoints import Pool
from fairlead.gateway.load import EndpointLoad, LoadTable
from fairlead.gateway.observe.requests import RequestSeries
from fairlead.gateway.observe.series import Distribution, merged


class EndpointState(msgspec.Struct, frozen=True):
    """One endpoint, as decisions see it."""

    address: str
    pod: str
    role: str
    state: str
    """ok, stale, unreachable."""
    in_flight: int
    others: int | None
    running: int | None
    waiting: int | None
    kv_cache_usage_ratio: float | None
    backlog_tokens: int
    in_flight_tokens: int
    adapters: tuple[str, ...] | None
    prefill_tokens_per_s: float | None
    """Learned; None = not yet."""
    itl_s: float | None
    """Learned time between tokens of an engine with one request."""
    error: str
    """Why its last report did not come."""


class PoolState(msgspec.Struct, frozen=True):
    """One pool. Counters grow since the picker started."""

    key: str
    models: tuple[str, ...]
    profile: str
    saturation: float | None
    queued: int
    routed_total: int
    ended_total: int
    errors_total: int
    running: int
    ttft_p50_s: float | None
    ttft_p90_s: float | None
    match_ratio: float | None
    """Mean share of prompts that was believed to be cached at the picked endpoint."""
    endpoints: tuple[EndpointState, ...]


class PickerState(msgspec.Struct, frozen=True):
    """Everything `top` shows; `at_s` is monotonic."""

    replica: str
    at_s: float
    pools: tuple[PoolState, ...]


def pool_state(
    pool: Pool,
    profile: str,
    loads: LoadTable,
    series: list[RequestSeries],
    now_s: float,
    *,
    queued: int = 0,
    saturation: float | None = None,
) -> PoolState:
    """The state of a pool; `series` are those of its requests."""
    ttft_s = _all(series, "ttft_s")
    match = _all(series, "match_ratio")
    return PoolState(
        key=pool.key,
        models=pool.models,
        profile=profile,
        saturation=saturation,
        queued=queued,
        routed_total=sum(s.routed for s in series),
        ended_total=sum(sum(s.codes.values()) for s in series),
        errors_total=sum(sum(s.errors.values()) for s in series),
        running=sum(s.running for s in series),
        ttft_p50_s=ttft_s.quantile(0.5) if ttft_s else None,
        ttft_p90_s=ttft_s.quantile(0.9) if ttft_s else None,
        match_ratio=match.sum / match.count if match is not None and match.count else None,
        endpoints=tuple(_endpoint(e.pod, loads.of(e.address), now_s) for e in pool.endpoints),
    )


def _endpoint(pod: str, load: EndpointLoad, now_s: float) -> EndpointState:
    candidate = load.candidate
    speed = candidate.speed if candidate.speed is not None and candidate.speed.observations else None
    adapters = candidate.running_adapters
    return EndpointState(
        address=candidate.address,
        pod=pod,
        role=candidate.role,
        state="unreachable" if not load.reachable else "stale" if load.is_stale(now_s) else "ok",
        in_flight=candidate.in_flight,
        others=candidate.others,
        running=candidate.running,
        waiting=candidate.waiting,
        kv_cache_usage_ratio=candidate.kv_cache_usage_ratio,
        backlog_tokens=int(candidate.prefill_backlog_tokens),
        in_flight_tokens=candidate.in_flight_tokens,
        adapters=None if adapters is None else tuple(sorted(adapters)),
        prefill_tokens_per_s=1 / speed.prefill_token_s if speed and speed.prefill_token_s > 0 else None,
        itl_s=speed.itl_base_s + speed.itl_request_s if speed else None,
        error=load.scrape_error,
    )


def _all(series: list[RequestSeries], attribute: str) -> Distribution | None:
    parts: list[Distribution] = [getattr(one, attribute) for one in series]
    return merged(parts, parts[0].bounds) if parts else None

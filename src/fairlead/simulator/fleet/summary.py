"""What a study found, as one typed document that is written as JSON: every number with its unit in its name, and the
definitions beside them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fairlead.simulator.engine import Sketch
from fairlead.simulator.fleet.fleet import Fleet
from fairlead.simulator.fleet.lifecycle import Pool
from fairlead.simulator.fleet.measures import Measures
from fairlead.simulator.fleet.replica import Replica, Tally
from fairlead.workload import Slo

PERCENTILES = (0.5, 0.9, 0.95, 0.99)

DEFINITIONS = {
    "ttft_s": "first token - arrival, at the client: gateway, queue, prompt, hand-off and frontend included",
    "itl_s": "gap between consecutive tokens, all gaps of all requests pooled (frontend not included)",
    "tpot_s": "(last token - first token) / (output tokens - 1) of requests with two tokens or more (exclusive)",
    "e2e_s": "last token - arrival",
    "queue_s": "first admission to a batch - arrival",
    "percentiles": "of finished requests, from a sketch with 1 % relative error; mean, min and max are exact",
    "attainment": "requests that kept the objective / all ended requests that had it; failed and abandoned ones did "
    "not. The objective on itl_s is judged on the request's tpot_s; a request of one token keeps it",
    "goodput": "finished requests that kept all their objectives (without any: all finished ones) per second of "
    "duration_s",
    "duration_s": "first arrival to the last end of a request",
    "prefix_hit_rate": "prompt tokens found in the prefix cache / prompt tokens looked up, at first admissions; null "
    "when the requests do not tell what they have in common",
    "utilisation": "seconds in which an engine computed / seconds in which its replica was ready",
    "mean_batch": "seconds that requests spent in engines after admission / seconds in which engines computed",
    "gpu_h": "accelerators x hours from the moment a replica holds them until it is gone or the study ends, start-up "
    "and repair included",
    "paid_gpu_h": "the same for all accelerators of all nodes; equal to gpu_h when no nodes are simulated",
    "cost_usd": "paid_gpu_h x price of an accelerator hour; null where a price is unknown",
}


class Distribution(msgspec.Struct, frozen=True):
    """Seconds. All None while nothing was observed."""

    count: int
    mean: float | None
    min: float | None
    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None
    max: float | None
    cdf: tuple[tuple[float, float], ...] = ()
    """(value, share of observations up to it)."""


class Objective(msgspec.Struct, frozen=True):
    """One service level objective; `limit_s` None where requests bring their own."""

    name: str
    limit_s: float | None
    requests: int
    attainment: float | None


class Work(msgspec.Struct, frozen=True):
    """What engines did."""

    prompt_tokens: int
    cached_prompt_tokens: int
    fetched_tokens: int
    generation_tokens: int
    iterations: int
    preemptions: int
    prefix_hit_rate: float | None
    utilisation: float | None
    mean_batch: float | None


class ReplicaReport(msgspec.Struct, frozen=True):
    """One replica."""

    name: str
    phase: str
    picks: int
    finished_requests: int
    crashes: int
    ready_h: float
    gpu_h: float
    ttft_s: Distribution
    """Of requests that ended here, as is e2e_s."""
    itl_s: Distribution
    e2e_s: Distribution
    work: Work


class PoolReport(msgspec.Struct, frozen=True):
    """One pool."""

    name: str
    role: str
    description: str
    replicas: int
    """That ever were."""
    accelerators_per_replica: int
    usd_per_h: float | None
    kv_cache_tokens: int
    gpu_h: float
    ttft_s: Distribution
    """Of requests that ended in this pool, as is e2e_s."""
    itl_s: Distribution
    e2e_s: Distribution
    work: Work


class EventReport(msgspec.Struct, frozen=True):
    """Something that happened to a replica."""

    time_s: float
    replica: str
    what: str
    why: str


class Summary(msgspec.Struct, frozen=True):
    """A study."""

    name: str
    variant: str
    """What tells it from studies it is compared with; empty for one that stands alone."""
    policy: str
    seed: int
    workload: str
    duration_s: float
    arrived: int
    finished: int
    failed: int
    abandoned: int
    reasons: dict[str, int]
    retries: int
    preemptions: int
    ttft_s: Distribution
    itl_s: Distribution
    tpot_s: Distribution
    e2e_s: Distribution
    queue_s: Distribution
    objectives: tuple[Objective, ...]
    good_requests: int
    attainment: float | None
    """Ended requests that finished and kept all objectives; None without objectives."""
    requests_per_s: float | None
    output_tokens_per_s: float | None
    goodput_requests_per_s: float | None
    goodput_tokens_per_s: float | None
    prompt_tokens: int
    """Of finished requests, as are the next two."""
    cached_tokens: int
    output_tokens: int
    prefix_hit_rate: float | None
    gpu_h: float
    paid_gpu_h: float
    cost_usd: float | None
    cost_usd_per_million_output_tokens: float | None
    pools: tuple[PoolReport, ...]
    replicas: tuple[ReplicaReport, ...]
    series: dict[str, list[float | None]]
    events: tuple[EventReport, ...]
    notes: tuple[str, ...]
    definitions: dict[str, str]


def summarise(
    fleet: Fleet, *, name: str, seed: int, workload: str, variant: str = "", notes: Sequence[str] = ()
) -> Summary:
    """The findings of a fleet that has run."""
    measures, lifecycle = fleet.measures, fleet.lifecycle
    begin_s = measures.first_arrival_s or 0.0
    duration_s = max(0.0, measures.last_end_s - begin_s)
    replicas = list(lifecycle.replicas)
    itl = _merged([replica.itl for replica in replicas])
    named = measures.named > 0
    pools = tuple(_pool(pool, named) for pool in lifecycle.pools.values())
    gpu_h = sum(pool.gpu_h for pool in pools)
    paid_gpu_h, cost = _cost(fleet, pools, gpu_h)
    hits, queried = (
        sum(getattr(replica.tally, field) for replica in replicas)
        for field in ("prefix_hit_tokens", "prefix_queried_tokens")
    )
    return Summary(
        name=name,
        variant=variant,
        policy=fleet.gateway.policy,
        seed=seed,
        workload=workload,
        duration_s=duration_s,
        arrived=measures.arrived,
        finished=measures.finished,
        failed=measures.failed,
        abandoned=measures.abandoned,
        reasons=dict(sorted(measures.reasons.items())),
        retries=measures.retries,
        preemptions=sum(replica.tally.preemptions for replica in replicas),
        ttft_s=distribution(measures.ttft, with_cdf=True),
        itl_s=distribution(itl, with_cdf=True),
        tpot_s=distribution(measures.tpot, with_cdf=True),
        e2e_s=distribution(measures.e2e, with_cdf=True),
        queue_s=distribution(measures.queue, with_cdf=True),
        objectives=_objectives(measures),
        good_requests=measures.good,
        attainment=_ratio(measures.good, measures.ended) if any(measures.asked.values()) else None,
        requests_per_s=_ratio(measures.finished, duration_s),
        output_tokens_per_s=_ratio(measures.output_tokens, duration_s),
        goodput_requests_per_s=_ratio(measures.good, duration_s),
        goodput_tokens_per_s=_ratio(measures.good_output_tokens, duration_s),
        prompt_tokens=measures.prompt_tokens,
        cached_tokens=measures.cached_tokens,
        output_tokens=measures.output_tokens,
        prefix_hit_rate=_ratio(hits, queried) if named else None,
        gpu_h=gpu_h,
        paid_gpu_h=paid_gpu_h,
        cost_usd=cost,
        cost_usd_per_million_output_tokens=None if cost is None else _ratio(cost * 1e6, measures.output_tokens),
        pools=pools,
        replicas=tuple(_replica(replica, named) for replica in replicas),
        series=measures.series.columns(),
        events=tuple(EventReport(e.time_s, e.replica, e.what, e.why) for e in lifecycle.events),
        notes=tuple(notes),
        definitions=DEFINITIONS,
    )


def distribution(sketch: Sketch, *, with_cdf: bool = False) -> Distribution:
    """Percentiles of a sketch."""
    if not sketch.count:
        return Distribution(0, None, None, None, None, None, None, None)
    p50, p90, p95, p99 = (sketch.quantile(q) for q in PERCENTILES)
    points = _cdf(sketch) if with_cdf else ()
    return Distribution(round(sketch.count), sketch.mean, sketch.min, p50, p90, p95, p99, sketch.max, points)


def _cdf(sketch: Sketch) -> tuple[tuple[float, float], ...]:
    points, seen = [], 0.0
    for value, weight in sketch.buckets():
        seen += weight
        points.append((value, min(1.0, seen / sketch.count)))
    return tuple(points)


def _objectives(measures: Measures) -> tuple[Objective, ...]:
    slo: Slo = measures.slo
    limits = {"ttft": slo.ttft_s, "itl": slo.itl_s, "e2e": slo.e2e_s}
    return tuple(
        Objective(name, limits[name], asked, _ratio(measures.kept[name], asked))
        for name, asked in measures.asked.items()
        if asked or limits[name] is not None
    )


def _cost(fleet: Fleet, pools: Sequence[PoolReport], gpu_h: float) -> tuple[float, float | None]:
    """(paid accelerator hours, US dollars). Idle accelerators of nodes cost the mean price of the pools."""
    end_s = fleet.measures.last_end_s
    paid_s = fleet.lifecycle.nodes.paid_accelerator_s(end_s)
    paid_gpu_h = gpu_h if paid_s is None else paid_s / 3600
    cost = 0.0
    for pool in pools:
        if pool.usd_per_h is None:
            return paid_gpu_h, None
        cost += pool.gpu_h * pool.usd_per_h
    return paid_gpu_h, cost * paid_gpu_h / gpu_h if gpu_h else cost


def _pool(pool: Pool, named: bool) -> PoolReport:
    model = pool.model
    return PoolReport(
        name=pool.spec.name,
        role=pool.spec.role,
        description=model.description,
        replicas=len(pool.replicas),
        accelerators_per_replica=model.accelerators,
        usd_per_h=model.usd_per_h,
        kv_cache_tokens=model.settings.num_blocks * model.settings.block_tokens * model.ranks,
        gpu_h=sum(_gpu_h(replica) for replica in pool.replicas),
        ttft_s=distribution(_merged([replica.ttft for replica in pool.replicas])),
        itl_s=distribution(_merged([replica.itl for replica in pool.replicas])),
        e2e_s=distribution(_merged([replica.e2e for replica in pool.replicas])),
        work=_work(pool.replicas, named),
    )


def _replica(replica: Replica, named: bool) -> ReplicaReport:
    return ReplicaReport(
        name=replica.address,
        phase=replica.phase.value,
        picks=replica.picks,
        finished_requests=replica.finished_requests,
        crashes=replica.crashes,
        ready_h=replica.ready_s / 3600,
        gpu_h=_gpu_h(replica),
        ttft_s=distribution(replica.ttft),
        itl_s=distribution(replica.itl),
        e2e_s=distribution(replica.e2e),
        work=_work([replica], named),
    )


def _work(replicas: Sequence[Replica], named: bool) -> Work:
    """What engines did. `named`: whether anything told what prompts have in common; without it hits are unknown."""
    total = Tally()
    ready_s = 0.0
    for replica in replicas:
        total.add(replica.tally)
        ready_s += replica.ready_s * replica.model.ranks
    return Work(
        prompt_tokens=total.prompt_tokens,
        cached_prompt_tokens=total.cached_prompt_tokens,
        fetched_tokens=total.fetched_tokens,
        generation_tokens=total.generation_tokens,
        iterations=total.iterations,
        preemptions=total.preemptions,
        prefix_hit_rate=_ratio(total.prefix_hit_tokens, total.prefix_queried_tokens) if named else None,
        utilisation=_ratio(total.busy_s, ready_s),
        mean_batch=_ratio(total.sequence_s, total.busy_s),
    )


def _gpu_h(replica: Replica) -> float:
    return replica.held_s * replica.model.accelerators / 3600


def _merged(sketches: Sequence[Sketch]) -> Sketch:
    merged = Sketch()
    for sketch in sketches:
        if sketch.count:
            merged.merge(sketch)
    return merged


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None

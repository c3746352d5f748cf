"""What servers were like during a stage, as values for the summary. None: it was not seen, never nought for that."""

from __future__ import annotations

import msgspec


class Bucketed(msgspec.Struct, frozen=True):
    """A percentile of a server's own histogram, in seconds: it lies in the bucket from `low` to `high` (None: the last,
    which has no end); `value` is between them by even spread, as `histogram_quantile` of Prometheus has it."""

    value: float
    low: float
    high: float | None


class ServerLatency(msgspec.Struct, frozen=True):
    """Of `count` values that a server's histogram got from `begin_s` to `end_s`, the looks nearest to the stage's."""

    count: float
    mean_s: float
    p50: Bucketed
    p90: Bucketed
    p99: Bucketed
    begin_s: float
    end_s: float


class ServerFigures(msgspec.Struct, frozen=True):
    """Of one engine, or of all that answered: requests and tokens are added up, the use of KV caches is their mean (its
    greatest value is that of the fullest), latencies are of all requests together.

    `seconds`: of the stage, what was covered by looks (of several engines their mean). Means are over time. `engines`:
    of all, how many were seen in the mean. Token counts include other clients' requests.
    """

    seconds: float
    engines: float = 1.0
    running_mean: float | None = None
    running_max: float | None = None
    waiting_mean: float | None = None
    waiting_max: float | None = None
    kv_cache_mean: float | None = None
    kv_cache_max: float | None = None
    prefix_hit_ratio: float | None = None
    preemptions: float | None = None
    prompt_tokens: float | None = None
    output_tokens: float | None = None
    requests: float | None = None
    draft_acceptance: float | None = None
    restarts: int = 0
    ttft: ServerLatency | None = None
    itl: ServerLatency | None = None
    queue: ServerLatency | None = None
    e2e: ServerLatency | None = None


class GatewayFigures(msgspec.Struct, frozen=True):
    """Of the gateway: what it held, sent and refused, and how long that took it. `dropped`: refused by flow control."""

    seconds: float
    in_flight_mean: float | None = None
    queued_mean: float | None = None
    queued_max: float | None = None
    saturation_max: float | None = None
    ready_endpoints_min: float | None = None
    ready_endpoints_max: float | None = None
    requests: float | None = None
    dropped: float | None = None
    errors: float | None = None
    queue: ServerLatency | None = None
    decision: ServerLatency | None = None


class Energy(msgspec.Struct, frozen=True):
    """Joules of `devices`, by energy counters or, of those that have none, by power over time (`measured_by`:
    counters, power, mixed). `of`: accelerators, or hosts where no accelerator was seen. `missing`: the share of
    devices' time of which nothing is known; above `MOST_MISSING` there is no energy at all."""

    of: str
    joules: float
    mean_w: float
    devices: int
    measured_by: str
    missing: float
    joules_per_output_token: float | None = None
    joules_per_token: float | None = None


class Price(msgspec.Struct, frozen=True):
    """Of one accelerator for an hour. `low` and `high` are the same where the configuration gives it; `provenance` says
    who says so, and when."""

    low: float
    high: float
    currency: str
    provenance: str


class Range(msgspec.Struct, frozen=True):
    """From the low price to the high one."""

    low: float
    high: float


class Cost(msgspec.Struct, frozen=True):
    """What the tokens of a stage cost, by how many accelerators were there (the mean over its time), `counted_by`.

    `per_million_output`, `per_million_total`: all of the money over output tokens, and over all tokens. `split_output`
    and `split_input` divide it between them, an input token at 1/`input_ratio` of an output token (GKE's Inference
    Quickstart)."""

    accelerators: float
    counted_by: str
    price: Price
    money: Range
    per_million_output: Range | None
    per_million_total: Range | None
    split_output: Range | None
    split_input: Range | None
    input_ratio: float


class ServerStage(msgspec.Struct, frozen=True):
    """A stage as the servers saw it, from `begin_s` to `end_s`: the stage without its cut, as its other figures are."""

    stage: int
    begin_s: float
    end_s: float
    engines: ServerFigures | None = None
    by_engine: dict[str, ServerFigures] = {}
    gateway: GatewayFigures | None = None
    energy: Energy | None = None
    cost: Cost | None = None
    notes: tuple[str, ...] = ()


class ServerSummary(msgspec.Struct, frozen=True):
    """All stages, and energy and cost of them together. `sources`: what was looked at -> what it is (a runtime,
    `gateway`, `power`)."""

    stages: tuple[ServerStage, ...] = ()
    sources: dict[str, str] = {}
    energy: Energy | None = None
    cost: Cost | None = None
    every_s: float = 1.0


FORMULAS = {
    "rates": "increase of the counter between two looks / time between them; a counter that went back began anew",
    "prefix_hit_ratio": "increase of prefix cache hits / increase of its queries, in tokens",
    "kv_cache_mean": "area under the straight lines between looks / time, in the stage",
    "server ttft, itl, queue, e2e": "percentiles of the difference of two looks at a cumulative histogram, evenly "
    "spread within a bucket (histogram_quantile of Prometheus)",
    "energy": "increase of energy counters over the stage; of devices without one the area under power, straight "
    "lines between looks",
    "joules_per_output_token": "energy of the stage / output tokens that came in it; joules_per_token: / prompt and "
    "output tokens",
    "per_million_output": "accelerators × price per hour × hours / output tokens × 10⁶; per_million_total: / all "
    "tokens",
    "split_output": "price per second / (input tokens/s ÷ r + output tokens/s); split_input = split_output / r (GKE "
    "Inference Quickstart, r = input_ratio)",
}
"""Figure -> formula and source, for reports to print beside the numbers."""

"""The figures of a run as values: what every report is written from and comparisons are made on.

Each figure's formula is said once, where it is computed (`measure/`); this says their names and units.
"""

from __future__ import annotations

import msgspec

PERCENTILES = (0.1, 1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9)


class Interval(msgspec.Struct, frozen=True):
    """A confidence interval of 95 %."""

    low: float
    high: float


class Distribution(msgspec.Struct, frozen=True):
    """Of `count` values. Percentiles by `PERCENTILES`; `intervals` for those that can be given one with this count."""

    count: int
    unit: str
    mean: float
    stddev: float
    minimum: float
    maximum: float
    percentiles: dict[float, float]
    intervals: dict[float, Interval] = {}


class Goodput(msgspec.Struct, frozen=True):
    """Against the objective: the share of good requests with its Wilson interval, and good requests and tokens per
    second."""

    attainment: float
    interval: Interval
    good: int
    judged: int
    requests_per_s: float
    output_tokens_per_s: float
    kept: bool | None  # None: the interval is on both sides of what is asked for


class ClientHealth(msgspec.Struct, frozen=True):
    """What the load generator itself was like during a stage."""

    lag_p50_s: float
    lag_p99_s: float
    loop_lag_p99_s: float
    cpu_share: float  # of a core, the busiest worker's
    cpu_s_per_request: float
    workers_lost: int = 0


class Verdict(msgspec.Struct, frozen=True):
    """Whether the figures of a stage may be believed; reasons name limit, value and remedy."""

    valid: bool
    reasons: tuple[str, ...] = ()


class Metrics(msgspec.Struct, frozen=True):
    """Of some of a stage's requests (all, one target's, one adapter's). None: no value for it.

    Times in seconds. `*_from_due` count from when the request should have been sent.
    """

    requests: int
    whole: int
    failures: dict[str, int]
    seconds: float
    requests_per_s: float
    prompt_tokens_per_s: float
    output_tokens_per_s: float
    ttft: Distribution | None = None
    ttft_from_due: Distribution | None = None
    tpot: Distribution | None = None
    ntpot: Distribution | None = None
    itl: Distribution | None = None
    e2e: Distribution | None = None
    e2e_from_due: Distribution | None = None
    prompt_tokens: Distribution | None = None
    output_tokens: Distribution | None = None
    cached_tokens: Distribution | None = None
    schedule_delay: Distribution | None = None
    send: Distribution | None = None
    in_flight: Distribution | None = None
    token_mismatches: int = 0
    counted_by: str = "server"  # or "tokenizer", "chunks", "estimate"
    goodput: Goodput | None = None


class StageSummary(msgspec.Struct, frozen=True):
    """A stage. `intended` is rate per second or users, as `of` says."""

    index: int
    name: str
    of: str  # rate | users | trace
    intended: float
    achieved_rate_per_s: float
    begin_s: float
    end_s: float
    metrics: Metrics
    client: ClientHealth
    verdict: Verdict
    by_target: dict[str, Metrics] = {}
    by_adapter: dict[str, Metrics] = {}
    by_turn: dict[int, Metrics] = {}


class SearchStep(msgspec.Struct, frozen=True):
    """One load that a search has tried; `decision`: kept, failed, undecided, saturated or invalid, and why."""

    stage: int
    load: float
    decision: str
    why: str


class SearchResult(msgspec.Struct, frozen=True):
    """The highest load that kept the objective, and the lowest that did not (None: none found)."""

    of: str
    best: float | None
    failed: float | None
    steps: tuple[SearchStep, ...]
    why_ended: str


class Series(msgspec.Struct, frozen=True):
    """A server-side signal over time: seconds from the origin of the run, and values (None: it did not arrive)."""

    source: str
    name: str
    unit: str
    times_s: tuple[float, ...]
    values: tuple[float | None, ...]


class RunSummary(msgspec.Struct, frozen=True):
    """A whole run: what reports are written from. `environment`: machine, versions, command line; `config`: as it was
    given, without secrets. `ended`: complete, interrupted, failed, and why."""

    id: str
    name: str
    began: str
    seconds: float
    ended: str
    why_ended: str
    config: dict[str, object]
    environment: dict[str, object]
    stages: tuple[StageSummary, ...]
    search: SearchResult | None = None
    server: tuple[Series, ...] = ()
    cost_per_million_tokens: float | None = None
    joules_per_token: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def valid(self) -> bool:
        return self.ended == "complete" and all(stage.verdict.valid for stage in self.stages)

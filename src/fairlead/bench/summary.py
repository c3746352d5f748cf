"""The figures of a run as values: what every report is written from and comparisons are made on.

Each figure's formula is said once, where it is computed (`measure/`); this says their names and units.
"""

from __future__ import annotations

import msgspec

from fairlead.bench.scaling_summary import ScalingSummary
from fairlead.bench.server_side.figures import ServerSummary

PERCENTILES = (0.1, 1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9)


class Interval(msgspec.Struct, frozen=True):
    """A confidence interval of 95 %."""

    low: float
    high: float


class Distribution(msgspec.Struct, frozen=True):
    """Of `count` values, which tell as much as `independent` ones that do not depend on each other. Percentiles by
    `PERCENTILES` (nearest rank, within 0.5 %); `intervals` for those that can be given one with so many: a percentile
    without one is a value that was seen, and no estimate."""

    count: int
    unit: str
    mean: float
    stddev: float
    minimum: float
    maximum: float
    percentiles: dict[float, float]
    intervals: dict[float, Interval] = {}
    independent: float | None = None


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


class Drift(msgspec.Struct, frozen=True):
    """Whether a stage stood still: slopes (seconds, or requests, per second) and p-values of their trends (None: too
    little to tell). `saturated`: a queue grew all the time, so that figures depend on how long the stage was."""

    ttft_slope: float | None
    ttft_p: float | None
    in_flight_slope: float | None
    in_flight_p: float | None
    stationary: bool
    saturated: bool


class Answers(msgspec.Struct, frozen=True):
    """What makes figures differ from what they seem to say, counted. Of whole answers: `shorter` and `longer` than was
    asked for, `miscounted` (the server's count is not that of its events), `repeated` (more tokens came than the server
    counts: some came twice), `uncounted` (no count from the server). `chunk_tokens`: mean tokens in an event.
    `merged_events`: read at once with the one before. `prompt_error`: the server's prompt tokens over the planned ones,
    less 1. Of all: `retried`, `unsent` (due, and never sent), `unended` (timed out, aborted or lost: their latency is
    at least what is known of it), `ended_late`: after the stage they were due in. `held`: were due and not let go at
    once by the load. `backoff_s`: what users paused after failures, in all. `unfinished`: sessions that had turns left
    when the stage, or the run, was over."""

    shorter: int = 0
    longer: int = 0
    miscounted: int = 0
    repeated: int = 0
    uncounted: int = 0
    chunk_tokens: float | None = None
    merged_events: int = 0
    prompt_error: float | None = None
    retried: int = 0
    unsent: int = 0
    unended: int = 0
    ended_late: int = 0
    held: int = 0
    backoff_s: float = 0.0
    unfinished: int = 0


class ClientHealth(msgspec.Struct, frozen=True):
    """What the load generator itself was like during a stage. `stalled_share`: of the stage, what the worst worker's
    event loop spent in stalls longer than its limit. `silent_s`: the longest time that a worker said nothing."""

    lag_p50_s: float
    lag_p99_s: float
    loop_lag_p99_s: float
    cpu_share: float  # of a core, the busiest worker's
    cpu_s_per_request: float
    workers_lost: int = 0
    stalled_share: float = 0.0
    silent_s: float = 0.0
    loop_lag_p50_s: float = 0.0


class Verdict(msgspec.Struct, frozen=True):
    """Whether the figures of a stage may be believed; reasons name limit, value and remedy. `notes` do not take from
    that, but are to be read with them."""

    valid: bool
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Metrics(msgspec.Struct, frozen=True):
    """Of some of a stage's requests (all, one target's, one adapter's). None: no value for it.

    Times in seconds; formulas: `measure.formulas.FORMULAS`. `*_from_due` count from when the request should have been
    sent. Latencies are of the whole answers to requests that were due in the stage without its cut; what is per second
    is what came within that time, whenever it was due. `e2e_at_least` is of unended requests too, with the time that
    they had had: what is true of all requests is not less. None where all ended.
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
    e2e_at_least: Distribution | None = None
    prompt_tokens: Distribution | None = None
    output_tokens: Distribution | None = None
    cached_tokens: Distribution | None = None
    schedule_delay: Distribution | None = None
    hold: Distribution | None = None
    client_lag: Distribution | None = None
    client_error: Distribution | None = None
    connection_wait: Distribution | None = None
    send: Distribution | None = None
    in_flight: Distribution | None = None
    token_mismatches: int = 0
    counted_by: str = "server"  # or "mixed", "chunks", "unknown"
    goodput: Goodput | None = None
    answers: Answers = Answers()


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
    drift: Drift | None = None


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
    given, without secrets. `ended`: complete, interrupted, failed, and why.

    `server` are signals over time, `server_side` what they come to in each stage. Of all stages together:
    `cost_per_million_tokens` is of output tokens (of a range of prices its middle), `joules_per_token` too."""

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
    server_side: ServerSummary | None = None
    scaling: ScalingSummary | None = None

    @property
    def valid(self) -> bool:
        return self.ended == "complete" and all(stage.verdict.valid for stage in self.stages)

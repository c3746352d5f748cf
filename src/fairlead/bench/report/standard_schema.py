"""The parts of llm-d's Benchmark Report v0.2 that are written and read here, as structs.

Names, nesting and units: llm-d-benchmark, `llmdbenchmark/analysis/benchmark_report/schema_v0_2.py`; v0.2.1 adds
optional fields only. What servers said of themselves is in `standard_observed`. Fields that are not known here are
passed over when another tool's report is read.
"""

from __future__ import annotations

from typing import Any

import msgspec

VERSION = "0.2"
READ_VERSIONS = (VERSION, "0.2.1")

STATISTIC_FIELDS = {
    0.1: "p0p1", 1.0: "p1", 5.0: "p5", 10.0: "p10", 25.0: "p25", 50.0: "p50", 75.0: "p75", 90.0: "p90", 95.0: "p95",
    99.0: "p99", 99.9: "p99p9",
}  # fmt: skip
"""Percentile -> its name in a report."""


class _Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Absent is left out, never zero."""


class Statistics(_Part, frozen=True):
    """`units`: count, s, ms, s/token, ms/token, tokens/s, queries/s, fraction, percent …"""

    units: str
    mean: float
    stddev: float | None = None
    min: float | None = None
    p0p1: float | None = None
    p1: float | None = None
    p5: float | None = None
    p10: float | None = None
    p25: float | None = None
    p50: float | None = None
    p75: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    p99p9: float | None = None
    max: float | None = None


class Requests(_Part, frozen=True):
    """`failures`: answered with an error; `incomplete`: not ended, by the client's doing. Lengths in `count`."""

    total: int
    failures: int | None = None
    incomplete: int | None = None
    input_length: Statistics | None = None
    output_length: Statistics | None = None


class Latency(_Part, frozen=True):
    """Of requests from when they were sent, of tokens between each other."""

    time_to_first_token: Statistics | None = None
    normalized_time_per_output_token: Statistics | None = None
    time_per_output_token: Statistics | None = None
    inter_token_latency: Statistics | None = None
    request_latency: Statistics | None = None


class Throughput(_Part, frozen=True):
    """Over the stage."""

    input_token_rate: Statistics | None = None
    output_token_rate: Statistics | None = None
    total_token_rate: Statistics | None = None
    request_rate: Statistics | None = None


class Aggregate(_Part, frozen=True):
    """All requests of the stage together."""

    requests: Requests | None = None
    latency: Latency | None = None
    throughput: Throughput | None = None


class Point(_Part, frozen=True):
    """`ts`: ISO 8601, the middle of a stretch of time, which YAML's readers may have made a time of; `value` of what is
    one number, percentiles of what is many."""

    ts: Any
    value: Any = None
    mean: float | None = None
    min: float | None = None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None


class TimeSeries(_Part, frozen=True):
    """In order of time."""

    units: str
    series: list[Point]


class LatencySeries(_Part, frozen=True):
    """Of requests by when they were due."""

    time_to_first_token: TimeSeries | None = None
    time_per_output_token: TimeSeries | None = None
    inter_token_latency: TimeSeries | None = None
    request_latency: TimeSeries | None = None


class ThroughputSeries(_Part, frozen=True):
    """Of whole answers by when their requests were due."""

    output_token_rate: TimeSeries | None = None
    request_rate: TimeSeries | None = None


class TimeSeriesPerformance(_Part, frozen=True):
    """The stage as it went on."""

    latency: LatencySeries | None = None
    throughput: ThroughputSeries | None = None


class RequestPerformance(_Part, frozen=True):
    """What a client sees."""

    aggregate: Aggregate | None = None
    time_series: TimeSeriesPerformance | None = None


class SessionRequests(_Part, frozen=True):
    """`events` are requests. `session_rate` in queries/s, durations in s, all else in `count`."""

    total: int
    succeeded: int | None = None
    failed: int | None = None
    total_events: int | None = None
    total_events_completed: int | None = None
    total_events_cancelled: int | None = None
    session_rate: Statistics | None = None
    session_duration: Statistics | None = None
    events_per_session: Statistics | None = None
    input_tokens_per_session: Statistics | None = None
    output_tokens_per_session: Statistics | None = None


class SessionPerformance(_Part, frozen=True):
    """Of sessions that were due in the stage."""

    sessions: SessionRequests | None = None


class Results(_Part, frozen=True):
    """`observability` is open: besides its own fields a signal by its name, of components; `profiling` is anything."""

    request_performance: RequestPerformance | None = None
    session_performance: SessionPerformance | None = None
    observability: dict[str, Any] | None = None
    component_health: list[Any] | None = None
    profiling: Any = None


class SequenceLength(_Part, frozen=True):
    """`distribution`: fixed, gaussian, uniform or other."""

    distribution: str
    value: float
    std_dev: float | None = None
    min: int | None = None
    max: int | None = None


class MultiTurn(_Part, frozen=True):
    """Whether requests follow each other in sessions, and how many at most."""

    enabled: bool
    max_turns: SequenceLength | None = None


class Prefix(_Part, frozen=True):
    """Beginnings that prompts share. `num_prefixes`: in a group."""

    prefix_len: SequenceLength
    num_groups: int
    num_users_per_group: int
    num_prefixes: int


class LoadStandardized(_Part, frozen=True):
    """`source`: random, sampled or unknown."""

    tool: str
    tool_version: str
    source: str
    input_seq_len: SequenceLength
    parallelism: int = 1
    stage: int = 0
    output_seq_len: SequenceLength | None = None
    prefix: Prefix | None = None
    multi_turn: MultiTurn | None = None
    rate_qps: float | None = None
    concurrency: float | None = None


class LoadMetadata(_Part, frozen=True):
    """`cfg_id`: the same for the same configuration."""

    cfg_id: str | None = None
    description: str | None = None


class Native(_Part, frozen=True):
    """As the tool itself was told."""

    args: dict[str, Any] | None = None
    envars: dict[str, Any] | None = None
    config: Any = None


class Load(_Part, frozen=True):
    """What was asked."""

    metadata: LoadMetadata
    standardized: LoadStandardized
    native: Native


class ComponentMetadata(_Part, frozen=True):
    """`label` is the name by which results refer to it."""

    label: str
    cfg_id: str


class Component(_Part, frozen=True):
    """`standardized` by its `kind`: generic, or inference_engine where all that it asks for is known."""

    metadata: ComponentMetadata
    standardized: dict[str, Any]
    native: Native


class Scenario(_Part, frozen=True):
    """Who was asked, and what."""

    stack: list[Component] | None = None
    load: Load | None = None


class RunTime(_Part, frozen=True):
    """ISO 8601, which YAML's readers may have made a time of."""

    start: Any = None
    end: Any = None
    duration: str | None = None


class Run(_Part, frozen=True):
    """`uid`: of this report; `eid`: of the run, which has a report for each stage; `pid`: what made the load."""

    uid: str
    eid: str | None = None
    pid: str | None = None
    time: RunTime | None = None
    description: str | None = None
    keywords: list[str] | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One stage."""

    version: Any
    run: Run
    scenario: Scenario | None = None
    results: Results

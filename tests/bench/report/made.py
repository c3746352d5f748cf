"""Runs made up for the tests of reports and comparisons: summaries by hypothesis, records of a queue."""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Iterator

from hypothesis import strategies as st

from fairlead.bench.record import Outcome, Record
from fairlead.bench.scaling_summary import (
    Efficiency,
    Moments,
    PodLife,
    ReplicaTime,
    ScalingSummary,
    WorkloadScaling,
)
from fairlead.bench.server_side.figures import ServerFigures, ServerStage, ServerSummary
from fairlead.bench.summary import (
    PERCENTILES,
    ClientHealth,
    Distribution,
    Drift,
    Goodput,
    Interval,
    Metrics,
    RunSummary,
    SearchResult,
    SearchStep,
    Series,
    StageSummary,
    Verdict,
)

seconds = st.floats(1e-6, 1e4)
odd = seconds | st.sampled_from([math.nan, math.inf, 0.0])
"""What has no value, as another tool's report leaves out, and what a division by nought gives."""
DISTRIBUTIONS = ("ttft", "ttft_from_due", "tpot", "ntpot", "itl", "e2e", "prompt_tokens", "schedule_delay")
FAILURES = ("HTTP_5XX", "RATE_LIMITED", "ABORTED")


@st.composite
def distributions(draw: st.DrawFn) -> Distribution:
    values = sorted(draw(st.lists(seconds, min_size=len(PERCENTILES), max_size=len(PERCENTILES))))
    middle = values[5]
    percentiles = dict(zip(PERCENTILES, values, strict=True))
    some = draw(st.sets(st.sampled_from(PERCENTILES)))
    return Distribution(
        draw(st.integers(1, 10**6)), "s", middle, draw(odd), values[0], draw(st.sampled_from([values[-1], math.nan])),
        {p: v for p, v in percentiles.items() if p not in some}, {50.0: Interval(middle * 0.9, middle * 1.1)},
    )  # fmt: skip


@st.composite
def metrics(draw: st.DrawFn) -> Metrics:
    maybe = st.none() | distributions()
    whole, failed = draw(st.integers(0, 1000)), draw(st.integers(0, 50))
    share = whole / max(1, whole + failed)
    goodput = Goodput(share, Interval(share * 0.9, min(1.0, share * 1.1)), whole, whole + failed, 1.0, 10.0, None)
    return Metrics(
        whole + failed, whole, {draw(st.sampled_from(FAILURES)): failed} if failed else {}, draw(odd), draw(odd),
        draw(odd), draw(odd), **{name: draw(maybe) for name in DISTRIBUTIONS},
        goodput=draw(st.sampled_from([None, goodput])),
    )  # fmt: skip


@st.composite
def stages(draw: st.DrawFn, index: int) -> StageSummary:
    of = draw(st.sampled_from(["rate", "users", "trace"]))
    reasons = draw(st.sampled_from([(), ("client lag p99 is 80 ms, above client.lag_ms 10",)]))
    nan = math.nan
    client = draw(st.sampled_from([ClientHealth(1e-4, 2e-3, 1e-3, 0.3, 2e-4), ClientHealth(nan, nan, nan, nan, nan)]))
    intended = draw(st.integers(1, 1000).map(float) | st.sampled_from([0.5, math.nan]))
    return StageSummary(
        index, f"stage {index}", of, intended, draw(odd), 30.0 * index, 30.0 * index + 30, draw(metrics()), client,
        Verdict(not reasons, reasons), by_adapter=draw(st.dictionaries(st.text(max_size=5), metrics(), max_size=2)),
        by_turn={0: draw(metrics()), 1: draw(metrics())} if draw(st.booleans()) else {},
        drift=draw(st.sampled_from([None, Drift(0.01, 1e-5, None, None, False, True)])),
    )  # fmt: skip


searches = st.sampled_from(
    [
        None,
        SearchResult("rate", None, 2.0, (SearchStep(0, 2.0, "failed", "attainment 80 %"),), "nothing was kept"),
        SearchResult("users", 8.0, None, (SearchStep(0, 8.0, "kept", "attainment 99 %"),), "high was reached"),
    ]
)
SERVER = (
    Series("engine-0", "kv_cache_usage", "fraction", (1.0, 2.0, 3.0), (0.5, None, 0.7)),
    Series("target-0", "running_requests", "count", (1.0, 2.0), (4.0, 5.0)),
    Series("gateway", "components", "1/s", (1.0, 2.0), (math.nan, 5.0)),
)


SERVER_SIDE = ServerSummary(
    (ServerStage(0, 0.0, 30.0, by_engine={"engine-1": ServerFigures(30.0, restarts=1)}),), {"engine-1": "vllm"}
)
POD = PodLife("pod-1", "r", Moments(created=2.0, ready=9.0), Moments(created=2.0))
NO_TIME = ReplicaTime("", 0.0, 30.0, 60.0, 60.0, 50.0)
SCALING = ScalingSummary(
    (
        WorkloadScaling(
            "Deployment/default/d", (0.0, 10.0, 20.0), (1, 3, None), (1.0, 3.0, None), (1, 2, None), (), (), (), 0,
            (POD,),
        ),
    ),
    (NO_TIME,), NO_TIME, (), Efficiency("replica", 60.0, 50.0, 90.0),
)  # fmt: skip


@st.composite
def runs(draw: st.DrawFn) -> RunSummary:
    count = draw(st.integers(1, 3))
    asked: list[dict[str, object]] = [
        {}, {"load": {"kind": "closed", "stages": [{"users": 3}] * 3}},
        {"content": {"kind": "synthetic", "prefixes": [{"count": 4, "tokens": {"kind": "fixed", "tokens": 99}}] * 2}},
        {"content": {"kind": "synthetic", "conversations": {"turns": {"kind": "uniform", "low": 1, "high": 7}}}},
        {"content": {"kind": "trace", "path": "t.csv"}, "load": {"kind": "trace", "speed": math.inf}},
        {"load": {"kind": "open", "stages": [{"rate_per_s": 1.0, "to_rate_per_s": 9.0}] * 3}, "workers": 4},
        {"server": {"accelerator": "H100", "accelerators": 2}},
    ]  # fmt: skip
    return RunSummary(
        draw(st.from_regex(r"\A2026112\d-1[0-9]{5}-[0-9a-f]{4}\Z")), draw(st.text(max_size=20)),
        draw(st.sampled_from(["2026-11-29T10:00:00.000000Z", "", "yesterday"])), 30.0 * count,
        draw(st.sampled_from(["complete", "interrupted"])), "",
        draw(st.just({}) | st.sampled_from(asked).map(lambda over: config(**over))), {"fairlead": "0.1.0", "cores": 2},
        tuple(draw(stages(k)) for k in range(count)), draw(searches), server=SERVER,
        server_side=draw(st.sampled_from([None, SERVER_SIDE])), scaling=draw(st.sampled_from([None, SCALING])),
    )  # fmt: skip


def config(**over: object) -> dict[str, object]:
    return {
        "targets": [{"url": "http://127.0.0.1:8000", "model": "m", "api": "completions"}],
        "load": {"kind": "open", "stages": [{"rate_per_s": 10.0}]},
        "content": {"kind": "synthetic", "prompt_tokens": {"kind": "fixed", "tokens": 64}},
        "labels": {"branch": "main"},
    } | over


def one_run(
    identity: str = "a", factor: float = 1.0, requests: int = 1000, end_s: float = 30.0, **over: object
) -> RunSummary:
    """A stage of 10/s whose latencies are `factor` times 100 ms and so on."""

    def of(middle_s: float) -> Distribution:
        ladder = {p: middle_s * factor * (0.5 + p / 100) for p in PERCENTILES}
        near = {p: Interval(v * 0.98, v * 1.02) for p, v in ladder.items() if p in (50.0, 90.0, 99.0)}
        mean = middle_s * factor
        return Distribution(requests, "s", mean, 0.3 * mean, 0.4 * mean, 1.6 * mean, ladder, near)

    measured = Metrics(
        requests, requests, {}, end_s, 10.0, 640.0, 160.0, ttft=of(0.1), ttft_from_due=of(0.1), tpot=of(0.01),
        ntpot=of(0.02), itl=of(0.01), e2e=of(0.3), e2e_from_due=of(0.3), schedule_delay=of(1e-4),
    )  # fmt: skip
    stage = StageSummary(
        0, "10/s", "rate", 10.0, 10.0, 0.0, end_s, measured, ClientHealth(1e-4, 2e-3, 1e-3, 0.3, 2e-4), Verdict(True)
    )
    values: dict[str, object] = {"config": config(), "environment": {"fairlead": "0.1.0"}, "stages": (stage,)} | over
    return RunSummary(
        id=identity, name=identity, began="2026-11-29T10:00:00.000000Z", seconds=30.0, ended="complete", why_ended="",
        **values,  # type: ignore[arg-type]
    )  # fmt: skip


def records(count: int, seed: int, factor: float = 1.0, rate_per_s: float = 10.0, stage: int = 0) -> Iterator[Record]:
    """Answers of a server whose first token takes about 100 ms · factor and whose tokens come 10 ms · factor apart."""
    rng = random.Random(seed)
    due_s = 0.0
    for number in range(count):
        due_s += rng.expovariate(rate_per_s)
        first_s = 0.1 * factor * rng.lognormvariate(0, 0.4)
        times = array("f", [first_s])
        for _ in range(7):
            times.append(times[-1] + 0.01 * factor * rng.lognormvariate(0, 0.2))
        failed = rng.random() < 0.01
        outcome = Outcome.HTTP_5XX if failed else Outcome.WHOLE
        sent_s, nan = due_s + 2e-4, float("nan")
        yield Record(
            number, 0, stage, 0, -1, 0, int(outcome), 500 if failed else 200, due_s, sent_s, sent_s, sent_s + first_s,
            nan if failed else sent_s + times[0], nan if failed else sent_s + times[-1], sent_s + times[-1], 64, 8, 8,
            64, 8, -1, False, nan, 1e-4, "length", "", b"" if failed else times.tobytes(), b"",
        )  # fmt: skip

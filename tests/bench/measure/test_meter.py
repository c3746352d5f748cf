"""Stages of records that are known one by one: figures, cuts, what is counted."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.bench.config import Benchmark, ClosedLoop, ClosedStage, Cut, Objective, OpenLoop, OpenStage, Target
from fairlead.bench.load.stages import stages
from fairlead.bench.measure import formulas
from fairlead.bench.measure.goodput import is_good
from fairlead.bench.measure.meter import StageMeter
from fairlead.bench.record import Outcome, Record
from fairlead.bench.records.columns import columns_of
from fairlead.bench.summary import Metrics, StageSummary
from fairlead.bench.wire import Pulse

Make = Callable[..., Record]
TARGETS = (Target(url="http://a", model="m", name="a"), Target(url="http://b", model="m", name="b"))


def config(rate: float = 10.0, seconds: float = 10.0, **other: Any) -> Benchmark:
    load = OpenLoop(stages=(OpenStage(rate_per_s=rate, seconds=seconds),), process="constant")
    return Benchmark(**{"targets": TARGETS, "load": load, "objective": Objective(ttft_ms=200.0), **other})


def measured(records: list[Record], given: Benchmark | None = None, end_s: float = 10.0, each: int = 7) -> StageSummary:
    given = given or config()
    meter = StageMeter(stages(given.load)[0], given)
    for at in range(0, len(records), each):
        meter.add(records[at : at + each])
    for second in range(int(end_s)):
        meter.pulse(Pulse(0, second + 1.0, 0.1, 1.0, 1, 1, 1, 1, 1.0, [1e-4] * 50))
    return meter.summary(end_s)


def even(record: Make, count: int = 100, every_s: float = 0.1, **other: Any) -> list[Record]:
    return [record(k * every_s, number=k, **other) for k in range(count)]


def test_each_formula_on_one_answer(record: Make) -> None:
    # Due at 1, sent at 1.5 (0.3 client, 0.2 connection), tokens at 0.1, 0.2, 0.2 (one read), 0.5 after that.
    one = record(1.0, ttft_s=0.1, gaps_s=(0.1, 0.0, 0.3), lag_s=0.3, wait_s=0.2)
    columns = columns_of([one])
    said = {name: getattr(formulas, name)(columns)[0] for name in (
        "ttft", "ttft_from_due", "e2e", "e2e_from_due", "tpot", "ntpot", "schedule_delay", "connection_wait", "send",
    )}  # fmt: skip
    assert said == pytest.approx({
        "ttft": 0.1, "ttft_from_due": 0.6, "e2e": 0.5, "e2e_from_due": 1.0, "tpot": 0.4 / 3, "ntpot": 0.5 / 4,
        "schedule_delay": 0.5, "connection_wait": 0.2, "send": 0.0,
    })  # fmt: skip
    gaps = formulas.itl(columns)
    assert gaps.seconds == pytest.approx([0.1, 0.3], rel=1e-5)  # no gap of nought is made up
    assert gaps.merged == 1


def test_gaps_are_never_between_two_answers(record: Make) -> None:
    columns = columns_of([record(0, gaps_s=()), record(0, gaps_s=(0.5,)), record(0, gaps_s=(0.25, 0.125))])
    gaps = formulas.itl(columns)
    assert gaps.seconds == pytest.approx([0.5, 0.25, 0.125], rel=1e-5)
    assert gaps.owner.tolist() == [1, 2, 2]


def test_the_servers_count_goes_before_the_events(record: Make) -> None:
    several = record(0, gaps_s=(0.1,), tokens=(1, 4), server_output_tokens=6)
    silent = record(0, gaps_s=(0.1,), tokens=(1, 4), server_output_tokens=-1)
    unknown = record(0, gaps_s=(0.1,), tokens=(0, 0), server_output_tokens=-1)
    columns = columns_of([several, silent, unknown])
    assert formulas.output_tokens(columns).tolist() == [6, 5, 2]
    assert formulas.counted_tokens(columns).tolist() == [5, 5, -1]


def test_one_token_has_no_time_per_further_token(record: Make) -> None:
    columns = columns_of([record(0, gaps_s=())])
    assert np.isnan(formulas.tpot(columns)[0])
    assert is_good(columns, Objective(tpot_ms=1, itl_ms=1)).all()


def test_good_is_whole_and_within_every_bound_from_due(record: Make) -> None:
    rows = [
        record(0, ttft_s=0.15),
        record(0, ttft_s=0.15, lag_s=0.1),  # late by the client's fault, and late all the same
        record(0, ttft_s=0.15, outcome=Outcome.CUT),
        record(0, ttft_s=0.15, gaps_s=(0.01,) * 199 + (0.3,)),  # one long gap of 200
        record(0, ttft_s=0.15, gaps_s=(0.01,) * 9 + (0.3,)),
    ]
    found = is_good(columns_of(rows), Objective(ttft_ms=200, itl_ms=100))
    assert found.tolist() == [True, False, False, True, False]


def test_an_even_stage_has_the_figures_it_must(record: Make) -> None:
    found = measured(even(record))
    metrics = found.metrics
    assert found.verdict.valid, found.verdict
    assert (metrics.requests, metrics.whole, metrics.counted_by) == (100, 100, "server")
    assert found.achieved_rate_per_s == pytest.approx(10)
    assert metrics.output_tokens_per_s == pytest.approx(40, rel=0.02)
    assert metrics.ttft is not None and metrics.in_flight is not None and metrics.goodput is not None
    assert metrics.ttft.percentiles[50.0] == pytest.approx(0.1, rel=0.005)
    assert metrics.in_flight.mean == pytest.approx(10 * 0.13, rel=0.05)
    assert (metrics.goodput.attainment, metrics.goodput.kept) == (1.0, True)
    assert metrics.e2e_at_least is None
    assert 99.9 not in metrics.ttft.intervals and 50.0 in metrics.ttft.intervals


def test_what_is_cut_counts_for_rates_and_not_for_latencies(record: Make) -> None:
    slow = [record(k * 0.1, ttft_s=5.0 if k < 20 or k >= 80 else 0.1) for k in range(100)]
    found = measured(slow, config(cut=Cut(warm_up_s=2.0, cool_down_s=2.0)))
    assert found.metrics.ttft is not None
    assert (found.metrics.requests, found.metrics.seconds) == (60, 6.0)
    assert found.metrics.ttft.maximum == pytest.approx(0.1)
    # Twenty of the warm-up answer within the window, as sixty of its own do.
    assert found.metrics.requests_per_s == pytest.approx(80 / 6, rel=0.05)


@pytest.mark.parametrize("each", [3, 600])
def test_the_cool_down_of_a_stage_whose_end_is_not_known_before(record: Make, each: int) -> None:
    load = ClosedLoop(stages=(ClosedStage(users=1, requests=1000),))
    given = config(load=load, cut=Cut(cool_down_s=2.0))
    slow = [record(k * 0.01, ttft_s=0.005 if k < 800 else 0.5, gaps_s=()) for k in range(1000)]
    found = measured(slow, given, each=each)
    assert found.metrics.ttft is not None
    assert found.metrics.requests == 800
    assert found.metrics.ttft.maximum == pytest.approx(0.005)


def test_unended_requests_are_told_and_bound_what_the_survivors_hide(record: Make) -> None:
    hung = {"outcome": Outcome.TIMEOUT, "chunk_times": b"", "output_chunks": 0}
    some = even(record, 90) + [record(9 + k * 0.1, **hung, end_s=39 + k * 0.1) for k in range(10)]
    metrics = measured(some).metrics
    assert metrics.failures == {"TIMEOUT": 10}
    assert metrics.e2e is not None and metrics.e2e_at_least is not None and metrics.goodput is not None
    assert metrics.e2e.maximum < 1
    assert metrics.e2e_at_least.percentiles[95.0] == pytest.approx(30, rel=0.01)
    assert metrics.goodput.attainment == 0.9
    assert any("survivors" in note for note in measured(some).verdict.notes)


def test_what_the_end_of_the_run_cut_off_is_neither_good_nor_bad(record: Make) -> None:
    cut = {"outcome": Outcome.ABORTED, "chunk_times": b"", "output_chunks": 0, "first_token_s": float("nan")}
    good = even(record, 80)
    early = [record(9.9, **cut, end_s=10.0) for _ in range(10)]  # within 200 ms: might have come in time
    late = [record(9.0, **cut, end_s=10.0) for _ in range(10)]
    found = measured(good + early).metrics.goodput
    bad = measured(good + late).metrics.goodput
    assert found is not None and bad is not None
    assert (found.judged, found.attainment, found.kept) == (80, 1.0, None)
    assert found.interval.low < 80 / 90 and found.interval.high == 1.0
    assert (bad.judged, bad.attainment) == (90, 80 / 90)


def test_adapters_beyond_the_most_that_are_told_apart_are_noted(record: Make) -> None:
    found = measured([record(k * 0.01, adapter=k) for k in range(140)])
    assert len(found.by_adapter) == 128
    assert found.metrics.requests == 140
    assert any("figures of their own" in note for note in found.verdict.notes)


def test_answers_that_are_not_what_was_asked_for_are_counted(record: Make) -> None:
    odd = [
        record(0, asked_output_tokens=9), record(0.1, asked_output_tokens=2),
        record(0.2, server_output_tokens=2), record(0.3, server_output_tokens=-1), record(0.4, retried=True),
        record(0.5, server_prompt_tokens=16), record(0.6, outcome=Outcome.ABORTED, sent_s=float("nan"), end_s=9.0),
    ]  # fmt: skip
    metrics = measured(odd).metrics
    said = metrics.answers
    assert (said.shorter, said.longer, said.repeated, said.miscounted) == (2, 1, 1, 1)
    assert (said.uncounted, said.retried, said.unsent, said.unended) == (1, 1, 1, 1)
    assert metrics.counted_by == "mixed"
    assert said.prompt_error == pytest.approx(8 / 48)


def test_answers_in_one_piece_have_no_first_token(record: Make) -> None:
    whole = msgspec.structs.replace(TARGETS[0], stream=False)
    metrics = measured(even(record, gaps_s=()), config(targets=(whole,), objective=None)).metrics
    assert metrics.ttft is None and metrics.itl is None and metrics.tpot is None
    assert metrics.e2e is not None and metrics.ntpot is not None


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(-1, 2), st.integers(0, 3)), min_size=1, max_size=60))
def test_parts_are_the_whole(record: Make, keys: list[tuple[int, int, int]]) -> None:
    some = [record(k * 0.05, ttft_s=0.01 * (1 + k), target=t, adapter=a, turn=n) for k, (t, a, n) in enumerate(keys)]
    given = config()
    meter = StageMeter(stages(given.load)[0], given, ["x", "y", "z"])
    for at in range(0, len(some), 5):
        meter.add(some[at : at + 5])
        meter._measure(None)
    found = meter.summary(10.0)
    assert_parts(found, found.by_target, {TARGETS[t].name for t, _, _ in keys})
    assert_parts(found, found.by_adapter, {["x", "y", "z", ""][a] for _, a, _ in keys})
    assert_parts(found, found.by_turn, {n for _, _, n in keys})


def assert_parts(found: StageSummary, parts: dict[Any, Metrics], names: set[Any]) -> None:
    if len(names) == 1:
        assert parts == {}
        return
    assert set(parts) == names
    assert sum(part.requests for part in parts.values()) == found.metrics.requests
    assert sum(part.output_tokens_per_s for part in parts.values()) == pytest.approx(found.metrics.output_tokens_per_s)
    of = [part.ttft for part in parts.values() if part.ttft is not None]
    assert found.metrics.ttft is not None
    assert min(d.minimum for d in of) == found.metrics.ttft.minimum
    assert sum(d.mean * d.count for d in of) == pytest.approx(found.metrics.ttft.mean * found.metrics.requests)


def queue(rate: float, capacity: float, seconds: float, seed: int, make: Make) -> list[Record]:
    """Poisson arrivals at one server with exponential service, first come first served (M/M/1)."""
    chance = random.Random(seed)
    due_s = free_s = 0.0
    made = []
    while (due_s := due_s + chance.expovariate(rate)) < seconds:
        free_s = max(free_s, due_s) + chance.expovariate(capacity)
        made.append(make(due_s, ttft_s=free_s - due_s, gaps_s=(0.01,)))
    return made


def test_a_queue_that_grows_is_saturated_and_one_that_does_not_is_not(record: Make) -> None:
    def saturated(rate: float, seed: int) -> bool:
        load = OpenLoop(stages=(OpenStage(rate_per_s=rate, seconds=60),))
        found = measured(queue(rate, 20.0, 60.0, seed, record), config(load=load), 60.0, each=500)
        assert found.drift is not None
        return found.drift.saturated

    assert sum(saturated(30.0, seed) for seed in range(10)) >= 9
    assert sum(saturated(10.0, seed) for seed in range(10)) <= 1


def test_memory_does_not_grow_with_requests(record: Make) -> None:
    given = config(rate=100.0, seconds=200.0)
    meter = StageMeter(stages(given.load)[0], given)

    def add(begin: int, end: int) -> None:
        for at in range(begin, end, 500):
            meter.add(
                [record(k * 0.01, number=k, ttft_s=0.1 + k % 97 / 1e3, target=k % 2) for k in range(at, at + 500)]
            )

    add(0, 6000)
    tracemalloc.start()
    try:
        add(6000, 8000)
        before, _ = tracemalloc.get_traced_memory()
        add(8000, 14_000)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # What waits to be told apart is bounded, and as much at both times as may be: that of 6,000 requests is 8 MB.
    assert after - before < 3e6

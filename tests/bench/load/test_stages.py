"""Points in time of a load: even where they are to be even, as random as they are to be, as many as were asked for."""

import statistics
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.bench.config import ClosedLoop, ClosedStage, OpenLoop, OpenStage, Search, TracedTimes
from fairlead.bench.load.stages import StagePlan, due_times, stages

PROCESSES = ["constant", "poisson", "gamma"]


def times(load, seed=0, traced=()):
    return [list(due_times(plan, load, seed, traced)) for plan in stages(load, traced)]


def cv(points):
    gaps = [b - a for a, b in pairwise(points)]
    return statistics.pstdev(gaps) / statistics.fmean(gaps)


def test_constant_is_exactly_even_also_over_the_seam_of_two_stages():
    load = OpenLoop(process="constant", stages=(OpenStage(rate_per_s=100, seconds=20),) * 2)
    one, two = times(load)
    assert len(one) == len(two) == 2000
    assert all(abs(b - a - 0.01) < 1e-9 for a, b in pairwise(one + two))


@pytest.mark.parametrize(("process", "asked", "low", "high"), [("poisson", 1.0, 0.95, 1.05), ("gamma", 2.5, 2.2, 2.8)])
def test_random_processes_have_their_spread_and_rate(process, asked, low, high):
    load = OpenLoop(process=process, cv=asked, stages=(OpenStage(rate_per_s=50, seconds=400),))
    (points,) = times(load)
    assert low < cv(points) < high
    assert len(points) == pytest.approx(20_000, rel=0.06)


@pytest.mark.parametrize("process", PROCESSES)
def test_a_stage_told_by_requests_has_exactly_so_many(process):
    load = OpenLoop(process=process, cv=2.0, stages=(OpenStage(rate_per_s=7, requests=100),) * 2)
    for seed in range(20):
        for plan, points in zip(stages(load), times(load, seed), strict=True):
            assert len(points) == 100
            assert plan.begin_s <= points[0] and points[-1] <= plan.end_s


@pytest.mark.parametrize("process", PROCESSES)
def test_the_first_of_seconds_and_requests_ends_a_stage(process):
    load = OpenLoop(process=process, stages=(OpenStage(rate_per_s=10, seconds=10, requests=30),))
    assert len(times(load)[0]) == 30
    load = OpenLoop(process=process, stages=(OpenStage(rate_per_s=10, seconds=1, requests=30),))
    assert len(times(load)[0]) < 30


def test_a_ramp_has_its_share_in_each_part():
    load = OpenLoop(process="constant", stages=(OpenStage(rate_per_s=1, to_rate_per_s=9, seconds=100),))
    (points,) = times(load)
    assert len(points) == 500
    assert sum(point < 50 for point in points) == 150  # the integral of 1 + 0.08 t


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(PROCESSES),
    st.lists(
        st.builds(
            OpenStage,
            rate_per_s=st.floats(0.05, 200),
            to_rate_per_s=st.none() | st.floats(0.05, 200),
            seconds=st.none() | st.floats(0.05, 4),
            requests=st.integers(1, 50),
        ),
        min_size=1,
        max_size=4,
    ),
    st.floats(0.1, 5),
    st.integers(0, 5),
)
def test_points_rise_and_lie_in_their_stages(process, given_stages, spread, seed):
    load = OpenLoop(process=process, cv=spread, stages=tuple(given_stages))
    end_s = 0.0
    for plan, points in zip(stages(load), times(load, seed), strict=True):
        assert plan.begin_s == end_s and plan.end_s > plan.begin_s
        end_s = plan.end_s
        assert all(a <= b for a, b in pairwise([plan.begin_s, *points, plan.end_s]))
        assert len(points) <= plan.requests
    assert times(load, seed) == times(load, seed)


def test_stages_of_users_begin_after_those_before():
    load = ClosedLoop(stages=(ClosedStage(users=1, seconds=5), ClosedStage(users=8, requests=10)))
    assert [(p.name, p.begin_s, p.end_s, p.requests) for p in stages(load)] == [
        ("1 user", 0.0, 5.0, None),
        ("8 users", 5.0, None, 10),
    ]


def test_a_step_of_a_search_is_an_open_stage():
    plan = StagePlan(0, "10/s", "rate", 10.0, 5.0, 8.0)
    assert len(list(due_times(plan, Search(process="constant"), 0))) == 30


TRACED = [0.0, 0.5, 1.0, 7.0, 7.5, 30.0]


@pytest.mark.parametrize("speed", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("stage_s", [None, 0.25, 2.0, 5.0, 100.0])
def test_a_trace_keeps_its_times_whatever_the_stages(speed, stage_s):
    load = TracedTimes(speed=speed, stage_s=stage_s)
    points = times(load, traced=TRACED)
    assert [p for stage in points for p in stage] == [t / speed for t in TRACED]
    plans = stages(load, TRACED)
    assert [plan.index for plan in plans] == list(range(len(plans)))
    for plan, stage in zip(plans, points, strict=True):
        assert len(stage) == plan.requests > 0
        assert all(plan.begin_s <= point < plan.end_s for point in stage)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=60).map(sorted), st.floats(0.01, 100), st.floats(0.5, 1e4))
def test_no_request_of_a_trace_is_lost_or_sent_twice(traced, speed, stage_s):
    load = TracedTimes(speed=speed, stage_s=stage_s)
    points = [p for stage in times(load, traced=traced) for p in stage]
    assert points == [t / speed for t in traced]


def test_loads_without_an_end_or_a_trace_are_refused():
    with pytest.raises(ValueError, match=r"load\.stages\[0\] has no end: give seconds or requests"):
        stages(OpenLoop(stages=(OpenStage(rate_per_s=1),)))
    with pytest.raises(ValueError, match="there is no trace"):
        stages(TracedTimes())
    with pytest.raises(ValueError, match=r"load\.kind is search"):
        stages(Search())
    with pytest.raises(ValueError, match=r"load\.stages is empty"):
        stages(ClosedLoop(stages=()))

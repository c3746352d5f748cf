"""Clocks that are compared over links of unlike delays: the truth is always within the bounds that are told."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead.bench.run.clocks import WorkerClock, agreed, exchanged

delays = st.tuples(st.integers(0, 10**9), st.integers(0, 10**9))
offsets = st.integers(-(10**18), 10**18)


@given(offsets, st.lists(delays, min_size=1, max_size=30), st.integers(0, 10**18))
def test_the_truth_is_within_the_bounds_however_unlike_the_ways_are(
    offset: int, ways: list[tuple[int, int]], at: int
) -> None:
    clock, bounds = WorkerClock(), []
    for there, back in ways:
        clock.add(at, at + there + offset, at + there + back)
        bounds.append(exchanged(at, at + there + offset, at + there + back))
        at += there + back
    together = agreed(bounds)
    assert together.low_ns <= offset <= together.high_ns
    assert together.error_ns <= min(bound.error_ns for bound in bounds)
    assert clock.far_ns >= max(there for there, _ in ways[-16:])  # what is sent so long before is there in time
    used = clock.begin()
    assert abs(used - offset) <= clock.worst_ns <= max(sum(way) for way in ways)


@given(offsets, st.integers(-500, 500), st.lists(delays, min_size=17, max_size=40))
def test_drift_is_bounded_too(offset: int, parts_per_million: int, ways: list[tuple[int, int]]) -> None:
    """A clock that goes too fast or slow: by now, times are off by no more than is told, but for what it drifted within
    the last exchanges."""
    clock, at = WorkerClock(), 10**12
    clock.add(at, at + offset, at)
    used = clock.begin()
    for there, back in ways:
        at += 10**9
        reading = at + there + offset + (at + there - 10**12) * parts_per_million // 10**6
        clock.add(at, reading, at + there + back)
        at += there + back
    now = offset + (at - 10**12) * parts_per_million // 10**6
    within = abs(16 * 3 * 10**9 * parts_per_million // 10**6) + 2
    assert abs(now - used) <= clock.wrong_ns + within
    assert clock.worst_ns >= clock.wrong_ns


def test_a_clock_that_was_set_is_told_by_how_much() -> None:
    clock = WorkerClock()
    for at in range(5):
        clock.add(at * 1000, at * 1000 + 50, at * 1000 + 100)
    assert clock.begin() == 0 and clock.wrong_ns == 50
    for at in range(5, 25):
        clock.add(at * 1000, at * 1000 + 50 + 7_000_000, at * 1000 + 100)
    assert clock.drift_ns == 7_000_000 and clock.worst_ns == 7_000_050

"""Replicas and accelerators over time: small cases worked out by hand, all of two pods, and sums over any number."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.replicas.made import life, line
from fairlead.bench.replicas.timeline import replica_time, start_ups
from fairlead.bench.scaling_summary import PodLife

WANTED = [(0.0, 1.0)]


def test_a_replica_is_paid_for_from_its_node_until_it_is_gone_and_counts_as_ready_in_between() -> None:
    of = line([(0.0, 2.0)], [life("a", -5.0, -3.0, accelerators=8.0), life("b", 10.0, 14.0, 30.0, 36.0, created=9.0)])
    time = replica_time("all", 0.0, 40.0, [of])
    assert time.allocated_replica_s == 40.0 + 26.0
    assert time.ready_replica_s == 40.0 + 16.0
    assert time.desired_replica_s == 80.0
    assert time.allocated_accelerator_s == 8 * 40.0, "the second asks for none"


def test_accelerators_are_the_pods_own_or_as_many_as_one_says() -> None:
    lives = [life("a", 0.0, 1.0, accelerators=4.0), life("b", 2.0, 3.0, created=1.0, accelerators=4.0)]
    own = replica_time("all", 0.0, 10.0, [line([(0.0, 2.0)], lives)])
    assert (own.allocated_accelerator_s, own.ready_accelerator_s, own.desired_accelerator_s) == (72.0, 64.0, 80.0)
    said = replica_time("all", 0.0, 10.0, [line([(0.0, 2.0)], lives, per_replica=0.5)])
    assert (said.allocated_accelerator_s, said.ready_accelerator_s, said.desired_accelerator_s) == (9.0, 8.0, 10.0)


def test_without_accelerators_there_are_none_and_not_nought() -> None:
    time = replica_time("all", 0.0, 10.0, [line(WANTED, [life("a", 0.0, 1.0)])])
    assert time.allocated_accelerator_s is None and time.desired_accelerator_s is None
    assert time.allocated_replica_s == 10.0


def test_a_replica_of_two_pods_is_ready_when_both_are_and_half_of_it_is_paid_for_with_one() -> None:
    leader = life("m-0", 2.0, 5.0, 20.0, 22.0, created=1.0, replica="m", size=2, accelerators=4.0)
    worker = life("m-1", 4.0, 8.0, 18.0, 24.0, created=1.0, replica="m", size=2, accelerators=4.0)
    of = line(WANTED, [leader, worker])
    assert [of.allocated.at(t) for t in (1, 3, 5, 23, 24)] == [0, 0.5, 1, 0.5, 0]
    assert [of.ready.at(t) for t in (5, 7.9, 8, 17.9, 18)] == [0, 0, 1, 1, 0]
    assert of.per_replica == 8.0
    assert of.accelerators is not None and of.accelerators.at(3) == 4.0
    assert of.ready_accelerators is not None and of.ready_accelerators.area(0, 30).sum == 8 * 10.0


def test_a_pod_of_the_same_name_that_comes_again_is_one_replica_at_a_time() -> None:
    first = life("s-0", 0.0, 1.0, 5.0, 6.0, created=0.0, accelerators=2.0)
    again = life("s-0", 7.0, 8.0, created=6.5, accelerators=2.0)
    of = line(WANTED, [first, again])
    assert of.per_replica == 2.0
    assert [of.ready.at(t) for t in (2, 5.5, 9)] == [1, 0, 1]


def test_a_pod_that_never_had_a_node_costs_nothing() -> None:
    of = line(WANTED, [life("a", None, None, created=3.0), life("b", None, None, 5.0, 6.0, created=3.0)])
    assert replica_time("all", 0.0, 10.0, [of]).allocated_replica_s == 0.0


def test_what_is_not_known_of_the_wanted_number_is_counted_apart() -> None:
    of = line([(0.0, 2.0)], [life("a", 0.0, 0.0)], gaps=[(4.0, 6.0)])
    time = replica_time("all", 0.0, 10.0, [of])
    assert (time.desired_replica_s, time.unknown_s) == (16.0, 2.0)
    assert time.allocated_replica_s == 10.0, "who was there before and after was there"


def test_an_end_that_nobody_saw_is_unsure_within_the_window_it_may_have_been_in() -> None:
    of = line(WANTED, [life("a", 0.0, 0.0, None, 8.0, accelerators=2.0, unsure_s=3.0)])
    assert replica_time("all", 0.0, 10.0, [of]).unsure_s == 2 * 3.0
    assert replica_time("late", 6.0, 10.0, [of]).unsure_s == 2 * 2.0
    assert replica_time("early", 0.0, 5.0, [of]).unsure_s == 0.0


def test_workloads_are_added() -> None:
    one, two = line(WANTED, [life("a", 0.0, 0.0)], per_replica=2), line(WANTED, [life("b", 5.0, 6.0)], per_replica=3)
    time = replica_time("all", 0.0, 10.0, [one, two])
    assert (time.allocated_replica_s, time.allocated_accelerator_s) == (15.0, 35.0)
    assert (time.ready_replica_s, time.ready_accelerator_s) == (14.0, 32.0)


def test_every_pair_of_small_lives_adds_up() -> None:
    """All lives of up to four seconds beside each other, against counting second by second."""
    every = list(itertools.combinations_with_replacement(range(5), 4))
    for first, second in itertools.combinations_with_replacement(every, 2):
        of = line(WANTED, [life("a", *first, created=0.0), life("b", *second, created=0.0)])
        for at in range(5):
            held = sum(one[0] <= at < one[3] for one in (first, second))
            ready = sum(one[1] <= at < one[2] for one in (first, second))
            assert (of.allocated.at(at), of.ready.at(at)) == (held, ready)


times = st.integers(0, 60).map(float)


@st.composite
def lives(draw: st.DrawFn) -> PodLife:
    moments = sorted(draw(st.lists(times, min_size=4, max_size=4)))
    return life(
        draw(st.text("abc", min_size=1, max_size=2)), *moments, created=moments[0],
        accelerators=draw(st.sampled_from([None, 1.0, 8.0])),
    )  # fmt: skip


@settings(max_examples=50)
@given(st.lists(lives(), max_size=6), times)
def test_stretches_add_up_to_the_whole_and_ready_is_never_more_than_paid_for(
    found: list[PodLife], cut_s: float
) -> None:
    of = line(WANTED, found)
    left, right, whole = (replica_time("", a, b, [of]) for a, b in ((0, cut_s), (cut_s, 60), (0, 60)))
    assert left.allocated_replica_s + right.allocated_replica_s == pytest.approx(whole.allocated_replica_s)
    assert left.ready_replica_s + right.ready_replica_s == pytest.approx(whole.ready_replica_s)
    assert whole.allocated_replica_s == pytest.approx(sum(p.seen.gone - p.seen.scheduled for p in found))  # type: ignore[operator]
    assert whole.ready_replica_s <= whole.allocated_replica_s + 1e-9
    expected = sum((p.accelerators or 0) * (p.seen.gone - p.seen.scheduled) for p in found)  # type: ignore[operator]
    assert (whole.allocated_accelerator_s or 0.0) == pytest.approx(expected)


def test_starts_are_of_the_pods_that_were_created_while_somebody_looked() -> None:
    found = [
        life("old", -9.0, -5.0), life("a", 11.0, 15.0, created=10.0), life("b", 22.0, 29.0, created=20.0),
        life("waits", None, None, created=30.0),
    ]  # fmt: skip
    starts = {start.to: start for start in start_ups(found)}
    assert (starts["scheduled"].count, starts["scheduled"].median_s, starts["scheduled"].longest_s) == (2, 1.5, 2.0)
    assert (starts["ready"].count, starts["ready"].median_s, starts["ready"].longest_s) == (2, 7.0, 9.0)

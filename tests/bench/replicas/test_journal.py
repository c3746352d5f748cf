"""Lives of pods as they were told of: by our clock where somebody looked, by the API's where nobody could."""

from __future__ import annotations

from typing import Any

import pytest

from bench.replicas.made import pod
from fairlead.bench.replicas.journal import Journal
from fairlead.bench.scaling_summary import PodLife

EPOCH_S = 1_000_000.0
"""Of the wall clock when the monotonic one is at nought."""
ORIGIN_S = 50.0


def told(journal: Journal) -> PodLife:
    (life,) = journal.lives(ORIGIN_S)
    return life


def at(monotonic_s: float, **state: float) -> Any:
    """A pod whose moments are told in seconds of the monotonic clock."""
    return pod(node="n" if "scheduled_s" in state else "", **{name: EPOCH_S + at_s for name, at_s in state.items()})  # type: ignore[arg-type]


def test_a_life_is_told_by_when_each_moment_was_seen() -> None:
    journal = Journal(EPOCH_S)
    course: list[dict[str, float]] = [
        {"created_s": 60.0},
        {"created_s": 60.0, "scheduled_s": 61.0},
        {"created_s": 60.0, "scheduled_s": 61.0, "running_s": 63.0},
        {"created_s": 60.0, "scheduled_s": 61.0, "running_s": 63.0, "ready_s": 66.0},
        {"created_s": 60.0, "scheduled_s": 61.0, "running_s": 63.0, "ready_s": 66.0, "deleted_s": 80.0},
    ]
    for seen_s, state in zip((60.2, 61.3, 63.4, 66.5, 80.6), course, strict=True):
        journal.is_there(at(0, **state), None, seen_s)
    journal.is_gone("a", 85.7)
    life = told(journal)
    moments = [life.seen.created, life.seen.scheduled, life.seen.started, life.seen.ready, life.seen.leaving]
    assert moments == pytest.approx([10.2, 11.3, 13.4, 16.5, 30.6])
    assert life.seen.gone == pytest.approx(35.7) and life.unsure_s == 0
    assert (life.told.created, life.told.leaving, life.told.gone) == (10.0, 30.0, None)
    assert life.ready == (pytest.approx((16.5, 30.6)),)


def test_what_was_there_before_is_placed_by_what_the_api_says() -> None:
    journal = Journal(EPOCH_S)
    journal.is_there(at(0, created_s=10.0, scheduled_s=11.0, running_s=12.0, ready_s=15.0), 2.0, 49.0, first=True)
    life = told(journal)
    assert life.seen.created is None and life.seen.ready is None
    assert life.at("scheduled") == -39.0 and life.ready == ((-35.0, None),)
    assert life.accelerators == 2.0


def test_a_pod_that_has_a_node_for_no_time_that_is_told_has_had_it_since_it_was_made() -> None:
    journal = Journal(EPOCH_S)
    journal.is_there(pod(node="n", created_s=EPOCH_S + 40.0), None, 49.0, first=True)
    assert told(journal).at("scheduled") == -10.0


def test_readiness_that_comes_and_goes_makes_several_spans() -> None:
    journal = Journal(EPOCH_S)
    ready, not_ready = at(0, created_s=60.0, ready_s=61.0), at(0, created_s=60.0)
    for seen_s, state in ((61.0, ready), (62.0, ready), (63.0, not_ready), (65.0, ready), (66.0, not_ready)):
        journal.is_there(state, None, seen_s)
    assert told(journal).ready == ((11.0, 13.0), (15.0, 16.0))


def test_what_happens_while_nobody_looks_is_placed_by_the_api_and_an_end_is_unsure() -> None:
    journal = Journal(EPOCH_S)
    journal.is_there(at(0, created_s=55.0, scheduled_s=55.0), None, 55.1)
    journal.blind(60.0)
    journal.blind(62.0)  # it goes on
    journal.is_there(at(0, created_s=55.0, scheduled_s=55.0, ready_s=63.0), None, 70.0)
    journal.is_gone("a", 70.5)
    journal.sees(71.0)
    life = told(journal)
    assert life.seen.ready is None and life.at("ready") == 13.0
    assert life.ready == ((13.0, 20.5),)
    assert life.seen.gone == 20.5 and life.unsure_s == 10.5
    assert journal.gaps(ORIGIN_S, 100.0) == ((10.0, 21.0),)


def test_a_gap_that_lasts_ends_with_the_watch_and_one_before_the_run_is_none() -> None:
    journal = Journal(EPOCH_S)
    journal.blind(40.0)
    journal.sees(45.0)
    journal.blind(70.0)
    assert journal.gaps(ORIGIN_S, 30.0) == ((20.0, 30.0),)


def test_a_gap_that_opens_again_before_a_good_look_is_one() -> None:
    journal = Journal(EPOCH_S)
    for since_s, seen_s in ((60.0, 70.0), (69.9, 80.0), (90.0, 95.0)):
        journal.blind(since_s)
        journal.sees(seen_s)
    assert journal.gaps(ORIGIN_S, 100.0) == ((10.0, 30.0), (40.0, 45.0))


def test_a_pod_that_is_over_holds_nothing_and_its_going_later_is_no_second_end() -> None:
    journal = Journal(EPOCH_S)
    journal.is_there(at(0, created_s=55.0, scheduled_s=55.0), 1.0, 55.0)
    journal.is_there(pod(node="n", phase="Succeeded"), 1.0, 60.0)
    journal.is_gone("a", 90.0)
    assert told(journal).seen.gone == 10.0


def test_devices_are_remembered_when_the_claim_is_gone() -> None:
    journal = Journal(EPOCH_S)
    for accelerators in (None, 4.0, None):
        journal.is_there(at(0, created_s=55.0), accelerators, 55.0)
    assert told(journal).accelerators == 4.0


def test_the_wanted_number_is_kept_as_it_changes() -> None:
    journal = Journal(EPOCH_S)
    for at_s, wanted in ((49.0, 1), (51.0, 1), (55.0, 3), (60.0, None), (61.0, 2)):
        journal.wants(wanted, at_s)
    steps = journal.wanted(ORIGIN_S)
    assert (steps.times_s, steps.values) == ((-1.0, 5.0, 10.0, 11.0), (1, 3, None, 2))


def test_a_loop_of_failing_pods_is_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairlead.bench.replicas.journal.MOST_PODS", 3)
    journal = Journal(EPOCH_S)
    for number in range(5):
        journal.is_there(pod(f"p{number}"), None, 60.0)
    assert len(journal.lives(ORIGIN_S)) == 3 and journal.forgotten == 2

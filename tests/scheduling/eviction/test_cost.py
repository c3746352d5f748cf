"""The cost model: values that can be reckoned by hand."""

from __future__ import annotations

import pytest

from fairlead.scheduling.eviction import Rank, price_of
from fairlead.scheduling.eviction.cost import weight_of
from fairlead.scheduling.snapshot import PodFacts, PodView
from scheduling.eviction.worlds import HOUR_S, NOW_S, shape


def pod(hours: float | None = None, facts: PodFacts | None = None) -> PodView:
    started_s = None if hours is None else NOW_S - hours * HOUR_S
    return PodView("ns", "p", "p", shape(1), started_s=started_s, facts=facts)


@pytest.mark.parametrize(
    ("facts", "weight"),
    [
        (None, 1),
        (PodFacts(), 1),
        (PodFacts(work="serving"), 2),
        (PodFacts(work="batch"), 0.001),
        (PodFacts(progress=0.0), 1),
        (PodFacts(progress=0.5), 2),
        (PodFacts(progress=0.9), 10),
        (PodFacts(progress=1.0), 10),
        (PodFacts(progress=7.0), 10),
        (PodFacts(progress=-1.0), 1),
        (PodFacts(warmth=0.5), 2.5),
        (PodFacts(warmth=1.0, work="serving"), 8),
    ],
)
def test_weights(facts: PodFacts | None, weight: float) -> None:
    assert weight_of(facts) == pytest.approx(weight)


def test_one_for_the_disturbance_and_one_for_every_hour() -> None:
    assert price_of([pod()]).at(NOW_S) == 1
    assert price_of([pod(hours=3)]).at(NOW_S) == pytest.approx(4)
    assert price_of([pod(hours=3), pod(hours=1, facts=PodFacts(work="serving"))]).at(NOW_S) == pytest.approx(8)
    assert price_of([pod(hours=3)]).text(NOW_S) == "4 (1 pod: 1 + 3 of work lost)"


def test_a_clock_that_was_set_back_makes_nothing_cheaper_than_new() -> None:
    assert price_of([pod(hours=-5)]).at(NOW_S) == 1


def test_ranks_compare_from_the_left() -> None:
    plans = [
        Rank(0, 1, 9, 9, 9, 9.0),
        Rank(0, 2, 1, 1, 2, 1.0),
        Rank(0, 2, 1, 1, 2, 2.0),
        Rank(0, 2, 2, 1, 2, 0.0),
        Rank(1, 0, 1, 1, 0, 0.0),
    ]
    assert sorted(reversed(plans)) == plans
    assert str(plans[0]) == "9 pods of 9 gangs, the highest priority 1, cost 9 pod-hours"
    assert str(plans[4]).endswith("1 against a disruption budget")
    assert str(Rank()) == "nothing evicted"

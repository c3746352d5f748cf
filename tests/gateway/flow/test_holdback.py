from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.flow import FlowSettings, Holdback, HoldbackDomain
from fairlead.gateway.flow.holdback import compute_ceilings


def ceilings(priorities: list[int], holdback: Holdback | None = None, sheddable: float = 1.0) -> list[float]:
    return compute_ceilings(priorities, FlowSettings(holdback=holdback, sheddable_ceiling=sheddable))


def test_ranks_are_evenly_spaced() -> None:
    assert ceilings([100, 7, 6], Holdback(0.4, 0.8)) == pytest.approx([0.8, 0.6, 0.4])


def test_values_are_spaced_like_the_numbers() -> None:
    assert ceilings([10, 1, 0], Holdback(0.5, 1.0, HoldbackDomain.VALUE)) == pytest.approx([1.0, 0.55, 0.5])


def test_a_lone_priority_is_not_held_back() -> None:
    assert ceilings([-3], Holdback(0.2), 0.5) == [1.0]


def test_what_may_be_shed_leaves_room_for_what_must_not() -> None:
    assert ceilings([0, -1, -2], None, 0.9) == [1.0, 0.9, 0.9]
    assert ceilings([-1, -2], None, 0.9) == [1.0, 1.0]


@given(
    st.lists(st.integers(-(2**31), 2**31 - 1), unique=True),
    st.floats(0, 1),
    st.sampled_from(HoldbackDomain),
    st.floats(0.01, 1),
)
def test_a_lower_priority_never_gets_more(
    priorities: list[int], least: float, domain: HoldbackDomain, sheddable: float
) -> None:
    found = ceilings(sorted(priorities, reverse=True), Holdback(least, 1.0, domain), sheddable)
    assert all(a >= b - 1e-9 for a, b in pairwise(found))
    assert all(min(least, sheddable) - 1e-9 <= c <= 1.0 for c in found)

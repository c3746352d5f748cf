"""How many pods each piece of a group contributes."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from fairlead.scheduling.gangs.splits import SKIPPED, Slot, splits

slots_strategy = st.lists(st.builds(Slot, st.integers(0, 3), st.integers(0, 4), st.booleans()), max_size=4).map(
    lambda slots: [slot if slot.is_group else Slot(0, slot.most, False) for slot in slots]
)


@given(slots_strategy, st.integers(0, 8), st.integers(0, 3))
def test_every_way_is_told_once_and_holds(slots: list[Slot], target: int, least_groups: int) -> None:
    found = list(splits(slots, target, least_groups))
    assert len(found) == len(set(found))
    exact = set()
    for values in itertools.product(*([SKIPPED, *range(5)] for _ in slots)):
        groups = sum(slot.is_group and value != SKIPPED for slot, value in zip(slots, values, strict=True))
        if groups >= least_groups and all(_is_allowed(s, v) for s, v in zip(slots, values, strict=True)):
            total = sum(max(0, value) for value in values)
            if total == target:
                exact.add(values)
            if values in found:
                assert total >= target
    # A group that is left out and one that is placed with no pods differ in name only.
    assert {_numbers(values) for values in exact} <= {_numbers(values) for values in found}


def _numbers(values: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(max(0, value) for value in values)


def _is_allowed(slot: Slot, value: int) -> bool:
    return slot.is_group if value == SKIPPED else slot.least <= value <= slot.most


def test_the_obvious_way_takes_own_pods_before_more_of_a_group() -> None:
    slots = [Slot(2, 4, True), Slot(0, 3, False)]
    assert next(splits(slots, 4, 1)) == (2, 2)
    assert next(splits(slots, 6, 1)) == (3, 3)


def test_groups_that_need_more_than_asked_for_are_placed_whole() -> None:
    assert (3, 3) in list(splits([Slot(3, 3, True), Slot(3, 3, True)], 5, 0))


def test_of_very_many_slots_the_obvious_way_is_told() -> None:
    assert len(list(splits([Slot(0, 2, False)] * 500, 900, 0))) == 1

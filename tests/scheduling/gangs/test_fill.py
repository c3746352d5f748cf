"""Numbers of pods by row: what pack and spread promise, against trying everything."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.scheduling.gangs.fill import pack, pack_by, spread


def ints(values: list[int]) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def zeros(rooms: list[int]) -> np.ndarray:
    return np.zeros(len(rooms))


rooms_and_count = st.lists(st.integers(0, 4), min_size=1, max_size=6).flatmap(
    lambda rooms: st.tuples(st.just(rooms), st.integers(0, sum(rooms)))
)


@given(rooms_and_count)
def test_packed_pods_are_on_the_fewest_rows(case: tuple[list[int], int]) -> None:
    rooms, count = case
    given_ = pack(ints(rooms), zeros(rooms), count) if count else np.zeros(len(rooms), dtype=np.int64)
    assert given_.sum() == count and (given_ <= rooms).all()
    fewest = next(
        n for n in range(len(rooms) + 1)
        if any(sum(some) >= count for some in itertools.combinations(rooms, n))
    )  # fmt: skip
    assert np.count_nonzero(given_) == fewest


def test_what_remains_goes_where_it_leaves_least() -> None:
    assert pack(ints([8, 3, 5, 2]), zeros([0] * 4), 2).tolist() == [0, 0, 0, 2]
    assert pack(ints([8, 3, 5, 8]), zeros([0] * 4), 10).tolist() == [8, 2, 0, 0]


def test_equal_rows_go_by_score_and_then_by_row() -> None:
    assert pack(ints([4, 4, 4]), np.array([1.0, 2.0, 2.0]), 3).tolist() == [0, 3, 0]


def test_more_than_there_is_room_for_is_refused() -> None:
    with pytest.raises(ValueError, match="4 pods do not fit in 3 places"):
        pack(ints([1, 2]), zeros([0, 0]), 4)


def test_whole_domains_are_filled_first() -> None:
    racks = ints([0, 0, 1, 1, 2, 2])
    rooms = ints([4, 4, 8, 8, 8, 8])
    assert pack_by([racks], rooms, zeros([0] * 6), 7).tolist() == [4, 3, 0, 0, 0, 0]
    given_ = pack_by([racks], rooms, zeros([0] * 6), 24)
    assert given_.tolist() == [4, 4, 8, 8, 0, 0]


def test_rows_without_a_domain_come_last() -> None:
    assert pack_by([ints([-1, 0, 0])], ints([9, 2, 2]), zeros([0] * 3), 5).tolist() == [1, 2, 2]
    assert pack_by([ints([-1, -1])], ints([2, 2]), zeros([0] * 2), 3).tolist() == [2, 1]
    with pytest.raises(ValueError, match="6 pods"):
        pack_by([ints([-1, 0])], ints([3, 2]), zeros([0] * 2), 6)


@given(st.lists(st.tuples(st.integers(-1, 2), st.integers(0, 4)), min_size=1, max_size=6), st.data())
def test_spread_pods_differ_by_one_where_there_is_room(rows: list[tuple[int, int]], data: st.DataObject) -> None:
    ids, rooms = [d for d, _ in rows], [r for _, r in rows]
    there = data.draw(st.lists(st.integers(0, 3), min_size=3, max_size=3))
    count = data.draw(st.integers(0, sum(rooms)))
    given_ = spread(ints(ids), ints(there), ints(rooms), zeros(rooms), count)
    assert given_.sum() == count and (given_ <= rooms).all() and (given_ >= 0).all()
    free = [sum(r for d, r in rows if d == domain) for domain in range(3)]
    new = [int(given_[ints(ids) == domain].sum()) for domain in range(3)]
    for one, other in itertools.permutations(range(3), 2):
        # One more there would have been no worse than the last one here.
        if new[one] and new[other] < free[other]:
            assert there[one] + new[one] <= there[other] + new[other] + 1
    if sum(new) < sum(free):
        assert sum(new) == count

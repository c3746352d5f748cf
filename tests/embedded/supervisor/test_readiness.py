"""When devices count as published: every slice of a pool's newest generation is there."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fairlead.embedded.supervisor.readiness import complete_pools


def piece(pool: str, generation: int, count: int, driver: str = "d") -> dict[str, Any]:
    return {"spec": {"driver": driver, "pool": {"name": pool, "generation": generation, "resourceSliceCount": count}}}


def test_half_a_pool_is_none() -> None:
    assert complete_pools([piece("a", 1, 2)]) == set()
    assert complete_pools([piece("a", 1, 2), piece("a", 1, 2)]) == {("d", "a")}


def test_old_slices_do_not_complete_a_new_generation() -> None:
    assert complete_pools([piece("a", 1, 2), piece("a", 2, 2)]) == set()
    assert complete_pools([piece("a", 2, 1), piece("a", 1, 2)]) == {("d", "a")}


def test_pools_of_two_drivers_are_two() -> None:
    assert complete_pools([piece("a", 1, 1), piece("a", 1, 2, "e")]) == {("d", "a")}


@given(st.permutations([piece("a", 3, 2), piece("a", 3, 2), piece("a", 2, 1), piece("b", 1, 2), piece("b", 4, 1)]))
def test_the_order_of_slices_does_not_matter(slices: list[dict[str, Any]]) -> None:
    assert complete_pools(slices) == {("d", "a"), ("d", "b")}

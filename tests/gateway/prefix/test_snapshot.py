from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.gateway.prefix.snapshot import Draft, SnapshotError, restore, snapshot
from fairlead.gateway.prefix.tree import PrefixTree
from gateway.prefix.test_tree import ADDRESSES, check, contents, prompt

sends = st.lists(st.tuples(st.sampled_from(ADDRESSES), st.integers(0, 1), contents), max_size=40)


def fill(tree: PrefixTree, steps: list) -> None:
    for address, space, blocks in steps:
        tree.sent(address, prompt(*blocks, space=space))


@settings(max_examples=200, deadline=None)
@given(sends, sends, st.integers(1, 14))
def test_the_restored_tree_goes_on_like_the_old_one(before, after, capacity: int) -> None:
    """Not only the same holdings: the same order of use, so that later evictions take the same blocks."""
    tree = PrefixTree(capacity)
    fill(tree, before)
    other = PrefixTree(capacity)
    restore(other, snapshot(tree))
    check(other)
    for address, space, blocks in after:
        for one in (tree, other):
            one.sent(address, prompt(*blocks, space=space))
    for _, space, blocks in before + after:
        assert other.match(prompt(*blocks, space=space)) == tree.match(prompt(*blocks, space=space))


@settings(max_examples=200, deadline=None)
@given(sends, sends, st.integers(3, 14), st.integers(0, 3))
def test_a_tree_that_changes_while_it_is_drawn_loses_nothing_that_stayed(before, during, capacity, slice_nodes) -> None:
    def held() -> list[int]:
        return [tree.match(prompt(*b, space=space)).get(address, 0) for address, space, b in before + during]

    tree = PrefixTree(capacity)
    fill(tree, before)
    least = most = held()
    draft = Draft(1 << 20)
    changes = iter(during)
    for _ in draft.draw(tree, slice_nodes):
        fill(tree, list(itertools.islice(changes, 2)))
        now = held()
        least, most = list(map(min, least, now)), list(map(max, most, now))
    other = PrefixTree(capacity)
    restore(other, draft.encode())
    check(other)
    for (address, space, blocks), low, high in zip(before + during, least, most, strict=True):
        assert low <= other.match(prompt(*blocks, space=space)).get(address, 0) <= high


def test_a_bound_on_its_size_drops_what_was_used_longest_ago_everywhere() -> None:
    tree = PrefixTree()
    for number in range(200):
        for address in ADDRESSES:
            tree.sent(address, prompt(ADDRESSES.index(address), number, 1, 2, 3))
    whole = snapshot(tree)
    data = snapshot(tree, len(whole) // 4)
    assert len(data) < len(whole) // 3
    other = PrefixTree()
    assert restore(other, data) > 30
    for index, address in enumerate(ADDRESSES):
        assert other.match(prompt(index, 199, 1, 2, 3)) == {address: 5}
        assert other.match(prompt(index, 0, 1, 2, 3)) == {address: 1}


def test_capacities_come_along() -> None:
    tree = PrefixTree()
    tree.set_capacity("a:1", 3)
    other = PrefixTree()
    restore(other, snapshot(tree))
    other.sent("a:1", prompt(1, 2, 3, 4, 5))
    assert other.held_tokens("a:1") == 3


@settings(deadline=None)
@given(st.data())
def test_damaged_bytes_are_refused_and_change_nothing(data) -> None:
    tree = PrefixTree()
    fill(tree, [("a:1", 0, (1, 2, 3)), ("b:1", 1, (1, 2))])
    whole = snapshot(tree)
    kind = data.draw(st.sampled_from(["cut", "flip", "other"]))
    if kind == "cut":
        broken = whole[: data.draw(st.integers(0, len(whole) - 1))]
    elif kind == "flip":
        at = data.draw(st.integers(0, len(whole) - 1))
        broken = whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :]
    else:
        broken = data.draw(st.binary(max_size=200))
    other = PrefixTree()
    with pytest.raises(SnapshotError):
        restore(other, broken)
    assert other.addresses == []

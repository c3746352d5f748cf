from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.gateway.prefix.blocks import HASH_BYTES
from fairlead.gateway.prefix.index import PromptBlocks
from fairlead.gateway.prefix.tree import HOLDING_BYTES, NODE_BYTES, PrefixTree
from gateway.prefix.naive_index import NaiveIndex

ADDRESSES = ("a:1", "b:1", "c:1")


def prompt(*content: int, space: int = 0, block_tokens: float = 1.0) -> PromptBlocks:
    return PromptBlocks(np.array(content, np.uint64), block_tokens, space)


def check(tree: PrefixTree) -> None:
    """What must hold of the tree at any moment."""
    nodes = blocks = shares = 0
    tokens = dict.fromkeys(tree._endpoints, 0.0)
    tails: dict[str, dict[int, object]] = {address: {} for address in tree._endpoints}
    stack = list(tree._roots.values())
    assert all(root.children for root in stack)
    while stack:
        node = stack.pop()
        nodes += 1
        blocks += node.blocks
        shares += len(node.holders)
        partial = node.partial or {}
        assert set(partial) <= set(node.holders)
        if node.parent is not None:
            assert node.run and node.holders, "a node without blocks or holders"
            assert not partial or len(partial) < len(node.holders), "a node longer than anybody holds"
        for address, tick in node.holders.items():
            held = node.held(address)
            assert 0 < held <= node.blocks and (address not in partial or held < node.blocks)
            tokens[address] += held * node.block_tokens
            below = [c.holders[address] for c in node.children.values() if address in c.holders]
            assert not below or address not in partial, "held beyond what is held"
            assert all(tick >= t for t in below)
            if tick not in below:
                assert tick not in tails[address]
                tails[address][tick] = node
        for key, child in node.children.items():
            assert child.run[:HASH_BYTES] == key and child.parent is node
            stack.append(child)
    assert (nodes, blocks, shares) == (tree._nodes, tree._blocks, tree._shares)
    for address, holdings in tree._endpoints.items():
        assert holdings.tokens == pytest.approx(tokens[address])
        assert holdings.tokens <= holdings.capacity_tokens + 1e-3
        assert dict(holdings.tails) == tails[address]
        assert list(holdings.tails) == sorted(holdings.tails)


# Few contents, so that prompts share beginnings of all lengths.
contents = st.lists(st.integers(0, 2), max_size=9).map(tuple)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("sent"), st.sampled_from(ADDRESSES), st.integers(0, 1), contents),
        st.tuples(st.just("sent"), st.sampled_from(ADDRESSES), st.just(0), contents),
        st.tuples(st.just("match"), st.just(""), st.integers(0, 1), contents),
        st.tuples(st.just("forget"), st.sampled_from(ADDRESSES), st.just(0), st.just(())),
        st.tuples(st.just("capacity"), st.sampled_from(ADDRESSES), st.integers(1, 12), st.just(())),
    ),
    max_size=60,
)


@settings(max_examples=400, deadline=None)
@given(steps, st.integers(1, 14))
def test_it_answers_as_a_dictionary_of_prefixes_does(steps, capacity: int) -> None:
    tree, naive = PrefixTree(capacity), NaiveIndex(capacity)
    for kind, address, number, blocks in steps:
        if kind == "sent":
            tree.sent(address, prompt(*blocks, space=number))
            naive.sent(address, number, blocks)
        elif kind == "forget":
            tree.forget(address)
            naive.forget(address)
        elif kind == "capacity":
            tree.set_capacity(address, number)
            naive.set_capacity(address, number)
        assert tree.match(prompt(*blocks, space=number)) == naive.match(number, blocks)
        check(tree)
    for held in list(naive.held.values()):
        for space, blocks in held:
            assert tree.match(prompt(*blocks, space=space)) == naive.match(space, blocks)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(ADDRESSES), contents, st.booleans()), max_size=40))
def test_a_prompt_that_was_just_matched_is_inserted_like_any_other(steps) -> None:
    tree, naive = PrefixTree(10), NaiveIndex(10)
    for address, blocks, again in steps:
        one = prompt(*blocks)
        tree.match(one)
        tree.sent(address, one)
        naive.sent(address, 0, blocks)
        if again:
            tree.sent(ADDRESSES[0], one)
            naive.sent(ADDRESSES[0], 0, blocks)
        check(tree)
        assert tree.match(one) == naive.match(0, blocks)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(ADDRESSES), contents), max_size=60))
def test_memory_stays_bounded_whatever_is_sent(steps) -> None:
    bound = 6 * (NODE_BYTES + HOLDING_BYTES)
    tree = PrefixTree(max_bytes=bound)
    for address, blocks in steps:
        tree.sent(address, prompt(*blocks))
        assert tree.memory_bytes <= bound
        check(tree)


def test_tokens_are_counted_in_the_prompt_s_own_block_size() -> None:
    tree = PrefixTree(1000)
    tree.sent("a:1", prompt(1, 2, 3, block_tokens=60.5))
    assert tree.match(prompt(1, 2, 9, block_tokens=60.5)) == {"a:1": 121}
    assert tree.held_tokens("a:1") == 181.5


def test_a_prompt_larger_than_the_cache_leaves_its_beginning() -> None:
    tree = PrefixTree(64)
    tree.sent("a:1", prompt(*range(10), block_tokens=16))
    assert tree.match(prompt(*range(10), block_tokens=16)) == {"a:1": 64}


def test_an_endpoint_that_cannot_hold_one_block_holds_nothing() -> None:
    tree = PrefixTree(8)
    tree.sent("a:1", prompt(1, 2, block_tokens=16))
    assert tree.match(prompt(1, 2, block_tokens=16)) == {}
    check(tree)


def test_a_run_splits_beyond_what_one_of_its_holders_kept() -> None:
    tree = PrefixTree(100)
    for address in ("a:1", "b:1", "c:1"):
        tree.sent(address, prompt(1, 2, 3, 4, 5, 6))
    tree.set_capacity("a:1", 2)
    tree.set_capacity("c:1", 4)
    check(tree)
    tree.sent("b:1", prompt(1, 2, 3, 4, 9))
    check(tree)
    assert tree.match(prompt(1, 2, 3, 4, 5, 6)) == {"a:1": 2, "b:1": 6, "c:1": 4}
    tree.set_capacity("c:1", 3)
    check(tree)
    assert tree.match(prompt(1, 2, 3, 4, 9)) == {"a:1": 2, "b:1": 5, "c:1": 3}


def test_a_capacity_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="a:1: 0 tokens"):
        PrefixTree().set_capacity("a:1", 0)
    with pytest.raises(ValueError, match="capacity_tokens"):
        PrefixTree(0)

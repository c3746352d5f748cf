"""The rebuilt llm-d: its scores by hand, its index, and what it does not know."""

import random

import numpy as np
import pytest

from fairlead.engines import EngineSignals
from fairlead.gateway.prefix.index import PromptBlocks
from fairlead.simulator.fleet.asked import BLOCK_TOKENS, Asked
from fairlead.simulator.fleet.llm_d import ApproximateIndex, LlmD, block_hashes


class At:
    def __init__(self, address):
        self.address = address


def asked(*hashes, number=0, extra=0):
    blocks = PromptBlocks(np.array(hashes, dtype=np.uint64), BLOCK_TOKENS)
    return Asked(number, "m", "", "", "", 0, None, len(hashes) * BLOCK_TOKENS + extra, blocks)


def signals(waiting=0, usage=0.0, blocks=1000):
    return EngineSignals(
        running_requests=0, waiting_requests=waiting, kv_cache_usage_ratio=usage, kv_block_tokens=16,
        kv_cache_capacity_tokens=16 * blocks,
    )  # fmt: skip


def picked(policy, request, *addresses):
    return policy.pick(0.0, request, [At(a) for a in addresses]).address


@pytest.mark.parametrize(
    ("a", "b", "best"),
    [
        (signals(3), signals(4), "a"),  # 2 x queue
        (signals(0, 0.3), signals(0, 0.2), "b"),  # 2 x free cache
        (signals(1, 0.0), signals(0, 0.99), "b"),  # 2 + 0.02 over 0 + 2
    ],
)
def test_queue_and_cache_decide_without_prefixes(a, b, best):
    policy = LlmD(random.Random(0))
    policy.reported("a", a, 0.0)
    policy.reported("b", b, 0.0)
    assert picked(policy, asked(1), "a", "b") == best


def test_three_for_the_prefix_against_two_for_the_queue():
    policy = LlmD(random.Random(0))
    for address in "ab":
        policy.reported(address, signals(), 0.0)
    holder = picked(policy, asked(1, 2, 3, 4), "a", "b")
    policy.reported(holder, signals(waiting=50), 0.0)
    assert picked(policy, asked(1, 2, 3), "a", "b") == holder  # 3 over 2
    assert picked(policy, asked(1, 9, 8, 7), "a", "b") != holder  # 3/4 under 2


def test_equal_endpoints_are_drawn_and_nothing_counts_what_was_sent():
    policy = LlmD(random.Random(0))
    got = [picked(policy, asked(100 + n, number=n), *"abcd") for n in range(400)]
    assert all(60 < got.count(a) < 140 for a in "abcd")
    policy.reported("a", signals(waiting=0), 0.0)
    for address in "bcd":
        policy.reported(address, signals(waiting=1), 0.0)
    assert {picked(policy, asked(900 + n, number=n), *"abcd") for n in range(50)} == {"a"}


def test_the_index_holds_as_many_blocks_as_the_engine_and_forgets_the_oldest():
    index = ApproximateIndex()
    index.add("a", [1, 2, 3], 4)
    index.add("a", [7, 8], 4)
    assert index.match([1, 2, 3]) == {}
    assert index.match([2, 3]) == {"a": 2}
    assert index.match([7, 8, 9]) == {"a": 2}
    index.remove("a")
    assert index.match([7, 8]) == {}
    assert index._holders == {}


def test_an_endpoint_counts_blocks_behind_one_it_lacks():
    index = ApproximateIndex()
    index.add("a", [1, 2, 3], 10)
    index.add("b", [1], 10)
    index.add("b", [3], 10)
    assert index.match([1, 2, 3]) == {"a": 3, "b": 2}


def test_a_partial_last_block_is_nobody_elses():
    assert block_hashes(asked(5, 6)) == [5, 6]
    first, second = (block_hashes(asked(5, 6, number=n, extra=3)) for n in (1, 2))
    assert first[:2] == second[:2] == [5, 6]
    assert first[2] != second[2]

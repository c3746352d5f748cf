"""Chains of blocks from the ids of a trace: equal prefixes, and nothing else, are equal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.workload import Chains, TraceError, TraceRequest


def blocks(chain):
    return [chain[i : i + 8] for i in range(0, len(chain), 8)]


def shared(a, b):
    count = 0
    for x, y in zip(blocks(a), blocks(b), strict=False):
        if x != y:
            break
        count += 1
    return count


ids = st.lists(st.integers(0, 3), min_size=1, max_size=6).map(tuple)


@given(ids, ids, st.sampled_from([1, 8, 16, 64, 512]))
def test_requests_share_exactly_the_blocks_of_their_common_ids(one, other, block_tokens):
    chains = Chains(block_tokens)
    first, second = (chains.of(TraceRequest(0, 512 * len(i), 1, hash_ids=i, block_tokens=512)) for i in (one, other))
    common = 0
    while common < min(len(one), len(other)) and one[common] == other[common]:
        common += 1
    assert shared(first, second) == common * 512 // block_tokens
    assert len(set(blocks(first))) == len(blocks(first)) == 512 * len(one) // block_tokens


@pytest.mark.parametrize(
    ("prompt", "output", "count", "expected"),
    [
        (600, 10, 2, 37),  # the last id names 88 tokens: 600 // 16 full blocks
        (1024, 10, 2, 64),
        (2000, 10, 2, 64),  # ids end before the prompt does
        (600, 1000, 3, 96),  # a third id goes on into the answer
        (600, 500, 3, 68),  # … which ends before it does: (600 + 500) // 16
    ],
)
def test_ids_name_the_prompt_and_further_ids_the_answer(prompt, output, count, expected):
    request = TraceRequest(0, prompt, output, hash_ids=tuple(range(count)), block_tokens=512)
    assert len(Chains(16).of(request)) == 8 * expected


def test_a_conversation_finds_its_former_turn_in_its_prompt():
    turn = TraceRequest(0, 40, 24, hash_ids=(1, 2, 3, 4), block_tokens=16)
    following = TraceRequest(1, 80, 16, hash_ids=(1, 2, 3, 4, 5, 6), block_tokens=16)
    chains = Chains(16)
    assert chains.of(following).startswith(chains.of(turn))
    assert len(chains.of(turn)) == 8 * 4


def test_smaller_ids_than_blocks():
    chains = Chains(32)
    one = chains.of(TraceRequest(0, 64, 1, hash_ids=(1, 2, 3, 4), block_tokens=16))
    other = chains.of(TraceRequest(0, 64, 1, hash_ids=(1, 2, 3, 9), block_tokens=16))
    assert len(one) == 16
    assert shared(one, other) == 1


def test_block_sizes_that_do_not_divide_are_an_error():
    with pytest.raises(TraceError, match="blocks of 512 tokens and the engine has blocks of 48"):
        Chains(48).of(TraceRequest(0, 600, 1, hash_ids=(1, 2), block_tokens=512))


def test_chains_do_not_depend_on_the_process():
    chain = Chains(512).of(TraceRequest(0, 1024, 1, hash_ids=(0, 1), block_tokens=512))
    assert chain.hex() == "854a2a4e75149ca34326f34b509f58f4"


def test_any_ids_are_hashed():
    request = TraceRequest(0, 1024, 1, hash_ids=(-1, 2**63), block_tokens=512)
    assert len(Chains(512).of(request)) == 16


def test_neither_adapters_nor_blocks_of_other_sizes_share_anything():
    chains = Chains(16)
    given = [
        TraceRequest(0, 96, 1, hash_ids=ids, block_tokens=size, adapter=adapter)
        for ids, size in (((1, 0), 32), ((1, 0, 0), 16))
        for adapter in ("", "a", "b")
    ]
    named = [set(blocks(chains.of(request))) for request in given]
    assert sum(map(len, named)) == len(set().union(*named)) == 3 * 4 + 3 * 3

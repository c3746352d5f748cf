from __future__ import annotations

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.prefix.chain import names_after, next_name, root_name


@given(st.integers(0, 2**64 - 1), st.lists(st.integers(0, 2**64 - 1), max_size=20))
def test_many_blocks_are_named_as_one_after_the_other(parent: int, contents: list[int]) -> None:
    expected, name = [], parent
    for content in contents:
        name = next_name(name, content)
        expected.append(name)
    assert names_after(parent, np.array(contents, np.uint64)).tolist() == expected


def test_prompts_of_any_length() -> None:
    draw = random.Random(3)
    contents = np.array([draw.getrandbits(64) for _ in range(10_000)], np.uint64)
    whole = names_after(7, contents)
    assert names_after(int(whole[4999]), contents[5000:]).tolist() == whole[5000:].tolist()
    assert len(np.unique(whole)) == 10_000


def test_order_and_place_matter() -> None:
    """Also of equal blocks in a row, the same blocks in another order, and roots that differ."""
    one, other = 0x123456789ABCDEF0, 0x0FEDCBA987654321
    sequences = [(one, other), (other, one), (one, one), (other, other), (one,), (other,), (0,), (0, 0)]
    names = set()
    for size in (16, 32):
        for space in (0, 1, 16):
            for sequence in sequences:
                name = root_name(space, size)
                for content in sequence:
                    name = next_name(name, content)
                names.add(name)
    assert len(names) == 2 * 3 * len(sequences)

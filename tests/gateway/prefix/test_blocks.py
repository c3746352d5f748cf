from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.prefix.blocks import space_of, text_blocks, token_blocks


def hashes(prompt: bytes, **options: int) -> list[int]:
    return text_blocks(prompt, 0, **options).hashes.tolist()


def test_only_whole_blocks_count() -> None:
    assert len(hashes(b"x" * 255)) == 0
    assert len(hashes(b"x" * 256)) == 1
    assert len(hashes(b"x" * 1023)) == 3
    assert text_blocks(b"x" * 1023, 7).block_tokens == 64
    assert text_blocks(b"x" * 1023, 7).space == 7
    assert len(hashes(b"x" * 10_000, max_bytes=1000)) == 3


@given(st.binary(max_size=200), st.binary(max_size=100), st.binary(max_size=100))
def test_hashes_are_equal_as_far_as_contents_are(beginning: bytes, one: bytes, other: bytes) -> None:
    first, second = hashes(beginning + one, block_bytes=8), hashes(beginning + other, block_bytes=8)
    for at, (a, b) in enumerate(zip(first, second, strict=False)):
        same = (beginning + one)[at * 8 : at * 8 + 8] == (beginning + other)[at * 8 : at * 8 + 8]
        assert (a == b) == same


def test_a_view_at_any_offset_hashes_like_its_bytes() -> None:
    data = random.Random(1).randbytes(5000)
    for offset in range(9):
        assert hashes(memoryview(data)[offset:]) == hashes(data[offset:])


def test_contents_that_nearly_agree_differ_in_about_half_the_bits() -> None:
    base = random.Random(2).randbytes(256)
    reference = hashes(base)[0]
    distances = []
    for bit in range(2048):
        near = bytearray(base)
        near[bit // 8] ^= 1 << bit % 8
        distances.append((hashes(bytes(near))[0] ^ reference).bit_count())
    assert min(distances) > 8
    assert 31 < np.mean(distances) < 33


def test_hashes_of_similar_blocks_fill_all_64_bits() -> None:
    # Blocks that differ in a counter alone, in either half of the hash as many buckets filled as chance fills.
    prompt = b"".join(b"%0256d" % n for n in range(100_000))
    found = text_blocks(prompt, 0, max_bytes=len(prompt)).hashes
    assert len(np.unique(found)) == 100_000
    for shift in (0, 16, 32, 48):
        buckets = np.bincount(((found >> np.uint64(shift)) & np.uint64(0xFFFF)).astype(int), minlength=65536)
        assert buckets.var() == pytest.approx(buckets.mean(), rel=0.05)


def test_another_process_finds_the_same_hashes() -> None:
    code = (
        "from fairlead.gateway.prefix.blocks import *;"
        "print(text_blocks(b'abc' * 200, 0).hashes.tolist(), token_blocks([1, 2, 3], 1, 0).hashes.tolist(),"
        " space_of('m', 's'))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    expected = (hashes(b"abc" * 200), token_blocks([1, 2, 3], 1, 0).hashes.tolist(), space_of("m", "s"))
    assert answer.strip() == " ".join(map(str, expected))


def test_the_hashes_of_this_version_are_those_of_snapshots_and_other_replicas() -> None:
    assert hashes(bytes(256)) == [10191185088259788198]
    assert space_of("m", "s") == 10940531276306512716


def test_spaces_keep_models_and_salts_apart() -> None:
    spaces = {space_of("a"), space_of("b"), space_of("a", "s"), space_of("", "as"), space_of("as"), space_of("")}
    assert len(spaces) == 6


def test_blocks_of_tokens() -> None:
    found = token_blocks(range(40), 16, 3)
    assert (len(found.hashes), found.block_tokens, found.space) == (2, 16.0, 3)
    assert found.hashes[0] == token_blocks(np.arange(16, dtype=np.uint32), 16, 3).hashes[0]
    assert token_blocks([1, 2**17], 1, 0).hashes.tolist() != token_blocks([1, 2], 1, 0).hashes.tolist()
    with pytest.raises(OverflowError):
        token_blocks([-1], 1, 0)

"""Names of prefixes of tokens: one 64-bit number for a block and everything before it, the same on both sides.

The name of a prefix is a polynomial of the content hashes of its blocks over the integers modulo 2^64,
`name = name_of_parent * M + content`, so that a whole prompt is named by a few vector operations and a single block by
one multiplication. Engines' own hashes never enter it: they differ by engine, version and settings.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

_MASK = (1 << 64) - 1
_MULTIPLIER = 0x9E3779B97F4A7C15
_INVERSE = pow(_MULTIPLIER, -1, 1 << 64)
_STEP_BLOCKS = 4096
"""Blocks that are named at once."""


def _powers(base: int) -> NDArray[np.uint64]:
    powers, power = [], 1
    for _ in range(_STEP_BLOCKS + 1):
        powers.append(power)
        power = power * base & _MASK
    return np.array(powers, np.uint64)


_UP = _powers(_MULTIPLIER)
_DOWN = _powers(_INVERSE)


def root_name(space: int, block_tokens: int) -> int:
    """The parent of first blocks: blocks of another space or size are never the same."""
    return int(xxh3_64_intdigest(b"%d %d" % (space, block_tokens)))


def next_name(parent: int, content: int) -> int:
    """Name of the block after another one."""
    return (parent * _MULTIPLIER + content) & _MASK


def names_after(parent: int, contents: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Names of consecutive blocks after `parent`."""
    names = np.empty(len(contents), np.uint64)
    for start in range(0, len(contents), _STEP_BLOCKS):
        part = contents[start : start + _STEP_BLOCKS]
        count = len(part)
        sums = np.cumsum(part * _DOWN[1 : count + 1], dtype=np.uint64)
        sums += np.uint64(parent)
        sums *= _UP[1 : count + 1]
        names[start : start + count] = sums
        parent = int(sums[-1])
    return names

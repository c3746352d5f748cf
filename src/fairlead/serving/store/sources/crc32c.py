"""CRC-32C (Castagnoli) of large data, by numpy: many lanes side by side, joined afterwards.

The reflected polynomial is 0x82F63B78 (RFC 3720, appendix B.4). Lanes are joined by the matrix that moves a CRC over a
number of zero bytes, as in zlib's `crc32_combine`. About 150 MB/s on one core; the standard library has no CRC-32C.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

_POLYNOMIAL = 0x82F63B78
_LANES = 1 << 13
_Words = npt.NDArray[np.uint32]


def crc32c(data: bytes | memoryview, value: int = 0) -> int:
    """The CRC of `data` after what gave `value`."""
    octets = np.frombuffer(data, np.uint8)
    words = len(octets) // (4 * _LANES)
    crc = value ^ 0xFFFFFFFF
    if words >= 4:
        taken = words * 4 * _LANES
        lanes = octets[:taken].view("<u4").reshape(_LANES, words)
        state = np.zeros(_LANES, np.uint32)
        state[0] = crc
        # Two lookups for four bytes: what the low and the high half of a word become over the bytes that follow them.
        low, high = _wide_table(2), _wide_table(0)
        for column in np.ascontiguousarray(lanes.T):
            state ^= column
            state = low.take(state & 0xFFFF) ^ high.take(state >> np.uint32(16))
        crc = _join(state, 4 * words)
        octets = octets[taken:]
    table = _table()
    for octet in octets.tolist():
        crc = int(table[(crc ^ octet) & 0xFF]) ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _join(state: _Words, length: int) -> int:
    """The CRC of all lanes as one text: pairs first, then pairs of pairs."""
    while len(state) > 1:
        state = _apply(_zeros(length), state[0::2]) ^ state[1::2]
        length *= 2
    return int(state[0])


def _apply(matrix: _Words, values: _Words) -> _Words:
    """The matrix over GF(2) times each value."""
    result = np.zeros_like(values)
    for bit in range(32):
        result ^= np.where(values >> np.uint32(bit) & np.uint32(1), matrix[bit], np.uint32(0))
    return result


@cache
def _zeros(length: int) -> _Words:
    """The matrix that moves a CRC over `length` zero bytes; entry k is what becomes of bit k."""
    if length == 1:
        single: _Words = np.left_shift(np.uint32(1), np.arange(32, dtype=np.uint32))
        moved: _Words = _table()[single & 0xFF] ^ (single >> np.uint32(8))
        return moved
    half = _zeros(length // 2)
    double = _apply(half, half)
    return _apply(_zeros(1), double) if length % 2 else double


@cache
def _wide_table(following: int) -> _Words:
    """What each two bytes become, with so many zero bytes after them."""
    values = np.arange(1 << 16, dtype=np.uint32)
    for _ in range(2 + following):
        values = _table()[values & 0xFF] ^ (values >> np.uint32(8))
    return values


@cache
def _table() -> _Words:
    values = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        values = np.where(values & 1, (values >> np.uint32(1)) ^ np.uint32(_POLYNOMIAL), values >> np.uint32(1))
    return values.astype(np.uint32)

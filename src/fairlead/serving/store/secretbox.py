"""NaCl's secretbox (XSalsa20 and Poly1305), in which cosign keeps private keys; for a few hundred bytes at a time.

Sources: D. J. Bernstein, "Extending the Salsa20 nonce" and "Cryptography in NaCl", section 9-10; the Poly1305 of the
library `cryptography`. Python has no XSalsa20 of its own. Not constant in time as to the length of the message.
"""

from __future__ import annotations

import struct

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.poly1305 import Poly1305

_SIGMA = struct.unpack("<4I", b"expand 32-byte k")
_MASK = 0xFFFFFFFF
_TAG_BYTES = 16
# Which four words each quarter round takes: first the columns of the 4×4 state, then its rows.
_ROUNDS = (
    (0, 4, 8, 12), (5, 9, 13, 1), (10, 14, 2, 6), (15, 3, 7, 11),
    (0, 1, 2, 3), (5, 6, 7, 4), (10, 11, 8, 9), (15, 12, 13, 14),
)  # fmt: skip


def seal(message: bytes, nonce: bytes, key: bytes) -> bytes:
    """Encrypt under a 24-byte nonce and a 32-byte key: tag, then ciphertext."""
    stream = _stream(nonce, key, 32 + len(message))
    text = bytes(a ^ b for a, b in zip(message, stream[32:], strict=True))
    return Poly1305.generate_tag(stream[:32], text) + text


def open_box(box: bytes, nonce: bytes, key: bytes) -> bytes | None:
    """The message, or None if key or box are wrong."""
    tag, text = box[:_TAG_BYTES], box[_TAG_BYTES:]
    if len(tag) < _TAG_BYTES or len(nonce) != 24 or len(key) != 32:
        return None
    stream = _stream(nonce, key, 32 + len(text))
    try:
        Poly1305.verify_tag(stream[:32], text, tag)
    except InvalidSignature:
        return None
    return bytes(a ^ b for a, b in zip(text, stream[32:], strict=True))


def _stream(nonce: bytes, key: bytes, size: int) -> bytes:
    """XSalsa20's key stream: HSalsa20 makes a key of the nonce's first 16 bytes, Salsa20 goes on with the last 8."""
    mixed = _double_rounds(_state(key, struct.unpack("<4I", nonce[:16])))
    subkey = struct.pack("<8I", *(mixed[i] for i in (0, 5, 10, 15, 6, 7, 8, 9)))
    rest = struct.unpack("<2I", nonce[16:24])
    blocks = []
    for counter in range(-(-size // 64)):
        state = _state(subkey, (*rest, counter & _MASK, counter >> 32))
        blocks.append(
            struct.pack("<16I", *((a + b) & _MASK for a, b in zip(_double_rounds(state), state, strict=True)))
        )
    return b"".join(blocks)[:size]


def _state(key: bytes, middle: tuple[int, ...]) -> list[int]:
    words = struct.unpack("<8I", key)
    return [_SIGMA[0], *words[:4], _SIGMA[1], *middle, _SIGMA[2], *words[4:], _SIGMA[3]]


def _double_rounds(state: list[int]) -> list[int]:
    x = list(state)
    for _ in range(10):
        for a, b, c, d in _ROUNDS:
            x[b] ^= _turn(x[a] + x[d], 7)
            x[c] ^= _turn(x[b] + x[a], 9)
            x[d] ^= _turn(x[c] + x[b], 13)
            x[a] ^= _turn(x[d] + x[c], 18)
    return x


def _turn(value: int, by: int) -> int:
    value &= _MASK
    return (value << by | value >> (32 - by)) & _MASK

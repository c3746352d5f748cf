"""Names of the blocks of a sequence for the prefix cache: a hash of each block's tokens and all that came before.

Two requests share a prefix of n blocks exactly when adapter, salt and the first n blocks of tokens are equal, as with
vLLM's own block hashes (there SHA-256; here xxHash64, 8 bytes).
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from xxhash import xxh64_digest

_TOKEN_BYTES = 8


def block_chain(tokens: Sequence[int], block_tokens: int, *, adapter: str = "", salt: str = "") -> bytes:
    """8 bytes for every full block of `tokens`, chained."""
    parent = xxh64_digest(f"{adapter}\0{salt}".encode())
    data = memoryview(array("Q", tokens)).cast("B")
    size = block_tokens * _TOKEN_BYTES
    chain = []
    for start in range(0, len(data) - size + 1, size):
        parent = xxh64_digest(parent + data[start : start + size])
        chain.append(parent)
    return b"".join(chain)

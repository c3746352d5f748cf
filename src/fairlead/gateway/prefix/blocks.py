"""Prompts as blocks: a 64-bit content hash of each, the same in every process and after every restart.

A block of text is a fixed number of bytes of the request's body, a block of tokens a fixed number of token ids. The
hash is XXH3 of the block alone, not chained: an index compares blocks in order, so that a chain would tell it nothing.
A last block that is not full is left out, as engines do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_digest, xxh3_64_intdigest

from fairlead.gateway.prefix.index import PromptBlocks

BLOCK_BYTES = 256
"""Of text: about 64 tokens."""
TOKEN_BYTES = 4.0
"""Of English text, for each token: the estimate where nothing better is known."""
MAX_TEXT_BYTES = 2 * 1024 * 1024
"""Of a prompt that are looked at: about 500,000 tokens, a whole cache."""
HASH_BYTES = 8


@dataclass(slots=True)
class TokenizedPrompt(PromptBlocks):
    """A prompt whose tokens are known exactly, beside its blocks of text for indexes that compare those."""

    token_ids: NDArray[np.uint32] | None = None
    token_space: int = 0
    """Space of the tokens: `space_of` the adapter (empty for the base model) and the cache salt."""


def space_of(model: str, salt: str = "") -> int:
    """Where prefixes are shared: only among requests for one model or adapter that carry the same cache salt."""
    return int(xxh3_64_intdigest(f"{model}\0{salt}".encode()))


def text_blocks(
    prompt: bytes | memoryview,
    space: int,
    block_bytes: int = BLOCK_BYTES,
    max_bytes: int = MAX_TEXT_BYTES,
    token_bytes: float = TOKEN_BYTES,
) -> PromptBlocks:
    """The whole blocks of the first `max_bytes` bytes; `token_bytes` estimates how many tokens they are."""
    count = min(len(prompt), max_bytes) // block_bytes
    return PromptBlocks(row_hashes(prompt, count, block_bytes), block_bytes / token_bytes, space)


def token_blocks(token_ids: Sequence[int] | NDArray[np.uint32], block_tokens: int, space: int) -> PromptBlocks:
    """The whole blocks of a prompt whose tokens are known exactly."""
    tokens = token_array(token_ids)
    count = len(tokens) // block_tokens
    return PromptBlocks(row_hashes(tokens, count, 4 * block_tokens), float(block_tokens), space)


def token_array(token_ids: Sequence[int] | NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Token ids as 32-bit numbers in little-endian order, whatever the machine's is.

    Raises OverflowError for a negative id or one of 2^32 and above, TypeError for what is no number.
    """
    return np.ascontiguousarray(token_ids, dtype="<u4")


def row_hashes(data: bytes | memoryview | NDArray[np.uint32], count: int, row_bytes: int) -> NDArray[np.uint64]:
    """Content hashes of the first `count` rows of `row_bytes` bytes."""
    if count <= 0:
        return np.empty(0, np.uint64)
    # Cut in one call and hashed by map: no bytecode runs for each row.
    rows = np.frombuffer(data, f"V{row_bytes}", count)
    return np.frombuffer(b"".join(map(xxh3_64_digest, rows.tolist())), np.uint64)

"""Tokens without a tokenizer's files: four bytes each, stateless and reversible.

Token i of a text is its UTF-8 bytes 4i to 4i + 3 as a little-endian number. A last token of n = 1 to 3 bytes is that
number with n above its 32 bits, so that every token says how many bytes it stands for. Two texts with the same first
4n bytes share n tokens, and `decode(encode(text)) == text`.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from typing import Protocol

BYTES_PER_TOKEN = 4
_FULL = 1 << 32
EOS = 4 << 32
"""Ends an answer; no text has it."""


class Tokenizer(Protocol):
    """Text to token ids and back."""

    eos: int
    vocabulary: int | None
    """Ids are below this; None where any non-negative number below 2^63 is one."""
    max_chars: int
    """Most characters that one token stands for."""

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]: ...

    def decode(self, ids: Sequence[int]) -> str: ...

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The text of every token by itself."""
        ...


class ByteTokenizer:
    """The one that needs no files."""

    eos = EOS
    vocabulary: int | None = None
    max_chars = BYTES_PER_TOKEN

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        data = text.encode("utf-8", "surrogatepass")
        rest = len(data) % BYTES_PER_TOKEN
        words = array("I", data[: len(data) - rest])
        if sys.byteorder == "big":
            words.byteswap()
        ids = words.tolist()
        if rest:
            ids.append(int.from_bytes(data[-rest:], "little") | rest << 32)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        return b"".join(map(_bytes_of, ids)).decode("utf-8", "replace")

    def pieces(self, ids: Sequence[int]) -> list[str]:
        return [_bytes_of(each).decode("utf-8", "replace") for each in ids]


def _bytes_of(token: int) -> bytes:
    if token < _FULL:
        return token.to_bytes(BYTES_PER_TOKEN, "little")
    length = token >> 32
    return (token & (_FULL - 1)).to_bytes(BYTES_PER_TOKEN, "little")[:length] if length < BYTES_PER_TOKEN else b""

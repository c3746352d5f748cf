"""What a simulated model says: words drawn by a seed, each of which is one token wherever it stands.

The same seed gives the same answer, and an answer is known in full before its first token. Tokenising an answer again
gives the very ids that were generated, so a conversation that continues it hits the prefix cache.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence

from fairlead.simulator.server.text.tokens import ByteTokenizer

_FIRST_TEXT = "Well When Then Here This That Each Most Many Some Once From Both Next Late Soon Just Only Even Over"
_REST_TEXT = """
the and for are but not you all any can had her was one our out day get has him his how man new now old see two way who
its let put say she too use act add age ago air arm art ask bad bag bed big bit box boy bus buy car cat cup cut dog dry
ear eat egg end eye far fat few fit fly fun gas gap hat hit hot ice ill job key kid law lay leg lie lot low map mix net
oil pay pen pin ran raw red rid row run sad sea set sit six sky sun tax tea ten tie tip top toy try via war wet win yes
"""
_FIRST = tuple(_FIRST_TEXT.split())
WORDS = tuple(_REST_TEXT.split())


class Words:
    """Draws answers: `first` may begin one, `rest` may follow. Both are (token id, its text)."""

    def __init__(self, first: Sequence[tuple[int, str]], rest: Sequence[tuple[int, str]]) -> None:
        self._first = first
        self.rest = rest

    def draw(self, seed: int, count: int) -> tuple[list[int], list[str]]:
        """Ids and texts of the first `count` tokens of the answer with this seed."""
        if count < 1:
            return [], []
        generator = random.Random(seed)
        begin = self._first[int(generator.random() * len(self._first))]
        drawn = generator.choices(self.rest, k=count - 1)
        return [begin[0], *(token for token, _ in drawn)], [begin[1], *(text for _, text in drawn)]


def byte_words() -> Words:
    """Words of four bytes for the tokenizer of four bytes: a capital and three letters, then a space and three."""
    tokenizer = ByteTokenizer()
    return Words(
        [(tokenizer.encode(word)[0], word) for word in _FIRST],
        [(tokenizer.encode(f" {word}")[0], f" {word}") for word in WORDS],
    )


def seed_of(prompt: bytes, seed: int | None, index: int = 0) -> int:
    """The 32-bit seed of choice `index` of an answer, from its prompt's bytes and the request's own seed."""
    own = b"" if seed is None else seed.to_bytes(8, "little", signed=True)
    return zlib.crc32(index.to_bytes(4, "little") if index else b"", zlib.crc32(own, zlib.crc32(prompt)))


def natural_tokens(seed: int, low: int, high: int) -> int:
    """After how many tokens, the one that ends it included, an answer ends by itself: `low` to `high`."""
    mixed = ((seed ^ 0x5BD1E995) * 0x27D4EB2F) & 0xFFFFFFFF
    return low + (mixed >> 8) % (high - low + 1)

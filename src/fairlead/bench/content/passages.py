"""Making texts of a number of words quickly: a fresh beginning that no other text has, then passages made once.

Engines reuse a prefix only from the first token on, so texts whose beginnings differ share nothing, whatever follows;
that is what lets a prompt of 100,000 tokens cost a few microseconds of copying.
"""

from __future__ import annotations

import random
from array import array
from hashlib import blake2b
from itertools import accumulate

FRESH_WORDS = 32
"""Of its own for each text: of 64 words even, 2^192 beginnings."""
PASSAGE_WORDS = 512
PASSAGES = 128
"""65,536 words before a text would say something twice."""


class Passages:
    """Texts of `words`, each with `separator` in front. The same generator gives the same text, and of two lengths the
    shorter text begins the longer one."""

    def __init__(self, words: list[str], separator: str) -> None:
        self._words = [separator + word for word in words]
        self._made: list[tuple[str, array[int]]] = []  # text, where each word ends

    def draw(self, count: int, rng: random.Random) -> str:
        """`count` words; none: an empty text."""
        if count <= FRESH_WORDS:
            return "".join(rng.choices(self._words, k=count)) if count > 0 else ""
        beginning = rng.choices(self._words, k=FRESH_WORDS)
        return self._continued(beginning, count, rng.randrange(PASSAGES), rng.randrange(PASSAGES // 2))

    def named(self, count: int, identity: int) -> str:
        """The same, the beginning of which comes of a number: its hash, two bytes a word. Several times as quick as a
        generator, which has to be seeded first."""
        digest = blake2b(identity.to_bytes(24, "little", signed=True), digest_size=2 * FRESH_WORDS).digest()
        words = self._words
        beginning = [words[digit % len(words)] for digit in array("H", digest)]
        if count <= FRESH_WORDS:
            return "".join(beginning[: max(0, count)])
        return self._continued(beginning, count, digest[0] % PASSAGES, digest[1] % (PASSAGES // 2))

    def _continued(self, parts: list[str], count: int, at: int, stride: int) -> str:
        made = self._made or self._make()
        left = count - FRESH_WORDS
        step = 2 * stride + 1  # odd, so that all passages are met before one comes again
        while left >= PASSAGE_WORDS:
            parts.append(made[at][0])
            left -= PASSAGE_WORDS
            at = (at + step) % PASSAGES
        if left:
            text, ends = made[at]
            parts.append(text[: ends[left - 1]])
        return "".join(parts)

    def _make(self) -> list[tuple[str, array[int]]]:
        rng = random.Random(0)
        for _ in range(PASSAGES):
            words = rng.choices(self._words, k=PASSAGE_WORDS)
            self._made.append(("".join(words), array("I", accumulate(map(len, words)))))
        return self._made

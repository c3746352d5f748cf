"""Texts of a number of tokens, and the number of tokens of a text: by a tokenizer, or by an estimate that says it is
one."""

from __future__ import annotations

import random
from typing import Protocol

from fairlead.bench.config.target import Tokenizer

_WORDS = (
    "time", "road", "water", "light", "house", "paper", "river", "stone", "green", "night", "field", "music", "north",
    "chair", "plant", "winter", "garden", "window", "summer", "silver",
)  # fmt: skip


class Tokens(Protocol):
    """`exact`: counts are the model's own, not an estimate. `name` says whose, for reports."""

    exact: bool
    name: str

    def text(self, count: int, rng: random.Random) -> str:
        """A text of `count` tokens, when it stands behind other texts made here."""
        ...

    def count(self, text: str) -> int: ...

    def block(self, identity: int, tokens: int) -> str:
        """The text of a block of a trace: always the same for one identity."""
        ...


class EstimatedTokens:
    """A token for every so many characters: no tokenizer was given."""

    exact = False

    def __init__(self, characters_per_token: float) -> None:
        self.name = f"an estimate: {characters_per_token:g} characters per token"
        self._characters = characters_per_token

    def text(self, count: int, rng: random.Random) -> str:
        wanted = max(1, round(count * self._characters))
        words: list[str] = []
        length = 0
        while length < wanted:
            word = rng.choice(_WORDS)
            words.append(word)
            length += len(word) + 1
        return (" " + " ".join(words))[:wanted]

    def count(self, text: str) -> int:
        return max(1, round(len(text) / self._characters)) if text else 0

    def block(self, identity: int, tokens: int) -> str:
        return self.text(tokens, random.Random(identity))


def tokens_of(tokenizer: Tokenizer) -> Tokens:
    """Raises ValueError for a tokenizer that cannot be had."""
    if tokenizer.source is not None:
        raise ValueError(f"tokenizer.source is {tokenizer.source!r}: tokenizers are not read yet; leave it out")
    return EstimatedTokens(tokenizer.characters_per_token)

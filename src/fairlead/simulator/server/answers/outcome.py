"""An answer, known in full before its first token: ids, the text that each token lets out, and why it ends.

A stop string may span tokens: text that could begin one is held back until it is decided, as vLLM's detokenizer does.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from fairlead.simulator.server.bodies.sampling import Sampling
from fairlead.simulator.server.text.tokens import Tokenizer
from fairlead.simulator.server.text.words import Words, natural_tokens

LENGTH = "length"
STOP = "stop"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call in the answer: which characters of the raw text are its arguments."""

    name: str
    arguments: str
    start: int
    """Where the arguments begin in the raw text."""


@dataclass(slots=True)
class Outcome:
    """Of one sequence. `texts[i]` is what may be sent when token i is there; together they are `text`."""

    ids: list[int]
    texts: list[str]
    finish_reason: str
    stop_reason: str | int | None = None
    seed: int = 0
    call: ToolCall | None = None

    @property
    def text(self) -> str:
        return "".join(self.texts)


class Author:
    """Writes answers with one tokenizer and its words; natural answers have `low` to `high` tokens."""

    def __init__(self, tokenizer: Tokenizer, words: Words, *, low: int = 32, high: int = 160) -> None:
        self._tokenizer = tokenizer
        self.words = words
        self._low = low
        self._high = high

    def free(self, seed: int, sampling: Sampling) -> Outcome:
        """Words until the natural end, or the most tokens."""
        limit = sampling.max_tokens
        natural = max(natural_tokens(seed, self._low, self._high), sampling.min_tokens + 1)
        if sampling.ignore_eos or natural > limit:
            ids, texts = self.words.draw(seed, limit)
            outcome = Outcome(ids, texts, LENGTH, seed=seed)
        else:
            ids, texts = self.words.draw(seed, natural - 1)
            outcome = Outcome([*ids, self._tokenizer.eos], [*texts, ""], STOP, seed=seed)
        return stopped(outcome, sampling) if sampling.stop or sampling.stop_token_ids else outcome

    def fixed(self, text: str, seed: int, sampling: Sampling, call: ToolCall | None = None) -> Outcome:
        """Exactly this text, cut at the most tokens."""
        ids = self._tokenizer.encode(text)
        texts = self._tokenizer.pieces(ids)
        if len(ids) < sampling.max_tokens:
            outcome = Outcome([*ids, self._tokenizer.eos], [*texts, ""], STOP, seed=seed, call=call)
        else:
            limit = sampling.max_tokens
            outcome = Outcome(ids[:limit], texts[:limit], LENGTH, seed=seed, call=call)
        return stopped(outcome, sampling) if sampling.stop and call is None else outcome


def stopped(outcome: Outcome, sampling: Sampling) -> Outcome:
    """The answer as far as stop strings and stop tokens let it go."""
    count, reason, cut = _first_stop(outcome, sampling)
    if reason is None:
        held = max(map(len, sampling.stop), default=1) - 1 if not sampling.include_stop else 0
        return Outcome(
            outcome.ids, _held_back(outcome.texts, held), outcome.finish_reason, None, outcome.seed, outcome.call
        )
    texts = outcome.texts[:count]
    if isinstance(reason, int):
        texts[-1] = texts[-1] if sampling.include_stop else ""
    else:
        held = max(map(len, sampling.stop)) - 1 if not sampling.include_stop else 0
        texts = _cut(_held_back(texts, held), cut)
    return Outcome(outcome.ids[:count], texts, STOP, reason, outcome.seed, outcome.call)


def _first_stop(outcome: Outcome, sampling: Sampling) -> tuple[int, str | int | None, int]:
    """(tokens until the stop, what stopped, characters of text to keep); nothing stopped: (all, None, 0)."""
    text = ""
    longest = max(map(len, sampling.stop), default=0)
    for index, (token, piece) in enumerate(zip(outcome.ids, outcome.texts, strict=True)):
        window = max(0, len(text) - longest + 1)
        text += piece
        if index + 1 < sampling.min_tokens:
            continue
        if token in sampling.stop_token_ids:
            return index + 1, token, 0
        for stop in sampling.stop:
            found = text.find(stop, window)
            if found >= 0:
                return index + 1, stop, found + len(stop) if sampling.include_stop else found
    return len(outcome.ids), None, 0


def _held_back(texts: Sequence[str], characters: int) -> list[str]:
    """The same text with the last `characters` characters always held until the end."""
    if not characters:
        return list(texts)
    result, held = [], ""
    for piece in texts[:-1]:
        held += piece
        ready = max(0, len(held) - characters)
        result.append(held[:ready])
        held = held[ready:]
    return [*result, held + texts[-1]] if texts else []


def _cut(texts: Sequence[str], characters: int) -> list[str]:
    """The texts up to so many characters in all."""
    result, left = [], characters
    for piece in texts:
        result.append(piece[:left])
        left -= len(result[-1])
    return result


def alternatives(seed: int, position: int, count: int, words: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
    """Other tokens that could have stood at a position."""
    generator = random.Random(seed * 1_000_003 + position)
    return generator.sample(words, min(count, len(words)))


def logprob_of(seed: int, position: int, rank: int = 1) -> float:
    """A plausible log probability: the better the rank, the nearer to 0."""
    mixed = ((seed + 0x9E3779B1 * (position + 1)) * 0x85EBCA6B >> 7) & 0xFFFF
    return -(mixed / 0xFFFF) * 0.5 - 1.5 * (rank - 1) - 0.001

"""Texts of a number of tokens, and the number of tokens of a text: by a tokenizer, or by an estimate that says it is
one."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cached_property
from typing import Any, Protocol

from fairlead.bench.config.target import Api, Tokenizer
from fairlead.bench.content.alphabet import Alphabet, kept_alphabet, load_tokenizer
from fairlead.bench.content.passages import Passages
from fairlead.bench.content.tokenizer_file import tokenizer_file

_SHORT_WORDS = [
    "act", "add", "age", "ago", "air", "all", "and", "any", "arm", "art", "ask", "bad", "bag", "bed", "big", "bit",
    "box", "boy", "bus", "but", "buy", "can", "car", "cat", "cup", "cut", "day", "did", "dog", "dry", "eat", "end",
    "eye", "far", "few", "fit", "fly", "for", "fun", "get", "god", "got", "had", "has", "hat", "her", "him", "his",
    "hit", "hot", "how", "ice", "its", "job", "key", "kid",
]  # fmt: skip
_BARE_APIS = {"completions", "embeddings", "triton-generate", "open-inference"}
"""APIs whose prompt is tokenised as it is, with the tokenizer's special tokens around it. A chat's template adds what
it likes, which no client can know."""
_BLOCKS_BYTES = 16 * 2**20


class Tokens(Protocol):
    """`exact`: counts are the model's own, not an estimate. `name` says whose, for reports.

    `additive`: texts of `text` and `block` behind each other have the sum of their tokens. `added`: special tokens
    that the server puts around a prompt and counts as its own.
    """

    exact: bool
    additive: bool
    name: str
    added: int

    def text(self, count: int, rng: random.Random) -> str:
        """A text of `count` tokens, when it stands behind other texts made here; 0: an empty one."""
        ...

    def count(self, text: str) -> int:
        """Without special tokens."""
        ...

    def block(self, identity: int, tokens: int) -> str:
        """The text of a block of a trace: always the same for one identity, and a shorter one begins a longer one."""
        ...

    def opened(self, text: str) -> str:
        """A text as it stands at the beginning of a prompt, where it has the same tokens."""
        ...


class Blocks:
    """Texts by identity, of which as many are kept as there is room for: in traces the same come again and again."""

    def __init__(self, make: Callable[[int, int], str]) -> None:
        """`make` takes tokens and identity."""
        self._make, self._size_bytes = make, 0
        self._made: dict[tuple[int, int], str] = {}

    def of(self, identity: int, tokens: int) -> str:
        key = identity, tokens
        text = self._made.get(key)
        if text is None:
            text = self._make(tokens, identity)
            if self._size_bytes > _BLOCKS_BYTES:
                self._made.clear()
                self._size_bytes = 0
            self._made[key] = text
            self._size_bytes += len(text)
        return text


class EstimatedTokens:
    """A token for every so many characters: no tokenizer was given.

    The words have three letters, which with their space is the usual four characters for a token of English, and most
    tokenizers have each of them whole; so the estimate is near where nothing is set.
    """

    exact, additive, added = False, True, 0

    def __init__(self, characters_per_token: float) -> None:
        self.name = f"an estimate: {characters_per_token:g} characters per token"
        self._characters = characters_per_token
        self._passages = Passages(_SHORT_WORDS, " ")
        self._blocks = Blocks(lambda tokens, identity: self.text(tokens, random.Random(identity)))

    def text(self, count: int, rng: random.Random) -> str:
        if count <= 0:
            return ""
        wanted = max(1, round(count * self._characters))
        text = self._passages.draw(-(-wanted // 4), rng)[:wanted]
        return text[:-1] + "s" if text.endswith(" ") else text

    def count(self, text: str) -> int:
        return max(1, round(len(text) / self._characters)) if text else 0

    def block(self, identity: int, tokens: int) -> str:
        return self._blocks.of(identity, tokens)

    def opened(self, text: str) -> str:
        return text


class _Loaded:
    """A tokenizer that is loaded when it is first asked: some take a second and 100 MB, and made texts need it once."""

    def __init__(self, data: bytes, name: str) -> None:
        self._data, self.name = data, name

    @cached_property
    def tokenizer(self) -> Any:
        return load_tokenizer(self._data)

    def count(self, text: str) -> int:
        return len(self.tokenizer.encode(text, add_special_tokens=False).ids) if text else 0


class WordTokens:
    """Texts of words that are one token each. Exact however texts made here are put behind each other."""

    exact = additive = True

    def __init__(self, loaded: _Loaded, alphabet: Alphabet, added: int) -> None:
        self.name, self.added = loaded.name, added
        self._loaded, self._alphabet = loaded, alphabet
        self._passages = Passages(alphabet.words, alphabet.separator)
        self._blocks = Blocks(self._passages.named)
        self.text = self._passages.draw
        self.block = self._blocks.of
        self.count = loaded.count

    def opened(self, text: str) -> str:
        return text[1:] if self._alphabet.bare_start and text.startswith(" ") else text


class MeasuredTokens:
    """Texts that were counted as they were made, for a tokenizer none of whose words stay whole everywhere. Each text
    is exact by itself; two behind each other may melt at the seam, which `additive` says."""

    exact, additive = True, False
    _TRIES = 50

    def __init__(self, loaded: _Loaded, added: int) -> None:
        self.name, self.added = loaded.name, added
        self._loaded = loaded
        self._passages = Passages(_SHORT_WORDS, " ")
        self._blocks = Blocks(lambda tokens, identity: self.text(tokens, random.Random(identity)))
        self.block = self._blocks.of
        self.count = loaded.count

    def text(self, count: int, rng: random.Random) -> str:
        """Raises ValueError for a length that no text was found to have."""
        if count <= 0:
            return ""
        for _ in range(self._TRIES):
            long = self._passages.draw(count + 4, rng)
            offsets = self._loaded.tokenizer.encode(long, add_special_tokens=False).offsets
            if len(offsets) < count:
                continue
            end = offsets[count - 1][1]
            for cut in (end, end + 1, end - 1, end + 2, end - 2):
                text = long[: max(1, cut)]
                if self.count(text) == count:
                    return text
        raise ValueError(f"tokenizer {self.name}: no text of exactly {count} tokens was found; take another length")

    def opened(self, text: str) -> str:
        return text


def counts_bare(api: Api) -> bool:
    """Whether a prompt is tokenised as it is, with special tokens around it."""
    return api in _BARE_APIS


def tokens_of(tokenizer: Tokenizer, api: Api = "chat") -> Tokens:
    """Of a target's tokenizer, as its API counts. Raises ValueError for a tokenizer that cannot be had."""
    if tokenizer.source is None:
        return EstimatedTokens(tokenizer.characters_per_token)
    data = tokenizer_file(tokenizer.source)
    loaded = _Loaded(data, tokenizer.source)
    try:
        alphabet = kept_alphabet(data, lambda: loaded.tokenizer)
        special = alphabet.added if alphabet is not None else loaded.tokenizer.num_special_tokens_to_add(False)
    except ValueError as error:
        raise ValueError(f"tokenizer.source is {tokenizer.source!r}: {error}") from None
    added = special if counts_bare(api) else 0
    return WordTokens(loaded, alphabet, added) if alphabet is not None else MeasuredTokens(loaded, added)

"""Words of which a tokenizer makes one token each, whatever stands around them: texts have as many tokens as words.

Nothing is assumed of a tokenizer: words of its vocabulary are tried alone and in long random rows, and those that are
split, or that melt into a neighbour, are left out until whole rows are exact. The search is made once for a tokenizer
and kept in the user's cache.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

ENOUGH_WORDS = 1024
FEWEST_WORDS, FEWEST_SIGNS = 16, 2
_TRIED = 6000
_ROUNDS = 12
_ROWS, _ROW_WORDS = 24, 200
_VERSION = 2


class Alphabet(msgspec.Struct, frozen=True):
    """Words that are one token each, with `separator` in front of each. `bare_start`: the first word of a prompt may
    stand without the separator, and then does (chat templates trim what comes first). `added`: special tokens that a
    server puts around a bare prompt."""

    words: list[str]
    separator: str
    bare_start: bool
    added: int


class Found(msgspec.Struct, frozen=True):
    """`alphabet` None: no words are one token wherever they stand. A struct of its own, so that this is kept, too."""

    alphabet: Alphabet | None


def load_tokenizer(data: bytes) -> Any:
    """The tokenizer of a `tokenizer.json`, without cutting or filling. Raises ValueError."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_buffer(data)
    except Exception as error:  # the library raises bare Exceptions
        raise ValueError(f"it is no tokenizer.json: {' '.join(str(error).split())[:200]}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def kept_alphabet(data: bytes, tokenizer: Callable[[], Any]) -> Alphabet | None:
    """From the cache, or found and kept there where that can be done."""
    path = _cache_folder() / f"{blake2b(data, digest_size=16).hexdigest()}-{_VERSION}.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Found).alphabet
    except (OSError, msgspec.DecodeError):
        found = Found(find_alphabet(tokenizer()))
    beside = path.with_suffix(f".{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(msgspec.json.encode(found))
        beside.replace(path)
    except OSError:
        pass  # it is found again next time
    return found.alphabet


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fairlead" / "bench" / "alphabets"


def find_alphabet(tokenizer: Any) -> Alphabet | None:
    """Words with a space between them, or else signs with nothing between; None: neither is exact."""
    added = tokenizer.num_special_tokens_to_add(False)
    words = _candidates(tokenizer)
    spaced = _single(tokenizer, words, " ")
    bare = _single(tokenizer, words, "")
    known = set(bare)
    both = [word for word in spaced if word in known]
    # A tokenizer that puts a space in front by itself has no word that is one token behind another space.
    for among, bare_start in ((both, True), (bare, True), (spaced, False)):
        kept = _settled(tokenizer, among, bare_start)
        if len(kept) >= FEWEST_WORDS:
            return Alphabet(kept[:ENOUGH_WORDS], " ", bare_start, added)
    signs = _signs(tokenizer)
    return Alphabet(signs, "", True, added) if len(signs) >= FEWEST_SIGNS else None


def _candidates(tokenizer: Any) -> list[str]:
    """Plain short words of the vocabulary, in an order that is always the same and favours none."""
    found = {token.lstrip("Ġ▁") for token in tokenizer.get_vocab(with_added_tokens=False)}
    words = sorted(word for word in found if 2 <= len(word) <= 12 and word.isascii() and word.isalpha())
    lower = [word for word in words if word.islower()]
    words = lower if len(lower) >= FEWEST_WORDS else words
    random.Random(0).shuffle(words)
    return words[:_TRIED]


def _single(tokenizer: Any, words: list[str], before: str) -> list[str]:
    """Those that are one token behind `before` and alone."""
    counts = _counts(tokenizer, [before + word for word in words])
    return [word for word, count in zip(words, counts, strict=True) if count == 1]


def _counts(tokenizer: Any, texts: Sequence[str]) -> list[int]:
    counts: list[int] = []
    for at in range(0, len(texts), 512):
        counts.extend(len(e.ids) for e in tokenizer.encode_batch(texts[at : at + 512], add_special_tokens=False))
    return counts


def _settled(tokenizer: Any, words: list[str], bare_start: bool) -> list[str]:
    """Without the words that are not one token in random rows. Empty: rows are not exact whatever is left out."""
    words = words[: 2 * ENOUGH_WORDS]
    rng = random.Random(1)
    for _ in range(_ROUNDS):
        if len(words) < FEWEST_WORDS:
            return []
        bad: set[str] = set()
        exact = True
        for _ in range(_ROWS):
            row = rng.choices(words, k=_ROW_WORDS)
            text = " ".join(row) if bare_start else " " + " ".join(row)
            encoded = tokenizer.encode(text, add_special_tokens=False)
            if len(encoded.ids) != len(row):
                exact = False
                bad.update(_melted(row, text, encoded.offsets))
        if exact:
            return words
        if not bad:
            return []
        words = [word for word in words if word not in bad]
    return []


def _melted(row: list[str], text: str, offsets: Iterable[tuple[int, int]]) -> set[str]:
    """Words of a row where no token ends, or where one ends inside."""
    ends = {end for _, end in offsets}
    bad: set[str] = set()
    at = 0
    for word in row:
        begin = text.index(word, at)
        at = begin + len(word)
        if at not in ends or any(end in ends for end in range(begin + 1, at)):
            bad.add(word)
    return bad


def _signs(tokenizer: Any) -> list[str]:
    """Single signs that stay one token each in any order, taken one at a time. What melts begins with a pair that
    melts, so each pair is tried; long rows are tried for tokenizers of which that is not so."""
    rng = random.Random(2)
    kept: list[str] = []
    for sign in "0123456789abcdefghijklmnopqrstuvwxyz":
        tried = [*kept, sign]
        pairs = ["".join(sign + other for other in tried) + sign, sign * 5]
        rows = [*pairs, *("".join(rng.choices(tried, k=64)) for _ in range(4))]
        if _counts(tokenizer, rows) == [len(row) for row in rows]:
            kept = tried
    rows = ["".join(rng.choices(kept, k=_ROW_WORDS)) for _ in range(_ROWS)] if kept else []
    return kept if _counts(tokenizer, rows) == [len(row) for row in rows] else []

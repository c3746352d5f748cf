"""Text to tokens with a model's own `tokenizer.json`, and no more of a text than is new.

Tokenising costs a second for a megabyte, and most of a long prompt was seen before. So the tokens of recent prompts are
kept, with places at which a text can be cut without any token changing:

- tokenizers of byte-level BPE split a text by a regular expression from left to right, and tokens never cross a split;
- the split before a space and a letter is decided by the characters up to there and these two;
- so two texts that agree up to a little beyond such a split have the same tokens before it, and those after it are the
  tokens of the rest alone.

"A little" is the longest added token, which is looked for before the expression is. Tokenizers that normalise text, put
a space in front of it or do not split it tokenise each text whole.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from fairlead.gateway.prefix.blocks import row_hashes
from fairlead.gateway.prefix.chain import names_after, root_name

BLOCK_CHARACTERS = 1024
"""Between two places at which texts are compared."""
MAX_CACHED_TOKENS = 8_000_000
_PROBES = (
    "The quick brown fox, it's said, jumped over 12345 lazy dogs.\n\n  And then?  \tYes: x=foo(bar)[0]; naïve café 你",
    "  def f(a):\n\treturn {'k': a}\r\n\r\n## Title \n- item one\n- item two's end 3.14159 !!! ??? end",
)


class TokenizerError(ValueError):
    """A `tokenizer.json` that cannot be read, or a text that it cannot tokenise; the message says which and why."""


@dataclass(frozen=True, slots=True)
class _Cut:
    """A place in a text that was tokenised: `tokens` tokens make its first `characters` characters."""

    prompt: int
    tokens: int
    characters: int


class TextTokenizer:
    """One model's tokenizer. Any thread may use it; other threads run meanwhile."""

    def __init__(self, path: Path, max_cached_tokens: int = MAX_CACHED_TOKENS) -> None:
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
            settings = json.loads(path.read_bytes())
        except Exception as error:  # the library raises the bare class
            raise TokenizerError(f"{path}: {error}") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._prefix, self._suffix = self._special_tokens()
        self._margin = 2 + max((len(token["content"]) for token in settings.get("added_tokens") or ()), default=0)
        self._can_cut = _splits_from_left_to_right(settings) and self._probe()
        self._max_cached_tokens = max_cached_tokens
        self._lock = threading.Lock()
        self._prompts: OrderedDict[int, tuple[NDArray[np.uint32], list[int]]] = OrderedDict()
        """Number -> its tokens, and the names of its blocks; the longest unused first."""
        self._cuts: dict[int, _Cut] = {}  # name of a text's beginning -> a place shortly before its end
        self._cached_tokens = 0
        self._numbers = 0
        self.reused_characters = 0
        self.encoded_characters = 0

    @property
    def can_cut(self) -> bool:
        """Whether beginnings that were seen before are reused."""
        return self._can_cut

    @property
    def cached_tokens(self) -> int:
        return self._cached_tokens

    def encode(self, text: str, *, special_tokens: bool = True) -> NDArray[np.uint32]:
        """The tokens; with those that the model's template puts around a text. Raises TokenizerError."""
        body = self._body(text)
        if not special_tokens or not (len(self._prefix) or len(self._suffix)):
            return body
        return np.concatenate((self._prefix, body, self._suffix))

    def _body(self, text: str) -> NDArray[np.uint32]:
        if not self._can_cut or len(text) < 2 * BLOCK_CHARACTERS:
            self.encoded_characters += len(text)
            return _ids(self._encode(text))
        names = _names(text)
        with self._lock:
            depth, cut, head = self._longest(names)
        start = cut.characters if cut else 0
        encoding = self._encode(text[start:])
        tokens = np.concatenate((head, _ids(encoding)))
        self.encoded_characters += len(text) - start
        self.reused_characters += start
        cuts = self._find_cuts(text, encoding, start, len(head), depth, len(names))
        with self._lock:
            self._keep(tokens, names, depth, cuts)
        return tokens

    def _longest(self, names: list[int]) -> tuple[int, _Cut | None, NDArray[np.uint32]]:
        """The longest beginning that was seen: its blocks, the place before its end, and the tokens up to there."""
        for depth in range(len(names), 0, -1):
            cut = self._cuts.get(names[depth - 1])
            if cut is not None:
                self._prompts.move_to_end(cut.prompt)
                return depth, cut, self._prompts[cut.prompt][0][: cut.tokens]
        return 0, None, np.empty(0, np.uint32)

    def _find_cuts(
        self, text: str, encoding: Encoding, start: int, head_tokens: int, depth: int, blocks: int
    ) -> dict[int, tuple[int, int]]:
        """Block -> (tokens, characters) of the last place before its end at which the text may be cut."""
        cuts = {}
        for block in range(depth, blocks):
            end = (block + 1) * BLOCK_CHARACTERS - self._margin
            at = _last_cut(text, max(start, block * BLOCK_CHARACTERS), end)
            if at is None:
                continue
            tokens = _tokens_before(encoding, at - start)
            if tokens is not None:
                cuts[block] = (head_tokens + tokens, at)
        return cuts

    def _keep(self, tokens: NDArray[np.uint32], names: list[int], depth: int, cuts: dict[int, tuple[int, int]]) -> None:
        if len(tokens) > self._max_cached_tokens // 4:
            return
        self._numbers += 1
        number = self._numbers
        for block, name in enumerate(names):
            known = self._cuts.get(name)
            if block in cuts:
                self._cuts[name] = _Cut(number, *cuts[block])
            elif block < depth and known is not None:
                # The same beginning: it lives as long as the latest prompt that has it.
                self._cuts[name] = _Cut(number, known.tokens, known.characters)
        self._prompts[number] = (tokens, names)
        self._cached_tokens += len(tokens)
        while self._cached_tokens > self._max_cached_tokens:
            oldest, (old_tokens, old_names) = self._prompts.popitem(last=False)
            self._cached_tokens -= len(old_tokens)
            for name in old_names:
                cut = self._cuts.get(name)
                if cut is not None and cut.prompt == oldest:
                    del self._cuts[name]

    def _encode(self, text: str) -> Encoding:
        try:
            # Of a list: only then does the library let other threads run.
            return self._tokenizer.encode_batch([text], add_special_tokens=False)[0]
        except Exception as error:  # lone surrogates, unknown characters without an unknown token
            raise TokenizerError(f"a text of {len(text)} characters: {error}") from error

    def _special_tokens(self) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        """What the template puts before and after a text."""
        plain = self._encode("a").ids
        whole = self._tokenizer.encode("a", add_special_tokens=True).ids
        for start in range(len(whole) - len(plain) + 1):
            if whole[start : start + len(plain)] == plain:
                end = start + len(plain)
                return np.array(whole[:start], np.uint32), np.array(whole[end:], np.uint32)
        raise TokenizerError("the template of special tokens changes the text's own tokens")

    def _probe(self) -> bool:
        """Whether the rule of cuts holds for some texts that are hard to split."""
        for text in _PROBES:
            encoding = self._encode(text)
            ids = encoding.ids
            for at in range(1, len(text) - 1):
                if not _may_cut(text, at):
                    continue
                count = _tokens_before(encoding, at)
                if count is not None and ids != self._encode(text[:at]).ids + self._encode(text[at:]).ids:
                    return False
        return True


def _ids(encoding: Encoding) -> NDArray[np.uint32]:
    return np.array(encoding.ids, np.uint32)


def _names(text: str) -> list[int]:
    """A name for the text up to the end of each whole block."""
    count = len(text) // BLOCK_CHARACTERS
    data = text[: count * BLOCK_CHARACTERS].encode("utf-32-le", "surrogatepass")
    names: list[int] = names_after(root_name(0, 0), row_hashes(data, count, 4 * BLOCK_CHARACTERS)).tolist()
    return names


def _may_cut(text: str, at: int) -> bool:
    """A word, then a space and a letter."""
    before, after = text[at - 1], text[at + 1 : at + 2]
    return text[at] == " " and after.isascii() and after.isalpha() and not before.isspace()


def _last_cut(text: str, start: int, end: int) -> int | None:
    at = text.rfind(" ", start + 1, end)
    while at > start:
        if _may_cut(text, at):
            return at
        at = text.rfind(" ", start + 1, at)
    return None


def _tokens_before(encoding: Encoding, at: int) -> int | None:
    """How many tokens make the text before `at`, a space; None where it is not between two splits."""
    token = encoding.char_to_token(at)
    if token is None:
        # Tokenizers that trim offsets leave the space out of its token.
        token = encoding.char_to_token(at + 1)
    if not token:
        return None
    before = encoding.token_to_chars(token - 1)
    if before is None or before[1] != at or encoding.token_to_word(token) == encoding.token_to_word(token - 1):
        return None
    return int(token)


def _splits_from_left_to_right(settings: Mapping[str, Any]) -> bool:
    """Byte-level BPE behind splits by expressions alone, which is what today's language models have."""
    if settings.get("normalizer") is not None or (settings.get("model") or {}).get("type") != "BPE":
        return False
    first = settings.get("pre_tokenizer") or {}
    steps = first.get("pretokenizers", ()) if first.get("type") == "Sequence" else (first,)
    splits = False
    for step in steps:
        if step.get("type") == "ByteLevel" and not step.get("add_prefix_space"):
            splits = splits or bool(step.get("use_regex", True))
        elif step.get("type") == "Split" and "Regex" in (step.get("pattern") or {}):
            # What looks back may see beyond a cut.
            splits = splits or "(?<" not in step["pattern"]["Regex"]
        elif step.get("type") != "Digits":
            return False
    return splits and not any(token.get("lstrip") for token in settings.get("added_tokens") or ())

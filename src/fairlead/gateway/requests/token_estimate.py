"""How many tokens a text has, guessed from its bytes at a cost that does not grow with it.

The weights are a least-squares fit to the tokenizers cl100k, o200k, Qwen and DeepSeek over English, code, JSON and
twelve other languages, as they stand in JSON bodies with and without `\\u` escapes: the mean error is 12 %, that of a
plain four bytes a token 23 %, and 60 to 140 % where texts are escaped.
"""

from __future__ import annotations

from typing import Final

_SAMPLE_BYTES: Final = 256
_SAMPLES: Final = 4
"""Longer texts are judged by this many windows of this size, spread evenly."""

_HIGH: Final = bytes(range(0x80, 0x100))
_ASCII_TOKENS: Final = 0.255
_HIGH_TOKENS: Final = 0.3
_CYRILLIC_LESS: Final = 0.22
"""What a Cyrillic letter has less than two other bytes have."""
_ESCAPE_LESS: Final = 0.78
"""What `\\uXXXX` has less than six letters have."""
_CYRILLIC_ESCAPE_LESS: Final = 0.35
"""What a Cyrillic one has less than other escapes have."""
_FEW_ESCAPES: Final = 0.04
"""Backslashes in a byte up to which they are taken for line ends, as most are, without looking."""

IMAGE_TOKENS: Final = 1000
"""A picture of one megapixel, about, in the models of today."""
AUDIO_TOKENS: Final = 750
"""Half a minute at 25 tokens a second."""
VIDEO_TOKENS: Final = 4000
FILE_TOKENS: Final = 1500
"""A few pages."""


def estimate_tokens(text: bytes | memoryview) -> int:
    """Tokens of a text as it stands in a JSON body; 0 only for an empty one."""
    length = len(text)
    if not length:
        return 0
    if length <= _SAMPLE_BYTES * _SAMPLES:
        sample = text if type(text) is bytes else bytes(text)
    else:
        step = (length - _SAMPLE_BYTES) // (_SAMPLES - 1)
        sample = b"".join([text[at : at + _SAMPLE_BYTES] for at in range(0, step * _SAMPLES, step)])
    size = len(sample)
    tokens = size * _ASCII_TOKENS
    if not sample.isascii():
        tokens += (size - len(sample.translate(None, _HIGH))) * (_HIGH_TOKENS - _ASCII_TOKENS)
        tokens -= (sample.count(b"\xd0") + sample.count(b"\xd1")) * _CYRILLIC_LESS
    if sample.count(b"\\") > size * _FEW_ESCAPES:
        tokens -= sample.count(b"\\u") * _ESCAPE_LESS + sample.count(b"\\u04") * _CYRILLIC_ESCAPE_LESS
    return max(1, int(tokens * length / size + 0.5))


def media_tokens(kind: str) -> int:
    """Tokens of a part of a prompt that is not text, by its type in OpenAI's, Anthropic's or vLLM's words."""
    if "image" in kind:
        return IMAGE_TOKENS
    if "audio" in kind:
        return AUDIO_TOKENS
    return VIDEO_TOKENS if "video" in kind else FILE_TOKENS

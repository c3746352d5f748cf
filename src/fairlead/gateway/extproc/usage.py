"""Token counts from the end of an answer, without reading the rest of it.

Shapes: OpenAI chat, completions and embeddings (`prompt_tokens`, `completion_tokens`), OpenAI responses and Anthropic
messages (`input_tokens`, `output_tokens`). A stream has them in its last events; Anthropic's has the prompt's in its
first. Inside generated text the name would be escaped, so its unescaped form is the field itself.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

KEPT_BYTES = 8192
"""Of the beginning and of the end of an answer: usage objects are a few hundred bytes."""

_NAME = b'"usage"'


class Usage(NamedTuple):
    """Tokens of a request; None = the answer does not say."""

    prompt_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class _Counts(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    input_tokens_details: _Details | None = None


_decoder = msgspec.json.Decoder(_Counts)


def usage_in(first: bytes, last: bytes) -> Usage:
    """Counts from the first and last bytes of an answer; what the end says wins."""
    end, begin = _counts(last), _counts(first)
    if end is None or begin is None or end is begin:
        return _usage(end or begin) if end or begin else Usage()
    a, b = _usage(end), _usage(begin)
    return Usage(*(late if late is not None else early for late, early in zip(a, b, strict=True)))


def _usage(counts: _Counts | None) -> Usage:
    if counts is None:
        return Usage()
    prompt = counts.prompt_tokens if counts.prompt_tokens is not None else counts.input_tokens
    output = counts.completion_tokens if counts.completion_tokens is not None else counts.output_tokens
    cached = counts.cache_read_input_tokens
    if prompt is not None:
        # Anthropic counts the tokens read from the cache, and those written to it, beside the input tokens.
        prompt += (cached or 0) + (counts.cache_creation_input_tokens or 0)
    details = counts.prompt_tokens_details or counts.input_tokens_details
    if cached is None and details is not None:
        cached = details.cached_tokens
    return Usage(prompt, output, cached)


def _counts(text: bytes) -> _Counts | None:
    """The last usage object of a text that may be cut anywhere."""
    at = len(text)
    while (at := text.rfind(_NAME, 0, at)) >= 0:
        rest = text[at + len(_NAME) :].lstrip()
        if not rest.startswith(b":"):
            continue
        rest = rest[1:].lstrip()
        if (end := _object_end(rest)) < 0:
            continue
        try:
            return _decoder.decode(rest[:end])
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    return None


def _object_end(text: bytes) -> int:
    """Where the JSON object ends that the text begins with; -1 when it does not begin with a whole one.

    Usage objects hold numbers and objects of numbers: no text in them has braces.
    """
    if not text.startswith(b"{"):
        return -1
    depth, at = 1, 1
    while depth:
        opens, closes = text.find(b"{", at), text.find(b"}", at)
        if closes < 0:
            return -1
        if 0 <= opens < closes:
            depth, at = depth + 1, opens + 1
        else:
            depth, at = depth - 1, closes + 1
    return at

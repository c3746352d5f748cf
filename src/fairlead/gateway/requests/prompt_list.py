"""One prompt or several, as text or as tokens: the forms of `prompt` and `input` in OpenAI's API."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec
from msgspec import Raw

from fairlead.gateway.requests.token_estimate import estimate_tokens

_QUOTE: Final = 0x22
_LIST: Final = 0x5B

_ids = msgspec.json.Decoder(tuple[int, ...])
_raws = msgspec.json.Decoder(list[Raw])


class Prompts(NamedTuple):
    first: bytes | memoryview
    """Raw bytes, a text's without its quotation marks."""
    token_ids: tuple[int, ...] | None
    """Of the first."""
    tokens: int
    """Of all."""
    answers: int
    """How many there are."""


def read_prompts(raw: Raw) -> Prompts:
    """A text, a list of texts, a prompt in tokens, or a list of those; anything else counts as a text."""
    view = memoryview(raw)
    if view[0] != _LIST:
        text = view[1:-1] if view[0] == _QUOTE else view
        return Prompts(text, None, estimate_tokens(text), 1)
    ids = _token_ids(raw)
    if ids is not None:
        return Prompts(view, ids, len(ids), 1)
    prompts = _raws.decode(raw)
    if not prompts:
        return Prompts(b"", None, 0, 1)
    read = [_read_one(each) for each in prompts]
    return Prompts(read[0].first, read[0].token_ids, sum([each.tokens for each in read]), len(read))


def _read_one(raw: Raw) -> Prompts:
    view = memoryview(raw)
    if view[0] == _LIST and (ids := _token_ids(raw)) is not None:
        return Prompts(view, ids, len(ids), 1)
    text = view[1:-1] if view[0] == _QUOTE else view
    return Prompts(text, None, estimate_tokens(text), 1)


def _token_ids(raw: Raw) -> tuple[int, ...] | None:
    view = memoryview(raw)
    if view[1] not in b"0123456789 \n\r\t-":
        return None  # Texts or lists: no need to try.
    try:
        return _ids.decode(raw) or None
    except (msgspec.MsgspecError, ValueError):
        return None

"""Messages as prefixes: the raw bytes of a conversation, without what would make equal beginnings differ.

Nearly all conversations are text and pass as they are. Two things are taken out of the others: payloads of pictures and
recordings, each replaced by its digest, and Anthropic's `cache_control`, which clients move from message to message.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import xxhash
from msgspec import Raw

from fairlead.gateway.requests.spans import offset_in, with_key
from fairlead.gateway.requests.token_estimate import estimate_tokens, media_tokens

_LIST = 0x5B
_COPIED_BYTES = 1 << 14
"""Up to here a copy costs less than to find out where in the body the conversation is."""
MEDIA_TYPES = frozenset(
    (
        "image_url", "input_image", "image", "image_pil", "image_embeds", "input_audio", "audio_url", "audio",
        "audio_embeds", "video_url", "video", "input_video", "file", "input_file", "document",
    )
)  # fmt: skip

_BILLING_LINE = b'"x-anthropic-billing-header'
"""A line that a well-known client puts first, new for each request; engines drop it."""


class Text(NamedTuple):
    """A part of a prompt."""

    raw: bytes | memoryview[int]
    tokens: int
    media: int = 0


class _Message(msgspec.Struct):
    content: Raw = Raw()
    output: Raw = Raw()
    """Of a function call, in OpenAI's Responses."""


class _Part(msgspec.Struct):
    type: str = ""
    content: Raw = Raw()
    """Of a tool's result."""
    source: Raw = Raw()
    cache_control: Raw = Raw()
    text: Raw = Raw()


_messages = msgspec.json.Decoder(list[_Message])
_raws = msgspec.json.Decoder(list[Raw])
_parts = msgspec.json.Decoder(list[_Part])


def text_of(raw: Raw) -> Text:
    """A value without media in it, as it stands."""
    view = memoryview(raw)
    return Text(view, estimate_tokens(view))


def conversation(raw: Raw, body: bytes | memoryview[int]) -> Text:
    """A list of messages, or whatever else a client sent in its place, which the engine will refuse.

    `body` is what `raw` was decoded from.
    """
    view = memoryview(raw)
    if not len(view) or view[0] != _LIST:
        return text_of(raw)
    # Content in parts has a second bracket. To search for one byte is a tenth of reading all of it once more.
    if len(view) <= _COPIED_BYTES:
        text = bytes(view)
        if text.find(b"[", 1) < 0:
            return Text(text, estimate_tokens(text))
    elif isinstance(body, bytes):
        start = offset_in(raw, body)
        if body.find(b"[", start + 1, start + len(view)) < 0:
            return Text(view, estimate_tokens(view))
    try:
        contents = [memoryview(c) for m in _messages.decode(raw) for c in (m.content, m.output) if c]
    except (msgspec.MsgspecError, ValueError):
        return text_of(raw)
    lists = [content for content in contents if content[0] == _LIST]
    return _without_media(view, body, lists) if lists else Text(view, estimate_tokens(view))


def system_text(raw: Raw) -> Text:
    """Anthropic's `system`: a string or a list of parts."""
    view = memoryview(raw)
    if len(view) and view[0] == _LIST:
        try:
            parts = _parts.decode(raw)
            if parts and bytes(memoryview(parts[0].text)[:64]).startswith(_BILLING_LINE):
                kept = b",".join([bytes(part) for part in _raws.decode(raw)[1:]])
                return Text(kept, estimate_tokens(kept))
        except (msgspec.MsgspecError, ValueError):
            pass
    return Text(view, estimate_tokens(view))


def _without_media(view: memoryview[int], body: bytes | memoryview[int], lists: list[memoryview[int]]) -> Text:
    """The conversation with what the parts of these contents have in them of media and cache marks taken out."""
    splices: list[tuple[int, int, bytes]] = []
    tokens = media = 0
    base = offset_in(view, body)
    whole: bytes | None = body if isinstance(body, bytes) else None
    todo = [(content, True) for content in lists]
    while todo:
        content, outermost = todo.pop()
        for part, raw in _special_parts(content):
            if part.type in MEDIA_TYPES:
                media += 1
                tokens += media_tokens(part.type)
                start = offset_in(raw, view)
                splices.append((start, start + len(memoryview(raw)), _digest(part, raw)))
                continue
            if outermost and part.content and memoryview(part.content)[0] == _LIST:
                todo.append((memoryview(part.content), False))
            if part.cache_control:
                whole = whole or bytes(body)
                start = offset_in(part.cache_control, body)
                start, end = with_key(whole, start, start + len(memoryview(part.cache_control)))
                splices.append((start - base, end - base, b""))
    if not splices:
        return Text(view, estimate_tokens(view))
    text = _spliced(view, splices)
    return Text(text, estimate_tokens(text) + tokens, media)


def _special_parts(content: memoryview[int]) -> list[tuple[_Part, Raw]]:
    """The parts that are more than text, with the bytes of those that are media."""
    try:
        parts = _parts.decode(content)
        special = [i for i, part in enumerate(parts) if part.content or part.cache_control or part.type in MEDIA_TYPES]
        if not special:
            return []
        if not any([parts[i].type in MEDIA_TYPES for i in special]):
            return [(parts[i], Raw()) for i in special]
        raws = _raws.decode(content)
        return [(parts[i], raws[i]) for i in special]
    except (msgspec.MsgspecError, ValueError):
        return []


def _digest(part: _Part, raw: Raw) -> bytes:
    payload = memoryview(part.source) if part.source else memoryview(raw)
    return b'{"media":"' + xxhash.xxh3_128_hexdigest(payload).encode() + b'"}'


def _spliced(view: memoryview[int], splices: list[tuple[int, int, bytes]]) -> bytes:
    splices.sort()
    pieces: list[bytes | memoryview[int]] = []
    at = 0
    for start, end, replacement in splices:
        pieces.append(view[at:start])
        pieces.append(replacement)
        at = end
    pieces.append(view[at:])
    return b"".join(pieces)

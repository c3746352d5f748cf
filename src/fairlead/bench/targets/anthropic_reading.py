"""Answers of Anthropic's messages: named events, or one message. Only what is measured is decoded.

A prompt's tokens are the sum of what was read anew, read from the cache and written to it (Anthropic's prompt caching);
the output's come in `message_delta`, and are the sum so far.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fairlead.bench.targets.reading import Reading, Unreadable, shown


class _Usage(msgspec.Struct, gc=False):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None


class _Delta(msgspec.Struct, gc=False):
    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


class _Block(msgspec.Struct, gc=False):
    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    data: str | None = None  # of thinking that is not shown
    name: str | None = None


class _Message(msgspec.Struct, gc=False):
    type: str | None = None
    content: list[_Block] | None = None
    stop_reason: str | None = None
    usage: _Usage | None = None
    error: Any = None


class _Event(msgspec.Struct, gc=False):
    type: str | None = None
    message: _Message | None = None
    delta: _Delta | None = None
    content_block: _Block | None = None
    usage: _Usage | None = None
    error: Any = None


_decode_event = msgspec.json.Decoder(_Event).decode
_decode_message = msgspec.json.Decoder(_Message).decode


def _failed(error: object) -> bool:
    return error is not None


def read_event(data: bytes, into: Reading) -> int:
    """One event of a streamed message."""
    try:
        event = _decode_event(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        if data == b"[DONE]":  # a gateway's, behind message_stop
            return 0
        raise Unreadable(f"an event is not one of a message ({error}): {data[:80]!r}") from error
    kind = event.type
    if kind == "content_block_delta":
        return _say(event.delta, into) if event.delta is not None else 0
    if kind == "content_block_start" and event.content_block is not None:
        block = event.content_block
        if block.text and into.text is not None:
            into.text.append(block.text)
        return into.event(False) if block.text or block.thinking or block.data or block.name else 0
    if kind == "error" or _failed(event.error):
        into.error = shown(data)
    elif kind == "message_start" and event.message is not None and event.message.usage is not None:
        _count_prompt(event.message.usage, into)
    elif kind == "message_delta":
        if event.delta is not None and event.delta.stop_reason:
            into.finish = event.delta.stop_reason
        if event.usage is not None:
            _count(event.usage, into)
    elif kind == "message_stop":
        into.done = True
    return 0


def _say(delta: _Delta, into: Reading) -> int:
    if delta.text:
        if into.text is not None:
            into.text.append(delta.text)
    elif not (delta.thinking or delta.partial_json):
        return 0
    return into.event(False)


def read_whole(body: bytes, into: Reading) -> int:
    """A message in one piece."""
    try:
        answer = _decode_message(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Unreadable(f"the answer is not a message ({error}): {body[:80]!r}") from error
    if answer.type == "error" or _failed(answer.error):
        into.error = shown(body)
        return 0
    if answer.content is None:
        raise Unreadable(f"the answer is not a message, it has no content: {body[:80]!r}")
    into.done, into.finish = True, answer.stop_reason or ""
    says = any(block.text or block.thinking or block.data or block.name for block in answer.content)
    if into.text is not None:
        into.text.extend(block.text for block in answer.content if block.text)
    if answer.usage is not None:
        _count(answer.usage, into)
    return max(into.output_tokens, 1) if says else 0


def _count(usage: _Usage, into: Reading) -> None:
    if usage.output_tokens is not None:
        into.output_tokens = usage.output_tokens
    if usage.input_tokens:
        _count_prompt(usage, into)


def _count_prompt(usage: _Usage, into: Reading) -> None:
    if usage.input_tokens is None:
        return
    cached = usage.cache_read_input_tokens
    into.prompt_tokens = usage.input_tokens + (cached or 0) + (usage.cache_creation_input_tokens or 0)
    if cached is not None:
        into.cached_tokens = cached

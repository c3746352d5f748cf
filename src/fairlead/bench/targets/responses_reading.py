"""Answers of OpenAI's responses: typed events, or one response. Only what is measured is decoded."""

from __future__ import annotations

from typing import Any

import msgspec

from fairlead.bench.targets.reading import Cached, Reading, Unreadable, shown


class _Usage(msgspec.Struct, gc=False):
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: Cached | None = None


class _Part(msgspec.Struct, gc=False):
    type: str | None = None
    text: str | None = None
    refusal: str | None = None


class _Output(msgspec.Struct, gc=False):
    type: str | None = None
    content: list[_Part] | None = None
    summary: list[_Part] | None = None
    arguments: str | None = None


class _Incomplete(msgspec.Struct, gc=False):
    reason: str | None = None


class _Response(msgspec.Struct, gc=False):
    status: str | None = None
    usage: _Usage | None = None
    error: Any = None
    output: list[_Output] | None = None
    incomplete_details: _Incomplete | None = None


class _Item(msgspec.Struct, gc=False):
    type: str | None = None
    name: str | None = None


class _Event(msgspec.Struct, gc=False):
    type: str | None = None
    delta: Any = None
    item: _Item | None = None
    response: _Response | None = None
    error: Any = None


_decode_event = msgspec.json.Decoder(_Event).decode
_decode_response = msgspec.json.Decoder(_Response).decode
_ENDS = frozenset(("response.completed", "response.incomplete"))


def read_event(data: bytes, into: Reading) -> int:
    """One event of a streamed response."""
    if data == b"[DONE]":
        into.done = True
        return 0
    try:
        event = _decode_event(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Unreadable(f"an event is not one of a response ({error}): {data[:80]!r}") from error
    kind = event.type or ""
    if kind.endswith(".delta"):
        if not event.delta or not isinstance(event.delta, str):
            return 0
        if into.text is not None and kind == "response.output_text.delta":
            into.text.append(event.delta)
        return into.event(False)
    if kind == "response.output_item.added" and event.item is not None and event.item.name:
        return into.event(False)  # the name of a function: what a model says first when it calls one
    if kind in ("error", "response.failed") or (not kind and event.error is not None):
        into.error = shown(data)
    elif kind in _ENDS and event.response is not None:
        into.done = True
        _end(event.response, into)
    return 0


def read_whole(body: bytes, into: Reading) -> int:
    """A response in one piece."""
    try:
        answer = _decode_response(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Unreadable(f"the answer is not a response ({error}): {body[:80]!r}") from error
    if answer.error is not None or answer.status == "failed":
        into.error = shown(body)
        return 0
    if answer.output is None:
        raise Unreadable(f"the answer is not a response, it has no output: {body[:80]!r}")
    into.done = True
    says = False
    for item in answer.output:
        parts = (*(item.content or ()), *(item.summary or ()))
        says = says or bool(item.arguments) or any(part.text or part.refusal for part in parts)
        if into.text is not None and item.type == "message":
            into.text.extend(part.text for part in item.content or () if part.text)
    _end(answer, into)
    return max(into.output_tokens, 1) if says else 0


def _end(answer: _Response, into: Reading) -> None:
    """vLLM ends with `response.completed` and status incomplete where OpenAI has `response.incomplete`."""
    if answer.status == "incomplete":
        reason = answer.incomplete_details.reason if answer.incomplete_details is not None else None
        into.finish = "length" if reason in (None, "max_output_tokens", "max_tokens") else reason
    else:
        into.finish = "stop"
    usage = answer.usage
    if usage is None:
        return
    details = usage.input_tokens_details
    into.count(usage.input_tokens, usage.output_tokens, details.cached_tokens if details is not None else None)

"""Answers of OpenAI's APIs: chat completions, completions, embeddings, and responses.

Forms by OpenAI's reference, with what vLLM adds (`usage` in every chunk with `continuous_usage_stats`, reasoning
content). Only what is measured is decoded.
"""

from __future__ import annotations

import msgspec

from fairlead.bench.targets.reading import Reading, Unreadable


class _Cached(msgspec.Struct, gc=False):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Cached | None = None


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct, gc=False):
    function: _Function | None = None


class _Delta(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct, gc=False):
    delta: _Delta | None = None
    message: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: msgspec.Raw | None = None
    object: str | None = None


_decode = msgspec.json.Decoder(_Chunk).decode


def _text_of(choice: _Choice) -> str:
    said = choice.delta or choice.message
    if said is None:
        return choice.text or ""
    text = said.content or said.reasoning_content or said.reasoning or ""
    if said.tool_calls:
        text += "".join((c.function.name or "") + (c.function.arguments or "") for c in said.tool_calls if c.function)
    return text


def read_event(data: bytes, into: Reading) -> int:
    """One chunk of a streamed (chat) completion."""
    if data == b"[DONE]":
        into.done = True
        return 0
    try:
        chunk = _decode(data)
    except msgspec.MsgspecError as error:
        raise Unreadable(f"an event is not a chunk of a completion ({error}): {data[:80]!r}") from error
    if chunk.object == "error" or (chunk.error is not None and bytes(chunk.error) != b"null"):
        into.error = data[:300].decode(errors="replace")
        return 0
    text = ""
    if chunk.choices:
        for choice in chunk.choices:
            text += _text_of(choice)
            if choice.finish_reason:
                into.finish = choice.finish_reason
    before = into.output_tokens
    if chunk.usage is not None:
        _count(chunk.usage, into)
    if not text:
        return 0
    if into.text is not None:
        into.text.append(text)
    into.events += 1
    # With usage in every chunk the server says how many tokens each has; usage in the last one alone is the sum.
    if chunk.usage is None or (before < 0 and into.events > 1):
        return 1
    return max(1, into.output_tokens - max(before, 0))


def read_whole(body: bytes, into: Reading) -> int:
    """A (chat) completion or embeddings in one piece."""
    try:
        answer = _decode(body)
    except msgspec.MsgspecError as error:
        raise Unreadable(f"the answer is not a completion ({error}): {body[:80]!r}") from error
    if answer.error is not None and bytes(answer.error) != b"null":
        into.error = body[:300].decode(errors="replace")
        return 0
    into.done = True
    text = ""
    for choice in answer.choices or ():
        text += _text_of(choice)
        into.finish = choice.finish_reason or into.finish
    if into.text is not None:
        into.text.append(text)
    if answer.usage is not None:
        _count(answer.usage, into)
    return max(into.output_tokens, 1 if text else 0)


def _count(usage: _Usage, into: Reading) -> None:
    if usage.prompt_tokens is not None:
        into.prompt_tokens = usage.prompt_tokens
    if usage.completion_tokens is not None:
        into.output_tokens = usage.completion_tokens
    if usage.prompt_tokens_details is not None and usage.prompt_tokens_details.cached_tokens is not None:
        into.cached_tokens = usage.prompt_tokens_details.cached_tokens


class _ResponseUsage(msgspec.Struct, gc=False):
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _Cached | None = None


class _Response(msgspec.Struct, gc=False):
    status: str | None = None
    usage: _ResponseUsage | None = None
    error: msgspec.Raw | None = None
    output: list[_Output] | None = None


class _Part(msgspec.Struct, gc=False):
    text: str | None = None


class _Output(msgspec.Struct, gc=False):
    content: list[_Part] | None = None


class _ResponseEvent(msgspec.Struct, gc=False):
    type: str | None = None
    delta: str | None = None
    response: _Response | None = None


_decode_event = msgspec.json.Decoder(_ResponseEvent).decode
_decode_response = msgspec.json.Decoder(_Response).decode


def read_response_event(data: bytes, into: Reading) -> int:
    """One event of a streamed response."""
    if data == b"[DONE]":
        into.done = True
        return 0
    try:
        event = _decode_event(data)
    except msgspec.MsgspecError as error:
        raise Unreadable(f"an event is not one of a response ({error}): {data[:80]!r}") from error
    kind = event.type or ""
    if kind.endswith(".delta") and event.delta:
        if into.text is not None and kind == "response.output_text.delta":
            into.text.append(event.delta)
        return 1
    if kind == "error" or kind == "response.failed":
        into.error = data[:300].decode(errors="replace")
    elif kind in ("response.completed", "response.incomplete") and event.response is not None:
        into.done = True
        into.finish = "stop" if kind == "response.completed" else "length"
        _count_response(event.response, into)
    return 0


def read_response_whole(body: bytes, into: Reading) -> int:
    """A response in one piece."""
    try:
        answer = _decode_response(body)
    except msgspec.MsgspecError as error:
        raise Unreadable(f"the answer is not a response ({error}): {body[:80]!r}") from error
    if answer.error is not None and bytes(answer.error) != b"null":
        into.error = body[:300].decode(errors="replace")
        return 0
    into.done, into.finish = True, answer.status or ""
    text = "".join(p.text or "" for o in answer.output or () for p in o.content or ())
    if into.text is not None:
        into.text.append(text)
    _count_response(answer, into)
    return max(into.output_tokens, 1 if text else 0)


def _count_response(answer: _Response, into: Reading) -> None:
    usage = answer.usage
    if usage is None:
        return
    if usage.input_tokens is not None:
        into.prompt_tokens = usage.input_tokens
    if usage.output_tokens is not None:
        into.output_tokens = usage.output_tokens
    if usage.input_tokens_details is not None and usage.input_tokens_details.cached_tokens is not None:
        into.cached_tokens = usage.input_tokens_details.cached_tokens

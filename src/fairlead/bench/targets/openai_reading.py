"""Answers of OpenAI's chat completions, completions and embeddings.

Forms by OpenAI's reference, and what others make of them: usage in every chunk (vLLM's `continuous_usage_stats`), in
the last one with text, in a choice (Moonshot) or in `x_groq`; reasoning as `reasoning_content` or `reasoning`; content
in parts (Mistral). Only what is measured is decoded.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fairlead.bench.targets.reading import Cached, Reading, Unreadable, shown


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: Cached | None = None
    prompt_cache_hit_tokens: int | None = None


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: Any = None  # a text; TGI has had objects


class _ToolCall(msgspec.Struct, gc=False):
    function: _Function | None = None


class _Part(msgspec.Struct, gc=False):
    type: str | None = None
    text: str | None = None
    thinking: Any = None


class _Delta(msgspec.Struct, gc=False):
    content: str | list[_Part] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | _ToolCall | None = None
    function_call: _Function | None = None


class _Choice(msgspec.Struct, gc=False):
    index: int | None = None
    delta: _Delta | None = None
    message: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None
    usage: _Usage | None = None


class _Groq(msgspec.Struct, gc=False):
    usage: _Usage | None = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None
    object: str | None = None
    x_groq: _Groq | None = None


class _Embeddings(msgspec.Struct, gc=False):
    data: list[msgspec.Raw] | None = None
    usage: _Usage | None = None
    error: Any = None


_decode = msgspec.json.Decoder(_Chunk).decode
_decode_embeddings = msgspec.json.Decoder(_Embeddings).decode


def _say(choice: _Choice, into: Reading) -> bool:
    """Whether the choice says anything; content of the first choice is kept where text is."""
    said = choice.delta or choice.message
    if said is None:
        content: str | list[_Part] | None = choice.text
    else:
        content = said.content
    if isinstance(content, list):
        loud = any(part.text or part.thinking for part in content)
        content = "".join(part.text or "" for part in content)
        if not content and loud:
            return True
    if content:
        if into.text is not None and not choice.index:
            into.text.append(content)
        return True
    if said is None:
        return False
    return bool(said.reasoning_content or said.reasoning or said.refusal or _called(said))


def _called(said: _Delta) -> bool:
    several = [said.tool_calls] if isinstance(said.tool_calls, _ToolCall) else said.tool_calls or ()
    calls = [call.function for call in several]
    return any(f is not None and (f.name or f.arguments) for f in (*calls, said.function_call))


def read_event(data: bytes, into: Reading) -> int:
    """One chunk of a streamed (chat) completion."""
    if data == b"[DONE]":
        into.done = True
        return 0
    try:
        chunk = _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Unreadable(f"an event is not a chunk of a completion ({error}): {data[:80]!r}") from error
    if chunk.usage is None and chunk.error is None and _read_usual(chunk, into):
        return 1
    if chunk.object == "error" or chunk.error is not None:
        into.error = shown(data)
        return 0
    return _read_other(chunk, into)


def _read_usual(chunk: _Chunk, into: Reading) -> bool:
    """The usual chunk, of which there are thousands a second: one choice that says something. False: it is another."""
    choices = chunk.choices
    if not choices or len(choices) != 1:
        return False
    choice = choices[0]
    content = choice.delta.content if choice.delta is not None else choice.text
    if not content or choice.usage is not None or not isinstance(content, str):
        return False
    if choice.finish_reason:
        into.finish = choice.finish_reason
    if into.text is not None and not choice.index:
        into.text.append(content)
    into.events += 1
    into.given += 1
    into.counted = False
    return True


def _read_other(chunk: _Chunk, into: Reading) -> int:
    usage, says = chunk.usage, False
    for choice in chunk.choices or ():
        if _say(choice, into):
            says = True
        if choice.finish_reason:
            into.finish = choice.finish_reason
        usage = usage or choice.usage
    if usage is None and chunk.x_groq is not None:
        usage = chunk.x_groq.usage
    if usage is not None:
        _count(usage, into)
    tokens = into.event(usage is not None) if says else 0
    into.counted = usage is not None
    return tokens


def read_whole(body: bytes, into: Reading) -> int:
    """A (chat) completion in one piece."""
    try:
        answer = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Unreadable(f"the answer is not a completion ({error}): {body[:80]!r}") from error
    if answer.object == "error" or answer.error is not None:
        into.error = shown(body)
        return 0
    if answer.choices is None:
        raise Unreadable(f"the answer is not a completion, it has no choices: {body[:80]!r}")
    into.done = True
    says = False
    for choice in answer.choices:
        says = _say(choice, into) or says
        into.finish = choice.finish_reason or into.finish
    if answer.usage is not None:
        _count(answer.usage, into)
    return max(into.output_tokens, 1) if says else 0


def read_embeddings(body: bytes, into: Reading) -> int:
    """Embeddings, which have no tokens of their own."""
    try:
        answer = _decode_embeddings(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Unreadable(f"the answer is not a list of embeddings ({error}): {body[:80]!r}") from error
    if answer.error is not None:
        into.error = shown(body)
        return 0
    if not answer.data:
        raise Unreadable(f"the answer has no embeddings in data: {body[:80]!r}")
    into.done = True
    if answer.usage is not None:
        _count(answer.usage, into)
    return 0


def _count(usage: _Usage, into: Reading) -> None:
    details = usage.prompt_tokens_details
    cached = details.cached_tokens if details is not None else None
    into.count(
        usage.prompt_tokens, usage.completion_tokens, cached if cached is not None else usage.prompt_cache_hit_tokens
    )

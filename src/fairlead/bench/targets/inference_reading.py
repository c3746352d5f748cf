"""Answers of the Open Inference Protocol v2 over REST, and of Triton's generate and generate_stream extension."""

from __future__ import annotations

from typing import Any

import msgspec

from fairlead.bench.targets.reading import ENDED_BY_HTTP, Reading, Unreadable, shown


class _Inferred(msgspec.Struct, gc=False):
    outputs: list[msgspec.Raw] | None = None
    error: Any = None


class _Generated(msgspec.Struct, gc=False):
    text_output: str | list[str] | None = None
    num_input_tokens: int | None = None
    num_output_tokens: int | None = None
    error: Any = None


_decode_inferred = msgspec.json.Decoder(_Inferred).decode
_decode_generated = msgspec.json.Decoder(_Generated).decode


def read_inferred(body: bytes, into: Reading) -> int:
    """Tensors, none of which is looked into; binary ones may follow the JSON. They have no tokens."""
    try:
        answer = _decode_inferred(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Unreadable(f"the answer is not one of an inference ({error}): {body[:80]!r}") from error
    if answer.error is not None:
        into.error = shown(body)
    elif answer.outputs is None:
        raise Unreadable(f"the answer is not one of an inference, it has no outputs: {body[:80]!r}")
    else:
        into.done = True
    return 0


def read_generated_event(data: bytes, into: Reading) -> int:
    """One event of generate_stream, which has no end marker: the stream is whole when HTTP says that it is."""
    into.finish = ENDED_BY_HTTP
    if data == b"[DONE]":
        return 0
    answer = _generated(data)
    text = _text(answer)
    if answer.error is not None:
        into.error = shown(data)
        return 0
    counts = answer.num_output_tokens is not None
    _count(answer, into)
    if text and into.text is not None:
        into.text.append(text)
    # Triton's vLLM backend counts the tokens of the event, not those so far.
    if counts:
        into.output_tokens = into.given + (answer.num_output_tokens or 0)
    tokens = into.event(counts) if text else 0
    into.counted = counts
    return tokens


def read_generated(body: bytes, into: Reading) -> int:
    """The answer of generate."""
    answer = _generated(body)
    if answer.error is not None:
        into.error = shown(body)
        return 0
    if answer.text_output is None:
        raise Unreadable(f"the answer has no text_output: {body[:80]!r}")
    into.done = True
    text = _text(answer)
    _count(answer, into)
    if text and into.text is not None:
        into.text.append(text)
    return max(into.output_tokens, 1) if text else 0


def _generated(data: bytes) -> _Generated:
    try:
        return _decode_generated(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Unreadable(f"the answer is not one of generate ({error}): {data[:80]!r}") from error


def _text(answer: _Generated) -> str:
    text = answer.text_output
    return "".join(text) if isinstance(text, list) else text or ""


def _count(answer: _Generated, into: Reading) -> None:
    if answer.num_input_tokens is not None:
        into.prompt_tokens = answer.num_input_tokens
    if answer.num_output_tokens is not None:
        into.output_tokens = answer.num_output_tokens

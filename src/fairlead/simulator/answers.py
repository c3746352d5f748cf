"""Bodies of answers in the OpenAI API's form: whole, and as server-sent events.

What is the same in every event of a stream is encoded once; an event costs one string encoding and a concatenation.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fairlead.simulator.paced import Piece
from fairlead.simulator.requests import Generation

DONE = b"data: [DONE]\n\n"

_encode = msgspec.json.encode


def usage(request: Generation, tokens: int) -> dict[str, int]:
    return {
        "prompt_tokens": request.prompt_tokens,
        "total_tokens": request.prompt_tokens + tokens,
        "completion_tokens": tokens,
    }


class Answer:
    """How one request is answered. `created_s` is whole seconds since the epoch; `identity` makes the id unique."""

    def __init__(self, request: Generation, *, chat: bool, created_s: int, identity: str) -> None:
        self._request = request
        self._chat = chat
        self._head: dict[str, Any] = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{identity}",
            "object": "chat.completion" if chat else "text_completion",
            "created": created_s,
            "model": request.model,
        }
        if request.stream and chat:
            self._head["object"] = "chat.completion.chunk"
        head = _encode(self._head)[:-1]
        before = b'{"index":0,"delta":{"content":' if chat else b'{"index":0,"text":'
        after = b"}" if chat else b""
        self._event_start = b"data: " + head + b',"choices":[' + before
        self._event_end = after + b',"logprobs":null,"finish_reason":null}]}\n\n'

    def first_event(self) -> bytes:
        """The event before the first token; completions have none."""
        if not self._chat:
            return b""
        return self._event([{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])

    def event(self, piece: Piece) -> bytes:
        """The event of one piece; empty when it brings neither text nor an end."""
        if not piece.finish_reason:
            return self._event_start + _encode(piece.text) + self._event_end if piece.text else b""
        content = {"delta": {"content": piece.text}} if self._chat else {"text": piece.text}
        end = {"logprobs": None, "finish_reason": piece.finish_reason, "stop_reason": piece.stop_reason}
        return self._event([{"index": 0, **content, **end}])

    def usage_event(self, tokens: int) -> bytes:
        return b"data: " + _encode({**self._head, "choices": [], "usage": usage(self._request, tokens)}) + b"\n\n"

    def whole(self, text: str, last: Piece) -> bytes:
        """The body of an answer that is not streamed."""
        content: dict[str, Any] = (
            {"message": {"role": "assistant", "content": text, "tool_calls": []}} if self._chat else {"text": text}
        )
        choice = {
            "index": 0,
            **content,
            "logprobs": None,
            "finish_reason": last.finish_reason,
            "stop_reason": last.stop_reason,
        }
        return _encode({**self._head, "choices": [choice], "usage": usage(self._request, last.tokens)})

    def _event(self, choices: list[dict[str, Any]]) -> bytes:
        return b"data: " + _encode({**self._head, "choices": choices}) + b"\n\n"

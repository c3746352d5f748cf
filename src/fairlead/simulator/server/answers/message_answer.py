"""Answers of /v1/messages. Protocol: Anthropic Messages API as vLLM 0.32 sends it."""

from __future__ import annotations

import secrets
from typing import Any

import msgspec

from fairlead.simulator.server.answers.answer import AnswerHead, encode, named_event
from fairlead.simulator.server.answers.outcome import LENGTH
from fairlead.simulator.server.live_request import LiveRequest


class MessageAnswer:
    """One message of text, or one use of a tool."""

    def __init__(self, head: AnswerHead, request: LiveRequest) -> None:
        self._head = head
        self._request = request
        self._begun = False
        self._characters = 0
        self._tool_id = f"chatcmpl-tool-{secrets.token_hex(8)}"
        self.cached_tokens = 0
        self.kv_transfer_params: dict[str, Any] | None = None

    def opening(self) -> bytes:
        message: dict[str, Any] = {
            "id": self._head.id,
            "type": "message",
            "role": "assistant",
            "content": [],
            "model": self._head.model,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": self._request.prompt_tokens, "output_tokens": 0},
        }
        return named_event({"type": "message_start", "message": message})

    def tokens(self, index: int, start: int, stop: int) -> bytes:
        outcome = self._request.outcome
        text = "".join(outcome.texts[start:stop])
        if not text:
            return b""
        call = outcome.call
        before, self._characters = self._characters, self._characters + len(text)
        if call is None:
            delta = {"type": "text_delta", "text": text}
            block: dict[str, Any] = {"type": "text", "text": ""}
        else:
            if self._characters < call.start:
                return b""
            arguments = call.arguments[max(0, before - call.start) : self._characters - call.start]
            delta = {"type": "input_json_delta", "partial_json": arguments}
            block = {"type": "tool_use", "id": self._tool_id, "name": call.name, "input": {}}
            text = arguments
        events = b""
        if not self._begun:
            self._begun = True
            events = named_event({"type": "content_block_start", "content_block": block, "index": 0})
        if text:
            events += named_event({"type": "content_block_delta", "delta": delta, "index": 0})
        return events

    def closing(self) -> bytes:
        outcome = self._request.outcome
        events = named_event({"type": "content_block_stop", "index": 0}) if self._begun else b""
        reason, sequence = self._stop()
        usage = {"input_tokens": self._request.prompt_tokens, "output_tokens": len(outcome.ids)}
        delta = {"stop_reason": reason, "stop_sequence": sequence}
        return events + b"".join(
            (
                named_event({"type": "message_delta", "delta": delta, "usage": usage}),
                named_event({"type": "message_stop"}),
            )
        )

    def failed(self, content: dict[str, Any]) -> bytes:
        return named_event(anthropic_error(content))

    def whole(self) -> bytes:
        outcome = self._request.outcome
        content: list[dict[str, Any]] = [{"type": "text", "text": outcome.text}]
        if outcome.call is not None and outcome.finish_reason != LENGTH:
            arguments = msgspec.json.decode(outcome.call.arguments)
            content = [{"type": "tool_use", "id": self._tool_id, "name": outcome.call.name, "input": arguments}]
        reason, sequence = self._stop()
        message: dict[str, Any] = {
            "id": self._head.id,
            "type": "message",
            "role": "assistant",
            "content": content,
            "model": self._head.model,
            "stop_reason": reason,
        }
        if sequence is not None:
            message["stop_sequence"] = sequence
        message["usage"] = {"input_tokens": self._request.prompt_tokens, "output_tokens": len(outcome.ids)}
        if self.kv_transfer_params is not None:
            message["kv_transfer_params"] = self.kv_transfer_params
        return encode(message)

    def _stop(self) -> tuple[str, str | None]:
        outcome = self._request.outcome
        if outcome.finish_reason == LENGTH:
            return "max_tokens", None
        if outcome.call is not None:
            return "tool_use", None
        return ("stop_sequence", outcome.stop_reason) if isinstance(outcome.stop_reason, str) else ("end_turn", None)


def anthropic_error(content: dict[str, Any]) -> dict[str, Any]:
    """An error body in the form of this API."""
    error = content["error"]
    return {"type": "error", "error": {"type": error["type"], "message": error["message"]}}

"""Answers of /v1/responses: text or one function call.

Protocol: OpenAI Responses API as vLLM 0.32 sends it, streamed as typed events with sequence numbers.
"""

from __future__ import annotations

import secrets
from typing import Any

from fairlead.simulator.server.answers.answer import AnswerHead, AnswerOptions, encode, named_event
from fairlead.simulator.server.answers.outcome import LENGTH
from fairlead.simulator.server.live_request import LiveRequest


class ResponseAnswer:
    """One response. `echoed` are the fields of the request that the response repeats."""

    def __init__(self, head: AnswerHead, request: LiveRequest, options: AnswerOptions, echoed: dict[str, Any]) -> None:
        self._head = head
        self._request = request
        self._options = options
        self._echoed = echoed
        self._sequence_number = 0
        self._begun = False
        self._item_id = f"msg_{secrets.token_hex(8)}"
        self._call_item = {"call_id": f"chatcmpl-tool-{secrets.token_hex(8)}", "id": f"fc_{secrets.token_hex(8)}"}
        self._characters = 0
        self.cached_tokens = 0
        self.kv_transfer_params: dict[str, Any] | None = None

    def opening(self) -> bytes:
        begun = self._response("in_progress", [], None)
        return self._event("response.created", response=begun) + self._event("response.in_progress", response=begun)

    def tokens(self, index: int, start: int, stop: int) -> bytes:
        text = "".join(self._request.outcome.texts[start:stop])
        if not text:
            return b""
        events = b"" if self._begun else self._begin()
        self._begun = True
        call = self._request.outcome.call
        if call is None:
            return events + self._event("response.output_text.delta", content_index=0, delta=text, logprobs=[])
        before, self._characters = self._characters, self._characters + len(text)
        delta = call.arguments[max(0, before - call.start) : max(0, self._characters - call.start)]
        return events + self._event("response.function_call_arguments.delta", delta=delta) if delta else events

    def closing(self) -> bytes:
        outcome = self._request.outcome
        events = []
        if self._begun:
            item = self._item()
            if outcome.call is None:
                part = item["content"][0]
                events += [
                    self._event("response.output_text.done", content_index=0, logprobs=[], text=outcome.text),
                    self._event("response.content_part.done", content_index=0, part=part),
                ]
            else:
                arguments = outcome.call.arguments
                events.append(
                    self._event("response.function_call_arguments.done", arguments=arguments, name=outcome.call.name)
                )
            events.append(self._event("response.output_item.done", item=item))
        events.append(self._event("response.completed", response=self._final()))
        return b"".join(events)

    def failed(self, content: dict[str, Any]) -> bytes:
        return named_event({**content, "type": "error", "sequence_number": self._sequence_number})

    def whole(self) -> bytes:
        return encode(self._final())

    def _begin(self) -> bytes:
        call = self._request.outcome.call
        if call is not None:
            item = {**self._function_item(""), "status": "in_progress"}
            return self._event("response.output_item.added", item=item)
        item = {"id": self._item_id, "content": [], "role": "assistant", "status": "in_progress", "type": "message"}
        part: dict[str, Any] = {"annotations": [], "text": "", "type": "output_text", "logprobs": []}
        return self._event("response.output_item.added", item={**item, "phase": None}) + self._event(
            "response.content_part.added", content_index=0, part=part
        )

    def _event(self, type: str, **content: Any) -> bytes:
        whose: dict[str, Any] = {} if "response" in content else {"output_index": 0}
        if whose and "item" not in content:
            whose["item_id"] = self._item_id if self._request.outcome.call is None else self._call_item["id"]
        event = named_event({**content, **whose, "sequence_number": self._sequence_number, "type": type})
        self._sequence_number += 1
        return event

    def _item(self) -> dict[str, Any]:
        outcome = self._request.outcome
        if outcome.call is not None:
            return self._function_item(outcome.call.arguments)
        part: dict[str, Any] = {"annotations": [], "text": outcome.text, "type": "output_text", "logprobs": None}
        return {
            "id": self._item_id,
            "content": [part],
            "role": "assistant",
            "status": "completed",
            "type": "message",
            "phase": None,
        }

    def _function_item(self, arguments: str) -> dict[str, Any]:
        call = self._request.outcome.call
        return {
            "arguments": arguments,
            "call_id": self._call_item["call_id"],
            "name": "" if call is None else call.name,
            "type": "function_call",
            "id": self._call_item["id"],
            "status": "completed",
        }

    def _final(self) -> dict[str, Any]:
        outcome = self._request.outcome
        cut = outcome.finish_reason == LENGTH
        output = [self._item()] if outcome.text and not (cut and outcome.call) else []
        tokens, prompt_tokens = len(outcome.ids), self._request.prompt_tokens
        usage = {
            "input_tokens": prompt_tokens,
            "input_tokens_details": {
                "cached_tokens": self.cached_tokens,
                "cache_write_tokens": 0,
                "input_tokens_per_turn": [],
                "cached_tokens_per_turn": [],
            },
            "output_tokens": tokens,
            "output_tokens_details": {
                "reasoning_tokens": 0,
                "tool_output_tokens": 0,
                "output_tokens_per_turn": [],
                "tool_output_tokens_per_turn": [],
            },
            "total_tokens": prompt_tokens + tokens,
        }
        response = self._response("incomplete" if cut else "completed", output, usage)
        response["incomplete_details"] = {"reason": "max_output_tokens"} if cut else None
        return response

    def _response(self, status: str, output: list[dict[str, Any]], usage: dict[str, Any] | None) -> dict[str, Any]:
        return {
            "id": self._head.id,
            "created_at": self._head.created_s,
            "incomplete_details": None,
            "model": self._head.model,
            "object": "response",
            "output": output,
            "status": status,
            "usage": usage,
            "kv_transfer_params": self.kv_transfer_params,
            "ec_transfer_params": None,
            "input_messages": None,
            "output_messages": None,
            **self._echoed,
        }


_TOOL = dict.fromkeys(("strict", "allowed_callers", "async", "defer_loading", "description", "output_schema"))


def echoed_fields(body: dict[str, Any], *, max_tokens: int) -> dict[str, Any]:
    """What a response repeats of its request, with the defaults that stand for what it left out."""
    tools = [{**_TOOL, **tool} for tool in body.get("tools", [])]
    text = body.get("text")
    if text is not None:
        wanted = text.get("format")
        text = {
            "format": None if wanted is None else {"description": None, "strict": None, **wanted},
            "verbosity": None,
        }
    return {
        "instructions": body.get("instructions"),
        "metadata": body.get("metadata"),
        "parallel_tool_calls": body.get("parallel_tool_calls", True),
        "temperature": 1.0 if body.get("temperature") is None else body["temperature"],
        "tool_choice": body.get("tool_choice", "auto") if tools else "none",
        "tools": tools,
        "top_p": 1.0 if body.get("top_p") is None else body["top_p"],
        "background": body.get("background", False),
        "max_output_tokens": max_tokens,
        "max_tool_calls": body.get("max_tool_calls"),
        "previous_response_id": body.get("previous_response_id"),
        "prompt": None,
        "reasoning": None,
        "service_tier": body.get("service_tier", "auto"),
        "text": text,
        "top_logprobs": None,
        "truncation": body.get("truncation", "disabled"),
        "user": body.get("user"),
        "presence_penalty": body.get("presence_penalty") or 0.0,
        "frequency_penalty": body.get("frequency_penalty") or 0.0,
    }

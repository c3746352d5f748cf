"""Answers of /v1/chat/completions. Protocol: OpenAI chat completions as vLLM 0.32 sends them."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from fairlead.simulator.server.answers.answer import (
    DONE,
    AnswerHead,
    AnswerOptions,
    Transcript,
    encode,
    event,
    usage_of,
)
from fairlead.simulator.server.live_request import LiveRequest


class ChatAnswer:
    """One response with a choice per sequence."""

    def __init__(
        self,
        head: AnswerHead,
        requests: Sequence[LiveRequest],
        options: AnswerOptions,
        transcript: Transcript,
        *,
        named_tool: bool = False,
    ) -> None:
        self._requests = requests
        self._options = options
        self._transcript = transcript
        self._named_tool = named_tool
        self.cached_tokens = 0
        self.kv_transfer_params: dict[str, Any] | None = None
        self._head: dict[str, Any] = {
            "id": head.id,
            "object": "chat.completion.chunk" if options.stream else "chat.completion",
            "created": head.created_s,
            "model": head.model,
        }
        self._fingerprint = head.fingerprint
        start = b"data: " + encode(self._head)[:-1]
        self._plain = not (options.logprobs is not None or options.return_token_ids or options.continuous_usage)
        self._before = [start + b',"choices":[{"index":%d,"delta":{"content":' % request.index for request in requests]
        self._calls = [_CallDeltas(r) if r.outcome.call is not None else None for r in requests]

    def opening(self) -> bytes:
        options, first = self._options, self._requests[0]
        events = []
        for request in self._requests:
            delta = {"role": "assistant", "content": ""}
            content: dict[str, Any] = {
                **self._head,
                "choices": [{"index": request.index, "delta": delta, "logprobs": None, "finish_reason": None}],
            }
            if options.continuous_usage:
                content["usage"] = self._stream_usage(0)
            content["prompt_token_ids"] = list(first.prompt_ids) if options.return_token_ids else None
            events.append(event({**content, "prompt_text": None}))
        if options.echo:
            events += [self._delta(r, {"content": options.echo}) for r in self._requests]
        return b"".join(events)

    def tokens(self, index: int, start: int, stop: int) -> bytes:
        request, call = self._requests[index], self._calls[index]
        outcome = request.outcome
        texts = outcome.texts
        if call is not None:
            return self._call_tokens(request, call, start, stop)
        text = texts[start] if stop == start + 1 else "".join(texts[start:stop])
        last = stop == len(outcome.ids)
        if self._plain and not last:
            if not text:
                return b""
            return self._before[index] + encode(text) + _AFTER
        delta = {"content": text} if text else {}
        return self._delta(request, delta, start, stop)

    def closing(self) -> bytes:
        end = DONE
        if self._options.include_usage:
            content = {**self._head, "choices": [], "usage": self._final_usage()}
            content["system_fingerprint"] = self._fingerprint
            end = event(content) + end
        return end

    def failed(self, content: dict[str, Any]) -> bytes:
        return event(content) + DONE

    def whole(self) -> bytes:
        options = self._options
        details = {"prompt_tokens_details": None} if not options.cached_tokens_shown else {}
        return encode(
            {
                **self._head,
                "choices": [self._choice(request) for request in self._requests],
                "service_tier": None,
                "system_fingerprint": self._fingerprint,
                "usage": {**self._final_usage(), **details, "completion_tokens_details": None},
                "prompt_logprobs": None
                if options.prompt_logprobs is None
                else self._transcript.prompt_logprobs(self._requests[0].prompt_ids, options.prompt_logprobs),
                "prompt_token_ids": list(self._requests[0].prompt_ids) if options.return_token_ids else None,
                "prompt_text": None,
                "kv_transfer_params": self.kv_transfer_params,
                "ec_transfer_params": None,
                "metrics": None,
            }
        )

    def _choice(self, request: LiveRequest) -> dict[str, Any]:
        outcome = request.outcome
        message: dict[str, Any] = {
            "role": "assistant",
            "content": (self._options.echo or "") + outcome.text,
            "refusal": None,
            "annotations": None,
            "audio": None,
            "function_call": None,
        }
        if outcome.call is not None and outcome.finish_reason == "stop":
            message["content"] = ""
            function = {"name": outcome.call.name, "arguments": outcome.call.arguments}
            message["tool_calls"] = [{"id": _call_id(), "type": "function", "function": function}]
        message["reasoning"] = None
        return {
            "index": request.index,
            "message": message,
            "logprobs": self._logprobs(request, 0, len(outcome.ids)),
            "finish_reason": self._finish_reason(request),
            "stop_reason": outcome.stop_reason,
            "token_ids": outcome.ids if self._options.return_token_ids else None,
            "routed_experts": None,
        }

    def _finish_reason(self, request: LiveRequest) -> str:
        outcome = request.outcome
        # A call that the request itself named ends like text, as with OpenAI.
        called = outcome.call is not None and outcome.finish_reason == "stop" and not self._named_tool
        return "tool_calls" if called else outcome.finish_reason

    def _call_tokens(self, request: LiveRequest, call: _CallDeltas, start: int, stop: int) -> bytes:
        deltas = call.deltas(start, stop)
        last = stop == len(request.outcome.ids)
        events = [self._delta(request, {"content": None, "tool_calls": [delta]}) for delta in deltas]
        if last:
            events.append(self._delta(request, {}, stop, stop))
        return b"".join(events)

    def _delta(self, request: LiveRequest, delta: dict[str, Any], start: int = 0, stop: int = 0) -> bytes:
        options, outcome = self._options, request.outcome
        choice: dict[str, Any] = {
            "index": request.index,
            "delta": delta,
            "logprobs": self._logprobs(request, start, stop),
            "finish_reason": None,
        }
        last = stop == len(outcome.ids)
        if last:
            choice["finish_reason"] = self._finish_reason(request)
            choice["stop_reason"] = outcome.stop_reason
        choice["token_ids"] = outcome.ids[start:stop] if options.return_token_ids else None
        content: dict[str, Any] = {**self._head, "choices": [choice]}
        if options.continuous_usage:
            content["usage"] = self._stream_usage(stop)
        if last and not options.include_usage:
            content["system_fingerprint"] = self._fingerprint
        return event(content)

    def _logprobs(self, request: LiveRequest, start: int, stop: int) -> dict[str, Any] | None:
        count = self._options.logprobs
        if count is None or stop <= start:
            return None
        ids = request.outcome.ids
        pieces = self._transcript.pieces_of(request.index, ids)
        content = []
        for position in range(start, stop):
            ranked = self._transcript.ranked(
                request.outcome.seed, position, ids[position], pieces[position], max(1, count)
            )
            shown = [_shown(text, logprob) for _, text, logprob in ranked]
            content.append({**_shown(ranked[0][1], ranked[0][2]), "top_logprobs": shown[:count]})
        return {"content": content}

    def _stream_usage(self, tokens: int) -> dict[str, Any]:
        return {**usage_of(self._requests, tokens, details=False), "completion_tokens_details": None}

    def _final_usage(self) -> dict[str, Any]:
        tokens = sum(len(request.outcome.ids) for request in self._requests)
        return usage_of(
            self._requests, tokens, details=self._options.cached_tokens_shown, cached_tokens=self.cached_tokens
        )


_AFTER = b'},"logprobs":null,"finish_reason":null,"token_ids":null}]}\n\n'


class _CallDeltas:
    """The deltas of a tool call: its name once the model has got that far, then its arguments piece by piece."""

    def __init__(self, request: LiveRequest) -> None:
        assert request.outcome.call is not None
        self._call = request.outcome.call
        self._texts = request.outcome.texts
        self._begun = False
        self._characters = 0
        self._id = _call_id()

    def deltas(self, start: int, stop: int) -> list[dict[str, Any]]:
        text = "".join(self._texts[start:stop])
        before, self._characters = self._characters, self._characters + len(text)
        deltas: list[dict[str, Any]] = []
        if not self._begun and self._characters >= self._call.start:
            self._begun = True
            function = {"name": self._call.name}
            deltas.append({"id": self._id, "type": "function", "index": 0, "function": function})
        low = max(0, before - self._call.start)
        high = min(len(self._call.arguments), self._characters - self._call.start)
        if high > low:
            deltas.append({"index": 0, "function": {"arguments": self._call.arguments[low:high]}})
        return deltas


def _shown(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}


def _call_id() -> str:
    return f"chatcmpl-tool-{secrets.token_hex(8)}"

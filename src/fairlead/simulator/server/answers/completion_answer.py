"""Answers of /v1/completions. Protocol: OpenAI completions as vLLM 0.32 sends them."""

from __future__ import annotations

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
from fairlead.simulator.server.answers.outcome import logprob_of
from fairlead.simulator.server.live_request import LiveRequest


class CompletionAnswer:
    """One response; its sequences are the choices of the first prompt, then those of the second, and so on.

    `prompts` are the prompts' texts where they are echoed.
    """

    def __init__(
        self,
        head: AnswerHead,
        requests: Sequence[LiveRequest],
        options: AnswerOptions,
        transcript: Transcript,
        *,
        prompts: Sequence[str] = (),
    ) -> None:
        self._requests = requests
        self._options = options
        self._transcript = transcript
        self._prompts = prompts
        self._offsets = [0] * len(requests)
        self.cached_tokens = 0
        self.kv_transfer_params: dict[str, Any] | None = None
        self._head: dict[str, Any] = {
            "id": head.id,
            "object": "text_completion",
            "created": head.created_s,
            "model": head.model,
        }
        self._fingerprint = head.fingerprint
        self._plain = not (options.logprobs is not None or options.return_token_ids or options.continuous_usage)
        start = b"data: " + encode(self._head)[:-1]
        self._before = [start + b',"choices":[{"index":%d,"text":' % index for index in range(len(requests))]

    def opening(self) -> bytes:
        if not self._prompts:
            return b""
        return b"".join(
            self._event(index, self._prompts[index // request.n], 0, 0, list(request.prompt_ids))
            for index, request in enumerate(self._requests)
        )

    def tokens(self, index: int, start: int, stop: int) -> bytes:
        outcome = self._requests[index].outcome
        texts = outcome.texts
        text = texts[start] if stop == start + 1 else "".join(texts[start:stop])
        last = stop == len(outcome.ids)
        if self._options.echo_only:
            text = ""
        if self._plain and not last:
            return self._before[index] + encode(text) + _AFTER
        prompt_ids = self._options.return_token_ids and not start and not self._prompts
        return self._event(index, text, start, stop, list(self._requests[index].prompt_ids) if prompt_ids else None)

    def closing(self) -> bytes:
        if not self._options.include_usage:
            return DONE
        content = {**self._head, "choices": [], "usage": self._usage()}
        content["system_fingerprint"] = self._fingerprint
        return event(content) + DONE

    def failed(self, content: dict[str, Any]) -> bytes:
        return event(content) + DONE

    def whole(self) -> bytes:
        details = {"prompt_tokens_details": None} if not self._options.cached_tokens_shown else {}
        return encode(
            {
                **self._head,
                "choices": [self._choice(index) for index in range(len(self._requests))],
                "service_tier": None,
                "system_fingerprint": self._fingerprint,
                "usage": {**self._usage(), **details, "completion_tokens_details": None},
                "kv_transfer_params": self.kv_transfer_params,
                "ec_transfer_params": None,
                "metrics": None,
            }
        )

    def _choice(self, index: int) -> dict[str, Any]:
        request, options = self._requests[index], self._options
        outcome = request.outcome
        text = "" if options.echo_only else outcome.text
        prompt_logprobs = options.prompt_logprobs
        return {
            "index": index,
            "text": self._prompts[index // request.n] + text if self._prompts else text,
            "logprobs": self._whole_logprobs(index),
            "finish_reason": outcome.finish_reason,
            "stop_reason": outcome.stop_reason,
            "token_ids": outcome.ids if options.return_token_ids else None,
            "prompt_logprobs": None
            if prompt_logprobs is None
            else self._transcript.prompt_logprobs(request.prompt_ids, prompt_logprobs),
            "prompt_token_ids": list(request.prompt_ids) if options.return_token_ids else None,
            "routed_experts": None,
        }

    def _event(self, index: int, text: str, start: int, stop: int, prompt_ids: list[int] | None) -> bytes:
        options, outcome = self._options, self._requests[index].outcome
        last = bool(stop) and stop == len(outcome.ids)
        logprobs = None
        if options.logprobs is not None and stop > start:
            logprobs = self._logprobs(index, start, stop, self._offsets[index])
            self._offsets[index] += len("".join(self._transcript.pieces_of(index, outcome.ids)[start:stop]))
        choice = {
            "index": index,
            "text": text,
            "logprobs": logprobs,
            "finish_reason": outcome.finish_reason if last else None,
            "stop_reason": outcome.stop_reason if last else None,
            "prompt_token_ids": prompt_ids,
            "token_ids": outcome.ids[start:stop] if options.return_token_ids and stop else None,
        }
        content: dict[str, Any] = {**self._head, "choices": [choice]}
        if options.continuous_usage:
            content["usage"] = usage_of([self._requests[index]], stop, details=False)
        if last and not options.include_usage:
            content["system_fingerprint"] = self._fingerprint
        return event(content)

    def _logprobs(self, index: int, start: int, stop: int, offset: int) -> dict[str, Any]:
        count = max(1, self._options.logprobs or 0)
        outcome = self._requests[index].outcome
        ids = outcome.ids
        pieces = self._transcript.pieces_of(index, ids)
        result: dict[str, list[Any]] = {"text_offset": [], "token_logprobs": [], "tokens": [], "top_logprobs": []}
        for position in range(start, stop):
            piece = pieces[position]
            ranked = self._transcript.ranked(outcome.seed, position, ids[position], piece, count)
            result["text_offset"].append(offset)
            result["token_logprobs"].append(ranked[0][2])
            result["tokens"].append(ranked[0][1])
            result["top_logprobs"].append({text: logprob for _, text, logprob in ranked})
            offset += len(piece)
        return result

    def _whole_logprobs(self, index: int) -> dict[str, Any] | None:
        request = self._requests[index]
        if self._options.logprobs is None:
            return None
        if not self._prompts:
            return self._logprobs(index, 0, len(request.outcome.ids), 0)
        result: dict[str, list[Any]] = {"text_offset": [], "token_logprobs": [], "tokens": [], "top_logprobs": []}
        offset = 0
        for position, (token, piece) in enumerate(
            zip(request.prompt_ids, self._transcript.pieces(request.prompt_ids), strict=True)
        ):
            logprob = logprob_of(token, position) if position else None
            shown = self._transcript.shown(token, piece)
            result["text_offset"].append(offset)
            result["token_logprobs"].append(logprob)
            result["tokens"].append(shown)
            result["top_logprobs"].append(None if logprob is None else {shown: logprob})
            offset += len(piece)
        if not self._options.echo_only:
            answer = self._logprobs(index, 0, len(request.outcome.ids), offset)
            for name, values in answer.items():
                result[name] += values
        return result

    def _usage(self) -> dict[str, Any]:
        tokens = sum(len(request.outcome.ids) for request in self._requests)
        return usage_of(
            self._requests, tokens, details=self._options.cached_tokens_shown, cached_tokens=self.cached_tokens
        )


_AFTER = b',"logprobs":null,"finish_reason":null,"stop_reason":null,"prompt_token_ids":null,"token_ids":null}]}\n\n'

"""Completions and chat answers, whole and streamed: their shape, and that usage counts what was made."""

from __future__ import annotations

import json
from typing import Any

from fairlead.engines.conformance.outcome import CheckFailed, expect
from fairlead.engines.conformance.target import Target

_TOKENS = 8


async def completion(target: Target) -> str:
    body = target.completion(target.prompt("completion"), _TOKENS)
    return await _whole(target, "/v1/completions", body, lambda choice: choice.get("text"))


async def completion_stream(target: Target) -> str:
    body = target.completion(target.prompt("completion-stream"), _TOKENS)
    return await _streamed(target, "/v1/completions", body, lambda choice: choice.get("text"))


async def chat(target: Target) -> str:
    body = _chat_body(target, "chat")
    return await _whole(target, "/v1/chat/completions", body, lambda choice: choice.get("message", {}).get("content"))


async def chat_stream(target: Target) -> str:
    body = _chat_body(target, "chat-stream")
    return await _streamed(target, "/v1/chat/completions", body, lambda choice: choice.get("delta", {}).get("content"))


def _chat_body(target: Target, purpose: str) -> dict[str, Any]:
    message = {"role": "user", "content": target.prompt(purpose)}
    return {"model": target.model, "messages": [message], "max_tokens": _TOKENS, "ignore_eos": True}


async def _whole(target: Target, path: str, body: dict[str, Any], text_of: Any) -> str:
    reply = await target.post(path, body)
    expect(reply.status == 200, f"POST {path}: HTTP {reply.status}: {reply.body[:200]!r}")
    answer = reply.json()
    choices = answer.get("choices") or []
    expect(len(choices) == 1, f"{len(choices)} choices, not 1")
    expect(isinstance(text_of(choices[0]), str), "a choice without text")
    expect(choices[0].get("finish_reason") in ("length", "stop"), f"finish_reason {choices[0].get('finish_reason')!r}")
    return _usage(answer.get("usage"))


async def _streamed(target: Target, path: str, body: dict[str, Any], text_of: Any) -> str:
    texts, usage, finish, done = 0, None, None, False
    async with target.stream(path, body) as lines:
        async for line in lines:
            expect(not done, "data after [DONE]")
            if line == "[DONE]":
                done = True
                continue
            event = _event(line)
            usage = event.get("usage") or usage
            for choice in event.get("choices") or ():
                texts += isinstance(text_of(choice), str)
                finish = choice.get("finish_reason") or finish
    expect(done, "the stream ended without [DONE]")
    expect(texts > 0, "no event of the stream had text")
    expect(finish in ("length", "stop"), f"finish_reason {finish!r}")
    return f"{texts} events with text, {_usage(usage)}"


def _event(line: str) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except ValueError as error:
        raise CheckFailed(f"a data line that is no JSON: {line[:100]!r}") from error
    expect(isinstance(event, dict), f"a data line that is no object: {line[:100]!r}")
    return dict(event)


def _usage(usage: Any) -> str:
    expect(isinstance(usage, dict), "no usage")
    prompt, made = usage.get("prompt_tokens"), usage.get("completion_tokens")
    expect(isinstance(prompt, int) and prompt > 0, f"usage.prompt_tokens is {prompt!r}")
    expect(isinstance(made, int) and 1 <= made <= _TOKENS, f"usage.completion_tokens is {made!r}, not 1 to {_TOKENS}")
    expect(usage.get("total_tokens") == prompt + made, f"usage.total_tokens is {usage.get('total_tokens')!r}")
    return f"{prompt} + {made} tokens"

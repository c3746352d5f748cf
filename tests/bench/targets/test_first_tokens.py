"""When the first token of a stream has come: the first events of real servers, by their sources and API references.

What only opens an answer (a role, an empty text, a ping, usage, filters, progress) is no token; what a model has said
is one, whether it is text, reasoning, a refusal or the name of a tool.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from fairlead.bench.targets.readers import readers
from fairlead.bench.targets.reading import Reading
from fairlead.bench.worker.events import Events


def delta(finish: str | None = None, **said: Any) -> dict[str, Any]:
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": said, "finish_reason": finish}]}


def text(said: str, finish: str | None = None) -> dict[str, Any]:
    return {
        "object": "text_completion",
        "choices": [{"index": 0, "text": said, "logprobs": None, "finish_reason": finish}],
    }


def tokens(prompt: int, output: int) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output}


ROLE = delta(role="assistant", content="")
CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look", "arguments": ""}}
MESSAGE = {
    "type": "message_start",
    "message": {"id": "m", "role": "assistant", "content": [], "usage": {"input_tokens": 9, "output_tokens": 1}},
}
OPENED = [
    {"type": "response.created", "response": {"status": "in_progress", "output": [], "usage": None}},
    {"type": "response.in_progress", "response": {"status": "in_progress", "output": [], "usage": None}},
]


def block(**said: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": 0, "content_block": said}


def block_delta(**said: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": 0, "delta": said}


# server -> API, events, and which of them is the first token (None: none of them)
FIRST: dict[str, tuple[str, list[Any], int | None]] = {
    "vllm chat": ("chat", [ROLE, delta(content="Hi")], 1),
    "vllm with usage in every chunk": (
        "chat",
        [{**ROLE, "usage": tokens(9, 0)}, {**delta(content="Hi"), "usage": tokens(9, 1)}],
        1,
    ),
    "vllm reasoning": ("chat", [ROLE, delta(reasoning="Hm"), delta(content="Hi")], 1),
    "vllm reasoning until 0.10": ("chat", [ROLE, delta(reasoning_content="Hm")], 1),
    "vllm tool call": ("chat", [ROLE, delta(tool_calls=[CALL])], 1),
    "vllm half a character": ("completions", [text(""), text("é")], 1),
    "vllm one token alone": ("completions", [text("x", "length"), {"choices": [], "usage": tokens(9, 1)}], 0),
    "sglang": (
        "chat",
        [delta(role="assistant", content="", reasoning_content=None, tool_calls=None), delta(content="H")],
        1,
    ),
    "sglang reasoning": ("chat", [ROLE, delta(content=None, reasoning_content="Hm")], 1),
    "tgi": ("chat", [{**delta(role="assistant", content="Hi"), "usage": None}], 0),
    "tgi tool call": (
        "chat",
        [delta(role="assistant", content=None, tool_calls=[{"index": 0, "function": {"name": "", "arguments": "{"}}])],
        0,
    ),
    "tgi tool call until 3.0": (
        "chat",
        [delta(role="assistant", tool_calls={"index": 0, "function": {"name": None, "arguments": {"a": 1}}})],
        0,
    ),
    "llama.cpp": ("chat", [delta(role="assistant", content=None), delta(content="Hi")], 1),
    "llama.cpp with progress": (
        "chat",
        [
            {**delta(), "prompt_progress": {"total": 9, "processed": 4}},
            delta(role="assistant", content=None),
            delta(content=" "),
        ],
        2,
    ),
    "ollama reasoning": ("chat", [delta(role="assistant", content="", reasoning="Hm")], 0),
    "deepseek": (
        "chat",
        [delta(role="assistant", content=None, reasoning_content=""), delta(reasoning_content="Hm")],
        1,
    ),
    "openai": ("chat", [delta(role="assistant", content="", refusal=None), delta(content="Hi")], 1),
    "openai refusal": ("chat", [delta(role="assistant", content="", refusal=None), delta(refusal="No")], 1),
    "azure": ("chat", [{"choices": [], "prompt_filter_results": [{}]}, ROLE, delta(content="Hi")], 2),
    "mistral thinking": (
        "chat",
        [
            delta(role="assistant", content=""),
            delta(content=[{"type": "thinking", "thinking": []}]),
            delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}]),
        ],
        2,
    ),
    "an old function call": (
        "chat",
        [ROLE, delta(function_call={"name": "", "arguments": ""}), delta(function_call={"name": "look"})],
        2,
    ),
    "usage alone": ("chat", [ROLE, {"choices": [], "usage": tokens(9, 0)}, delta("stop")], None),
    "a newline is a token": ("chat", [ROLE, delta(content="\n\n")], 1),
    "anthropic": (
        "messages",
        [MESSAGE, block(type="text", text=""), {"type": "ping"}, block_delta(type="text_delta", text="Hi")],
        3,
    ),
    "anthropic thinking": (
        "messages",
        [MESSAGE, block(type="thinking", thinking="", signature=""), block_delta(type="thinking_delta", thinking="Hm")],
        2,
    ),
    "anthropic hidden thinking": ("messages", [MESSAGE, block(type="redacted_thinking", data="aGlkZGVu")], 1),
    "anthropic tool": ("messages", [MESSAGE, block(type="tool_use", id="t", name="look", input={})], 1),
    "anthropic signature": ("messages", [MESSAGE, block_delta(type="signature_delta", signature="s")], None),
    "vllm messages": ("messages", [MESSAGE, block(type="text", text=""), block_delta(type="text_delta", text="Hi")], 2),
    "responses": (
        "responses",
        [
            *OPENED,
            {"type": "response.output_item.added", "item": {"type": "message", "content": []}},
            {"type": "response.content_part.added", "part": {"type": "output_text", "text": ""}},
            {"type": "response.output_text.delta", "delta": "Hi"},
        ],
        4,
    ),
    "responses reasoning": (
        "responses",
        [
            *OPENED,
            {"type": "response.output_item.added", "item": {"type": "reasoning", "summary": []}},
            {"type": "response.reasoning_text.delta", "delta": "Hm"},
        ],
        3,
    ),
    "responses summary": ("responses", [*OPENED, {"type": "response.reasoning_summary_text.delta", "delta": "Hm"}], 2),
    "responses tool": (
        "responses",
        [
            *OPENED,
            {"type": "response.output_item.added", "item": {"type": "function_call", "name": "look", "arguments": ""}},
        ],
        2,
    ),
    "responses refusal": ("responses", [*OPENED, {"type": "response.refusal.delta", "delta": "No"}], 2),
    "triton": (
        "triton-generate",
        [{"model_name": "m", "text_output": ""}, {"model_name": "m", "text_output": "Hi"}],
        1,
    ),
}


@pytest.mark.parametrize("data", [b"data: ", b"data:", b"event: x\r\ndata: "], ids=["usual", "tgi", "named"])
@pytest.mark.parametrize("server", FIRST)
def test_the_first_token_is_where_the_model_said_something(server: str, data: bytes) -> None:
    api, events, first = FIRST[server]
    read, feed, into = readers(api, {}).event, Events(), Reading(False)
    assert read is not None
    counts = []
    for event in events:
        (found,) = feed.feed(data + json.dumps(event).encode() + b"\n\n")
        counts.append(read(found, into))
    assert next((at for at, count in enumerate(counts) if count), None) == first
    assert not into.error

"""Bodies of /v1/messages. Reference: vLLM 0.32, `entrypoints/anthropic/protocol.py`."""

from __future__ import annotations

from typing import Any

from fairlead.simulator.server.bodies import fields as f
from fairlead.simulator.server.bodies.openai_body import MAX_STOPS, Body

_TEXT = f.optional(f.text)
_OBJECT = f.optional(f.mapping(f.anything))
_TOOL_CHOICE = f.Shape({"type": f.literal("auto", "any", "tool", "none"), "name": _TEXT}, required=("type",))


def _tool_choice(value: Any, place: str, complaints: f.Complaints, strict: bool) -> Any:
    own = f.Complaints()
    choice = _TOOL_CHOICE(value, place, own, strict)
    complaints.extend(own)
    if not own and choice["type"] == "tool" and not choice.get("name"):
        error = ValueError("tool_choice.name is required when type is 'tool'")
        complaints.add("value_error", place, f"Value error, {error}", value, error=error)
    return choice


_BLOCK = f.Shape(
    {
        "type": f.literal(
            "text",
            "image",
            "tool_use",
            "tool_result",
            "tool_reference",
            "thinking",
            "redacted_thinking",
            "tool_addition",
            "tool_removal",
        ),
        "text": _TEXT,
        "id": _TEXT,
        "tool_use_id": _TEXT,
        "name": _TEXT,
        "input": _OBJECT,
        "content": f.optional(f.either(f.text, f.array(f.mapping(f.anything)))),
    },
    required=("type",),
)
_BLOCKS = f.either(f.text, f.array(_BLOCK))


def _positive(value: Any, place: str, complaints: f.Complaints, strict: bool) -> Any:
    before = bool(complaints)
    number = f.integer()(value, place, complaints, strict)
    if bool(complaints) == before and number is not None and number <= 0:
        error = ValueError("max_tokens must be positive")
        complaints.add("value_error", place, f"Value error, {error}", value, error=error)
    return number


_ANTHROPIC: dict[str, f.Check] = {
    "model": f.text,
    "messages": f.array(
        f.Shape({"role": f.literal("user", "assistant", "system"), "content": _BLOCKS}, required=("role", "content"))
    ),
    "max_tokens": _positive,
    "stop_sequences": f.optional(f.array(f.text, max_length=MAX_STOPS)),
    "stream": f.optional(f.boolean),
    "system": f.optional(_BLOCKS),
    "temperature": f.optional(f.number()),
    "tool_choice": f.optional(_tool_choice),
    "tools": f.optional(
        f.array(
            f.Shape(
                {"name": f.text, "description": _TEXT, "input_schema": f.mapping(f.anything)},
                required=("name", "input_schema"),
            )
        )
    ),
    "top_k": f.optional(f.integer()),
    "top_p": f.optional(f.number()),
    "cache_salt": _TEXT,
    "kv_transfer_params": _OBJECT,
}
_MESSAGES = f.Shape(_ANTHROPIC, required=("model", "messages", "max_tokens"))
_COUNT = f.Shape(_ANTHROPIC, required=("model", "messages"))


def messages_body(raw: Any) -> Body:
    """A checked body of /v1/messages. Raises ApiError."""
    body: Body = f.checked(_MESSAGES, raw)
    return body


def count_tokens_body(raw: Any) -> Body:
    """A checked body of /v1/messages/count_tokens. Raises ApiError."""
    body: Body = f.checked(_COUNT, raw)
    return body

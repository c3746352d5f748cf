"""The messages of a chat: a union of the kinds that the OpenAI API knows, any of which a message may be.

Reference: vLLM 0.32, `renderers/chat_utils.py::ChatCompletionMessageParam`.
"""

from __future__ import annotations

from typing import Any

from fairlead.simulator.server.bodies import fields as f


def _message(name: str, fields: dict[str, f.Check], *required: str) -> f.Check:
    shape = f.Shape(fields, required=required, is_dict=name != "Message")

    def check(value: Any, place: str, complaints: f.Complaints, strict: bool) -> Any:
        shape(value, f"{place}.{name}", complaints, strict)
        return value

    return check


def _parts(value: Any, place: str, complaints: f.Complaints, strict: bool) -> Any:
    if not isinstance(value, list | dict):
        complaints.add("iterable_type", place, "Input should be iterable", value)
    return value


_CONTENT = f.either(f.text, _parts)
_MESSAGE = f.either(
    *(
        _message(f"ChatCompletion{kind}MessageParam", {"content": _CONTENT, "role": f.literal(kind.lower())}, "role")
        for kind in ("Developer", "System", "User")
    ),
    _message(
        "ChatCompletionAssistantMessageParam",
        {"role": f.literal("assistant"), "content": f.optional(_CONTENT)},
        "role",
    ),
    _message(
        "ChatCompletionToolMessageParam",
        {"content": _CONTENT, "role": f.literal("tool"), "tool_call_id": f.text},
        "role",
        "tool_call_id",
    ),
    _message(
        "ChatCompletionFunctionMessageParam",
        {"content": f.optional(f.text), "name": f.text, "role": f.literal("function")},
        "name",
        "role",
    ),
    _message(
        "CustomChatCompletionMessageParam",
        {"role": f.text, "content": f.optional(f.either(f.text, f.array(f.anything)))},
        "role",
    ),
    _message("Message", {"author": f.anything, "content": f.array(f.anything)}, "author", "content"),
)

MESSAGES = f.array(_MESSAGE)

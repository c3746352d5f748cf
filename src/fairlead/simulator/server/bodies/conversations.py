"""Bodies of /v1/responses and /v1/messages as conversations with tools, the form that the composer knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from fairlead.simulator.server.answers.tools import Tool
from fairlead.simulator.server.bodies.chat import content_text
from fairlead.simulator.server.bodies.constraint import Constraint, constraint_of
from fairlead.simulator.server.bodies.errors import ApiError, invalid
from fairlead.simulator.server.bodies.openai_body import Body

Messages = list[dict[str, Any]]


def response_messages(body: Body) -> Messages:
    """The conversation of a Responses body: instructions, then its input items."""
    messages: Messages = []
    if body.get("instructions"):
        messages.append({"role": "system", "content": body["instructions"]})
    given = body["input"]
    if isinstance(given, str):
        return [*messages, {"role": "user", "content": given}]
    for item in given:
        kind = item.get("type", "message")
        if kind == "message":
            messages.append({"role": str(item.get("role", "user")), "content": content_text(item.get("content"))})
        elif kind == "function_call":
            call = {"name": item.get("name"), "arguments": item.get("arguments")}
            messages.append({"role": "assistant", "content": "", "tool_calls": [call]})
        elif kind == "function_call_output":
            messages.append({"role": "tool", "content": content_text(item.get("output"))})
    return messages


def response_tools(body: Body) -> tuple[list[Tool], Any]:
    """The functions of a Responses body and its choice, as `tool_choice` of chat has it. Raises ApiError."""
    tools = [
        Tool(str(each.get("name")), each.get("parameters"))
        for each in body.get("tools", ())
        if each.get("type") == "function"
    ]
    choice = body.get("tool_choice", "auto")
    if choice == "required" and not body.get("tools"):
        message = f"Tool choice '{choice}' must be specified with 'tools' parameter."
        raise invalid(message, parameter="tool_choice")
    if isinstance(choice, dict):
        name = choice.get("name")
        if name not in [tool.name for tool in tools]:
            raise invalid("Tool choice 'function' not found in 'tools' parameter.", parameter="tool_choice")
        return tools, {"function": {"name": name}}
    return tools, choice


def response_constraint(body: Body) -> Constraint | None:
    """What `text.format` demands. Raises ApiError."""
    wanted = (body.get("text") or {}).get("format")
    if not isinstance(wanted, dict):
        return None
    if wanted.get("type") == "json_schema":
        chosen = {"type": "json_schema", "json_schema": {"schema": wanted.get("schema")}}
        return constraint_of({"response_format": chosen})
    return constraint_of({"response_format": wanted}) if wanted.get("type") == "json_object" else None


def message_messages(body: Body) -> Messages:
    """The conversation of a Messages body: the system prompt, then its messages, blocks as text."""
    messages: Messages = []
    if body.get("system"):
        messages.append({"role": "system", "content": content_text(body["system"])})
    for message in body["messages"]:
        content = message["content"]
        if isinstance(content, str):
            messages.append({"role": message["role"], "content": content})
        else:
            messages.append({"role": message["role"], **_blocks(content)})
    return messages


def message_tools(body: Body) -> tuple[list[Tool], Any]:
    """The tools of a Messages body and its choice, as `tool_choice` of chat has it. Raises ApiError."""
    tools = [Tool(each["name"], each["input_schema"]) for each in body.get("tools") or ()]
    choice = body.get("tool_choice")
    if choice is None:
        return tools, "auto" if tools else "none"
    kind = choice["type"]
    if kind == "tool":
        name = choice.get("name")
        if name not in [tool.name for tool in tools]:
            raise ApiError(400, f"tool_choice names {name!r}, which is not among the tools")
        return tools, {"function": {"name": name}}
    return tools, {"any": "required"}.get(kind, kind)


def _blocks(blocks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    texts, calls = [], []
    for block in blocks:
        if block["type"] == "text" and block.get("text"):
            texts.append(block["text"])
        elif block["type"] == "tool_result":
            texts.append(content_text(block.get("content")))
        elif block["type"] == "tool_use":
            arguments = msgspec.json.encode(block.get("input") or {}).decode()
            calls.append({"name": block.get("name"), "arguments": arguments})
    return {"content": "\n".join(texts), **({"tool_calls": calls} if calls else {})}

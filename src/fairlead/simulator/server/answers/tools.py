"""Which tool a simulated model calls, and with which arguments."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fairlead.simulator.server.answers.outcome import ToolCall
from fairlead.simulator.server.bodies.errors import ApiError
from fairlead.simulator.server.text.pattern_text import PatternError
from fairlead.simulator.server.text.schema_text import SchemaError, json_text


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that may be called; `parameters` is a JSON Schema."""

    name: str
    parameters: dict[str, Any] | None


def chosen_tool(tools: Sequence[Tool], choice: Any, generator: random.Random, probability: float) -> Tool | None:
    """The tool to call, or None for text. `choice` is the request's `tool_choice`."""
    if not tools or choice in ("none", None):
        return None
    if isinstance(choice, dict):
        name = choice["function"]["name"]
        return next(tool for tool in tools if tool.name == name)
    if choice == "auto" and generator.random() >= probability:
        return None
    return generator.choice(tools)


def tool_text(tool: Tool, generator: random.Random) -> tuple[str, ToolCall]:
    """What the model generates (the form of Hermes), and the call in it. Raises ApiError."""
    try:
        arguments = json_text({"type": "object", **(tool.parameters or {})}, generator)
    except (SchemaError, PatternError) as error:
        raise ApiError(400, f"Grammar error: {error}") from error
    start = f'<tool_call>\n{{"name": "{tool.name}", "arguments": '
    return f"{start}{arguments}}}\n</tool_call>", ToolCall(tool.name, arguments, len(start))

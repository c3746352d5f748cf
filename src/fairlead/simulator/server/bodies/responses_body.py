"""Bodies of /v1/responses. Reference: vLLM 0.32, `entrypoints/openai/responses/protocol.py`."""

from __future__ import annotations

from typing import Any

from fairlead.simulator.server.bodies import fields as f
from fairlead.simulator.server.bodies.openai_body import SEED, STOP, Body

_TEXT = f.optional(f.text)
_OBJECT = f.optional(f.mapping(f.anything))
_FLAG = f.optional(f.boolean)
_NUMBER = f.optional(f.number())
_INTEGER = f.optional(f.integer())

_ITEM = f.mapping(f.anything)


def _item(value: Any, place: str, complaints: f.Complaints, strict: bool) -> Any:
    """An item of the input; a message, which needs no type, must have a role."""
    item = _ITEM(value, place, complaints, strict)
    if isinstance(value, dict) and "type" not in value and "role" not in value:
        complaints.add("missing", f"{place}.EasyInputMessageParam.role", "Field required", value)
    return item


_RESPONSES = f.Shape(
    {
        "background": _FLAG,
        "input": f.either(f.text, f.array(_item)),
        "instructions": _TEXT,
        "max_output_tokens": _INTEGER,
        "max_tool_calls": _INTEGER,
        "metadata": _OBJECT,
        "model": _TEXT,
        "parallel_tool_calls": _FLAG,
        "previous_response_id": _TEXT,
        "service_tier": f.literal("auto", "default", "flex", "scale", "priority"),
        "store": _FLAG,
        "stream": _FLAG,
        "temperature": _NUMBER,
        "text": f.optional(f.mapping(f.anything)),
        "tool_choice": f.anything,
        "tools": f.array(f.mapping(f.anything)),
        "top_logprobs": _INTEGER,
        "top_p": _NUMBER,
        "top_k": _INTEGER,
        "truncation": f.optional(f.literal("auto", "disabled")),
        "user": _TEXT,
        "presence_penalty": f.optional(f.number(ge=-2.0, le=2.0)),
        "frequency_penalty": f.optional(f.number(ge=-2.0, le=2.0)),
        "request_id": f.text,
        "priority": f.integer(ge=f.INT64_MIN, le=f.INT64_MAX),
        "cache_salt": _TEXT,
        "seed": SEED,
        "ignore_eos": f.boolean,
        "stop": STOP,
        "kv_transfer_params": _OBJECT,
    },
    required=("input",),
)


def responses_body(raw: Any) -> Body:
    """A checked body of /v1/responses. Raises ApiError."""
    if isinstance(raw, dict) and "input" not in raw:
        # vLLM has put a request id in by the time it complains, which shows in the number of items.
        f.checked(_RESPONSES, {"request_id": "", **raw})
    body: Body = f.checked(_RESPONSES, raw)
    return body

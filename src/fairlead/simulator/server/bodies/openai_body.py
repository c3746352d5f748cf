"""Bodies of chat and text completions as vLLM accepts them: fields, types, and what must not come together.

Field names, defaults and complaints are those of vLLM 0.32 (`entrypoints/openai/*/protocol.py`); unknown
fields are passed over there and here.
"""

from __future__ import annotations

from typing import Any

from fairlead.simulator.server.bodies import fields as f
from fairlead.simulator.server.bodies.conversation_body import MESSAGES
from fairlead.simulator.server.bodies.errors import ApiError, invalid

Body = dict[str, Any]

MAX_STOPS = 4
MAX_PROMPTS = 1024
_MAX_SALT_CHARS = 128
_SALT_FORBIDDEN = frozenset("@/\\\x00")
SEED = f.optional(f.integer(ge=f.INT64_MIN, le=f.INT64_MAX))
_TEXT = f.optional(f.text)
_NUMBER = f.optional(f.number())
_INTEGER = f.optional(f.integer())
_FLAG = f.optional(f.boolean)
STOP = f.optional(f.either(f.text, f.array(f.text, max_length=MAX_STOPS)))
_OBJECT = f.optional(f.mapping(f.anything))

_JSON_SCHEMA = f.Shape({"name": f.text, "schema": _OBJECT, "strict": _FLAG}, required=("name",))
_RESPONSE_FORMAT = f.either(
    f.Shape(
        {"type": f.literal("text", "json_object", "json_schema"), "json_schema": f.optional(_JSON_SCHEMA)},
        required=("type",),
    ),
    f.Shape({"type": f.literal("structural_tag"), "format": f.anything}, required=("type", "format")),
    f.Shape(
        {"type": f.literal("structural_tag"), "structures": f.array(f.anything), "triggers": f.array(f.text)},
        required=("type", "structures", "triggers"),
    ),
)
_STRUCTURED = f.Shape(
    {
        "json": f.optional(f.either(f.text, f.mapping(f.anything))),
        "regex": _TEXT,
        "choice": f.optional(f.array(f.text)),
        "grammar": _TEXT,
        "json_object": _FLAG,
        "structural_tag": _TEXT,
    }
)
_FUNCTION = f.Shape({"name": f.text, "description": _TEXT, "parameters": _OBJECT, "strict": _FLAG}, required=("name",))
_TOOL = f.Shape({"type": f.literal("function"), "function": _FUNCTION}, required=("function",))
_NAMED_TOOL = f.Shape(
    {"function": f.Shape({"name": f.text}, required=("name",)), "type": f.literal("function")}, required=("function",)
)
_STREAM_OPTIONS = f.Shape({"include_usage": _FLAG, "continuous_usage_stats": _FLAG})

_SAMPLING: dict[str, f.Check] = {
    "frequency_penalty": _NUMBER,
    "logit_bias": f.optional(f.mapping(f.number())),
    "max_tokens": _INTEGER,
    "presence_penalty": _NUMBER,
    "seed": SEED,
    "stop": STOP,
    "stream": _FLAG,
    "stream_options": f.optional(_STREAM_OPTIONS),
    "temperature": _NUMBER,
    "top_p": _NUMBER,
    "user": _TEXT,
    "use_beam_search": f.boolean,
    "top_k": _INTEGER,
    "min_p": _NUMBER,
    "repetition_penalty": _NUMBER,
    "length_penalty": f.number(),
    "stop_token_ids": f.optional(f.array(f.integer())),
    "include_stop_str_in_output": f.boolean,
    "ignore_eos": f.boolean,
    "min_tokens": f.integer(),
    "skip_special_tokens": f.boolean,
    "spaces_between_special_tokens": f.boolean,
    "truncate_prompt_tokens": f.optional(f.integer(ge=-1, le=f.INT64_MAX)),
    "truncation_side": f.optional(f.literal("left", "right")),
    "allowed_token_ids": f.optional(f.array(f.integer())),
    "prompt_logprobs": _INTEGER,
    "bad_words": f.array(f.text),
    "response_format": f.optional(_RESPONSE_FORMAT),
    "structured_outputs": f.optional(_STRUCTURED),
    "priority": f.integer(ge=f.INT64_MIN, le=f.INT64_MAX),
    "request_id": f.text,
    "return_tokens_as_token_ids": _FLAG,
    "return_token_ids": _FLAG,
    "cache_salt": _TEXT,
    "kv_transfer_params": _OBJECT,
}


def _in_order(first: str, checks: dict[str, f.Check]) -> dict[str, f.Check]:
    """The fields with `first` in front: complaints come in the order in which the API documents them."""
    names = first.split()
    return {**{name: checks[name] for name in names}, **checks}


TOOLS = f.optional(f.array(_TOOL))

_CHAT = f.Shape(
    _in_order(
        "messages model frequency_penalty logit_bias logprobs top_logprobs max_tokens max_completion_tokens n "
        "presence_penalty response_format seed stop stream stream_options temperature top_p tools tool_choice",
        {
            "messages": MESSAGES,
            "model": _TEXT,
            "logprobs": _FLAG,
            "top_logprobs": _INTEGER,
            "max_completion_tokens": _INTEGER,
            "n": _INTEGER,
            "tools": TOOLS,
            "tool_choice": f.optional(
                f.either(f.literal("none"), f.literal("auto"), f.literal("required"), _NAMED_TOOL),
            ),
            "reasoning_effort": f.optional(f.literal("none", "minimal", "low", "medium", "high", "xhigh", "max")),
            "parallel_tool_calls": _FLAG,
            "echo": f.boolean,
            "add_generation_prompt": f.boolean,
            "continue_final_message": f.boolean,
            "add_special_tokens": f.boolean,
            "chat_template": _TEXT,
            "chat_template_kwargs": _OBJECT,
            **_SAMPLING,
        },
    ),
    required=("messages",),
)

_COMPLETION = f.Shape(
    _in_order(
        "model prompt echo frequency_penalty logit_bias logprobs max_tokens n presence_penalty seed stop stream "
        "stream_options suffix temperature top_p",
        {
            "model": _TEXT,
            "prompt": f.optional(f.either(f.token_ids, f.array(f.token_ids), f.text, f.array(f.text))),
            "echo": _FLAG,
            "logprobs": _INTEGER,
            "n": f.integer(),
            "suffix": _TEXT,
            "add_special_tokens": f.boolean,
            **_SAMPLING,
        },
    )
)


def chat_body(raw: Any) -> Body:
    """A checked body of /v1/chat/completions. Raises ApiError."""
    if isinstance(raw, dict):
        if not isinstance(raw.get("messages", []), list | str | dict):
            raise ApiError(400, f"'{type(raw['messages']).__name__}' object is not iterable")
        if raw.get("continue_final_message") and raw.get("add_generation_prompt"):
            raise invalid("Cannot set both `continue_final_message` and `add_generation_prompt` to True.")
        raw = _check_tools(raw)
        _check_before(raw)
        _check_logprobs(raw, "top_logprobs")
        if raw.get("top_logprobs") and not raw.get("logprobs"):
            raise invalid("when using `top_logprobs`, `logprobs` must be set to true.", parameter="top_logprobs")
    body: Body = f.checked(_CHAT, raw)
    return body


def completion_body(raw: Any) -> Body:
    """A checked body of /v1/completions. Raises ApiError."""
    if isinstance(raw, dict):
        prompts = raw.get("prompt")
        if isinstance(prompts, list) and len(prompts) > MAX_PROMPTS and not all(isinstance(p, int) for p in prompts):
            raise invalid(
                f"prompt list length {len(prompts)} exceeds the maximum allowed count of {MAX_PROMPTS}. To increase "
                "this limit, set the VLLM_MAX_COMPLETION_PROMPTS environment variable.",
                parameter="prompt",
            )
        if prompts is None or prompts == "":
            raise invalid("Either prompt or prompt_embeds must be provided and non-empty.", parameter="prompt")
        _check_before(raw)
        _check_logprobs(raw, "logprobs")
    body: Body = f.checked(_COMPLETION, raw)
    if body.get("suffix") is not None:
        raise ApiError(400, "suffix is only supported for models with FIM completion rendering", param="suffix")
    return body


def _check_before(raw: Body) -> None:
    """What vLLM rejects before it looks at types."""
    if raw.get("stream_options") and not raw.get("stream"):
        raise invalid("Stream options can only be defined when `stream=True`.", parameter="stream_options")
    chosen = raw.get("response_format")
    if isinstance(chosen, dict) and chosen.get("type") == "json_schema" and chosen.get("json_schema") is None:
        raise invalid(
            "When response_format type is 'json_schema', the 'json_schema' field must be provided.",
            parameter="response_format",
        )
    structured = raw.get("structured_outputs")
    if structured is not None and not isinstance(structured, dict):
        message = f"'{type(structured).__name__}' object has no attribute 'get'"
        raise ApiError(500, message, type="InternalServerError")
    if structured is not None:
        kinds = sum(structured.get(kind) is not None for kind in ("json", "regex", "choice"))
        if kinds > 1:
            raise invalid(
                "You can only use one kind of constraints for structured outputs ('json', 'regex' or 'choice')."
            )
        if kinds and raw.get("tool_choice", "none") not in ("none", "auto", "required"):
            raise invalid("You can only either use constraints for structured outputs or tools, not both.")
    if "cache_salt" in raw:
        _check_cache_salt(raw["cache_salt"])


def _check_cache_salt(salt: Any) -> None:
    if salt is None:
        return
    if not isinstance(salt, str) or not salt:
        raise invalid("Parameter 'cache_salt' must be a non-empty string if provided.", parameter="cache_salt")
    if len(salt) > _MAX_SALT_CHARS or _SALT_FORBIDDEN.intersection(salt):
        raise invalid(
            f"Parameter 'cache_salt' must be at most {_MAX_SALT_CHARS} characters and must not contain '@', '/', "
            "'\\\\', or NUL.",
            parameter="cache_salt",
        )


def _check_logprobs(raw: Body, name: str) -> None:
    for each in ("prompt_logprobs", name):
        value = raw.get(each)
        if value is None:
            continue
        if not isinstance(value, int | float):
            raise invalid(f"`{each}` must be an integer.", parameter=each, value=value)
        if each == "prompt_logprobs" and raw.get("stream") and (value > 0 or value == -1):
            raise invalid("`prompt_logprobs` are not available when `stream=True`.", parameter=each)
        if value < 0 and value != -1:
            raise invalid(f"`{each}` must be a positive value or -1.", parameter=each, value=value)


_TOOL_CHOICE_USAGE = 'Correct usage: `{"type": "function", "function": {"name": "my_function"}}`'


def _check_tools(raw: Body) -> Body:
    """The body with the tool choice that stands when it gives none."""
    tools = raw.get("tools")
    if tools == []:
        raise invalid(
            "`tools` must not be an empty array. Either provide at least one tool or omit the field entirely.",
            parameter="tools",
        )
    if "tool_choice" not in raw and tools:
        return {**raw, "tool_choice": "auto"}
    choice = raw.get("tool_choice", "none")
    if choice == "none" or choice is None:
        return raw
    if tools is None:
        raise invalid("When using `tool_choice`, `tools` must be set.", parameter="tool_choice")
    if isinstance(choice, dict):
        _check_named_tool(choice, tools)
    elif choice not in ("auto", "required"):
        raise invalid(
            f'Invalid value for `tool_choice`: {choice}! Only named tools, "none", "auto" or "required" are supported.',
            parameter="tool_choice",
        )
    return raw


def _check_named_tool(choice: Body, tools: Any) -> None:
    function = choice.get("function")
    place = "tool_choice.function"
    if not isinstance(function, dict):
        raise invalid(
            f"Invalid value for `function`: `{function}` in `tool_choice`! {_TOOL_CHOICE_USAGE}", parameter=place
        )
    if "name" not in function:
        raise invalid(
            f"Expected field `name` in `function` in `tool_choice`! {_TOOL_CHOICE_USAGE}", parameter=f"{place}.name"
        )
    name = function["name"]
    if not isinstance(name, str) or not name:
        raise invalid(
            f"Invalid `name` in `function`: `{name}` in `tool_choice`! {_TOOL_CHOICE_USAGE}", parameter=f"{place}.name"
        )
    names = [each.get("function", {}).get("name") for each in tools if isinstance(each, dict)]
    if name not in names:
        raise invalid(
            "The tool specified in `tool_choice` does not match any of the specified `tools`", parameter="tool_choice"
        )

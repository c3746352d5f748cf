"""The bodies of a request's legs. Pure.

Values of the client's body pass through as the bytes they are; only the fields that a leg concerns are read or made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw

from fairlead.engines.handoff import Body, Handoff, HandoffError, Meeting
from fairlead.engines.vllm import VllmHandoff
from fairlead.gateway.requests import HANDOFF_FIELDS, Api, top_level
from fairlead.gateway.requests.prompt_list import read_prompts

_OPENAI: Final = frozenset((Api.CHAT, Api.COMPLETIONS))
_OTHERS: Final = frozenset((Api.RESPONSES, Api.ANTHROPIC))
_WHOLE_FIELDS: Final = ("echo", "prompt_logprobs", "use_beam_search", "prompt_embeds", "best_of")
"""Of completions and chats: what the answering engine can only give for a prompt that it computed itself."""
_NO: Final = frozenset((b"null", b"false", b"0", b"1", b'""'))

Fields = dict[str, Raw]


def cannot_split(api: Api, handoff: Handoff, fields: Mapping[str, Raw]) -> str:
    """Why this request cannot be computed in two places; empty where it can."""
    if api not in _OPENAI and not (api in _OTHERS and isinstance(handoff, VllmHandoff)):
        return f"requests of {api} are not split with this runtime"
    prompts = read_prompts(fields["prompt"]).answers if api is Api.COMPLETIONS and "prompt" in fields else 1
    if prompts > 1 or _beginning(fields, "n") not in _NO:
        return "there are several answers"
    for name in _WHOLE_FIELDS:
        # `prompt_logprobs: 0` asks for them.
        value = _beginning(fields, name)
        if value not in _NO or (name == "prompt_logprobs" and value in (b"0", b"1")):
            return f"`{name}` needs the prompt where the answer is"
    return ""


def prefill_body(api: Api, handoff: Handoff, fields: Fields, meeting: Meeting) -> bytes:
    """The prefill engine's request."""
    request: dict[str, Any] = dict(handoff.prefill_request(_without_places(fields), meeting))
    if api is Api.RESPONSES:
        # This API's own name for the limit; `max_tokens` means nothing to it.
        request.pop("max_tokens", None)
        request["max_output_tokens"] = 1
        request["store"] = False
        request.pop("background", None)
    return msgspec.json.encode(request)


def decode_body(handoff: Handoff, fields: Fields, taken: Body, meeting: Meeting) -> bytes:
    """The answering engine's request."""
    return msgspec.json.encode(handoff.decode_request(_without_places(fields), taken, meeting))


def whole_body(body: bytes, fields: Fields) -> bytes:
    """The request in one piece, without places that the client names; the same bytes where it names none."""
    if not any(name in fields for name in HANDOFF_FIELDS):
        return body
    return msgspec.json.encode(_without_places(fields))


def releasing_body(api: Api, decode: bytes) -> bytes:
    """A decode request whose answer nobody waits for: the engine fetches the KV blocks, which frees them there."""
    left_out = ("stream", "stream_options", "min_tokens", "max_completion_tokens", "max_output_tokens", "max_tokens")
    fields: dict[str, Any] = {name: value for name, value in top_level(decode).items() if name not in left_out}
    fields["max_output_tokens" if api is Api.RESPONSES else "max_tokens"] = 1
    return msgspec.json.encode(fields)


def taken_from(handoff: Handoff, answer: bytes) -> tuple[Body, int | None, int | None]:
    """(what decode needs of prefill's answer, its prompt tokens, those of them that were cached). Raises
    HandoffError."""
    try:
        decoded = msgspec.json.decode(answer)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise HandoffError(f"prefill's answer is not JSON: {error}") from error
    if not isinstance(decoded, dict):
        raise HandoffError("prefill's answer is no JSON object")
    usage = decoded.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else usage.get("cache_read_input_tokens")
    prompt = usage.get("prompt_tokens", usage.get("input_tokens"))
    return (
        handoff.take(decoded),
        prompt if isinstance(prompt, int) else None,
        cached if isinstance(cached, int) else None,
    )


def _beginning(fields: Mapping[str, Raw], name: str) -> bytes:
    """Of a field's value, enough to tell small numbers and words; null for a field that is not there."""
    return bytes(memoryview(fields[name])[:8]) if name in fields else b"null"


def _without_places(fields: Fields) -> Fields:
    if any(name in fields for name in HANDOFF_FIELDS):
        return {name: value for name, value in fields.items() if name not in HANDOFF_FIELDS}
    return fields

"""A body read once. Only what decisions need is decoded, and what makes the prompt is not even copied where it stands
in one piece.

What the engine would refuse is left for the engine to refuse, in its own words: the gateway objects only where it
cannot tell where to route. Of keys that occur twice the last one counts, as in every engine's JSON reader.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Final, TypeVar

import msgspec
from msgspec import Raw

from fairlead.gateway.requests.content import Text, conversation, system_text, text_of
from fairlead.gateway.requests.form import form_field
from fairlead.gateway.requests.inference_request import Api, InferenceRequest
from fairlead.gateway.requests.prompt_list import read_prompts
from fairlead.gateway.requests.token_estimate import AUDIO_TOKENS

BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
HANDOFF_FIELDS: Final = (
    "kv_transfer_params", "ec_transfer_params", "disaggregated_params", "bootstrap_host", "bootstrap_port",
    "bootstrap_room",
)  # fmt: skip
"""Fields that tell an engine where to fetch a KV cache. From a client they would choose that place."""
_MAX_NAME: Final = 256
"""Identities that clients send are kept whole up to this length; beyond it a digest stands for them."""
_MAX_DIGITS: Final = 18

_QUOTE: Final = 0x22
_MAX_COUNT: Final = 1 << 31
_T = TypeVar("_T")
_NOTHING: Final = Text(b"", 0)


class BadBody(ValueError):
    """The body does not tell where to route it. The message is for the client; `param` names the field at fault."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class _Body(msgspec.Struct):
    """What bodies of all APIs may have. Raw: whatever type the client sent is no reason to refuse it here."""

    model: str | None
    stream: Raw = Raw()
    n: Raw = Raw()
    cache_salt: Raw = Raw()
    user: Raw = Raw()
    max_tokens: Raw = Raw()
    kv_transfer_params: Raw = Raw()
    ec_transfer_params: Raw = Raw()
    disaggregated_params: Raw = Raw()
    bootstrap_host: Raw = Raw()
    bootstrap_port: Raw = Raw()
    bootstrap_room: Raw = Raw()
    vllm_xargs: Raw = Raw()


class _Chat(_Body):
    messages: Raw = Raw()
    tools: Raw = Raw()
    documents: Raw = Raw()
    chat_template: Raw = Raw()
    max_completion_tokens: Raw = Raw()
    prompt_cache_key: Raw = Raw()


class _Completions(_Body):
    prompt: Raw = Raw()
    prompt_cache_key: Raw = Raw()


class _Responses(_Body):
    instructions: Raw = Raw()
    tools: Raw = Raw()
    input: Raw = Raw()
    max_output_tokens: Raw = Raw()
    previous_response_id: Raw = Raw()
    conversation: Raw = Raw()
    prompt_cache_key: Raw = Raw()


class _Embeddings(_Body):
    input: Raw = Raw()
    messages: Raw = Raw()


class _Metadata(msgspec.Struct):
    user_id: Raw = Raw()


class _Anthropic(_Body):
    system: Raw = Raw()
    tools: Raw = Raw()
    messages: Raw = Raw()
    metadata: Raw = Raw()


class _Sampling(msgspec.Struct):
    max_tokens: Raw = Raw()
    max_new_tokens: Raw = Raw()
    n: Raw = Raw()
    extra_args: Raw = Raw()


class _Generate(_Body):
    model: str | None = None
    text: Raw = Raw()
    inputs: Raw = Raw()
    prompt: Raw = Raw()
    input_ids: Raw = Raw()
    token_ids: Raw = Raw()
    sampling_params: Raw = Raw()
    parameters: Raw = Raw()
    session_params: Raw = Raw()


class _Other(_Body):
    prompt: Raw = Raw()
    messages: Raw = Raw()
    query: Raw = Raw()
    queries: Raw = Raw()
    documents: Raw = Raw()
    text_1: Raw = Raw()
    text_2: Raw = Raw()
    data_1: Raw = Raw()
    data_2: Raw = Raw()
    input: Raw = Raw()
    inputs: Raw = Raw()
    text: Raw = Raw()
    texts: Raw = Raw()


class _WithId(msgspec.Struct):
    id: str = ""


_chat = msgspec.json.Decoder(_Chat)
_completions = msgspec.json.Decoder(_Completions)
_responses = msgspec.json.Decoder(_Responses)
_embeddings = msgspec.json.Decoder(_Embeddings)
_anthropic = msgspec.json.Decoder(_Anthropic)
_metadata = msgspec.json.Decoder(_Metadata)
_generate = msgspec.json.Decoder(_Generate)
_sampling = msgspec.json.Decoder(_Sampling)
_other = msgspec.json.Decoder(_Other)
_tokens = msgspec.json.Decoder(_Body)
_with_id = msgspec.json.Decoder(_WithId)
_text = msgspec.json.Decoder(str)
_fields: msgspec.json.Decoder[Mapping[str, Raw]] = msgspec.json.Decoder(Mapping[str, Raw])


def parse(api: Api, body: bytes) -> InferenceRequest:
    """What is known of a request from its body. Raises BadBody."""
    if api is Api.PATH:
        return InferenceRequest(api, "")
    if api is Api.FORM:
        return _parse_form(body)
    try:
        request = _PARSERS[api](memoryview(body)[3:] if body[:3] == BYTE_ORDER_MARK else body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise _bad_body(body, error) from error
    if not request.model and api is not Api.GENERATE:
        raise BadBody("The request names no model: `model` is empty or null. GET /v1/models lists the names.", "model")
    return request


def _bad_body(body: bytes, error: Exception) -> BadBody:
    if isinstance(error, msgspec.ValidationError):
        if "`model`" in str(error):
            return BadBody("The request names no model: add `model`; GET /v1/models lists the names.", "model")
        if str(error).endswith("$.model`"):
            return BadBody(f"`model` must be a string: {str(error).removesuffix(' - at `$.model`')}.", "model")
        return BadBody(f"The request body must be a JSON object: {error}.")
    if isinstance(error, RecursionError):
        return BadBody("The request body is nested too deeply.")
    if not body.strip():
        return BadBody("The request has no body: a JSON object with `model` is needed.")
    if body[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return BadBody("The request body is UTF-16: send JSON in UTF-8.")
    return BadBody(f"The request body is not JSON: {error}.")


def _parse_chat(body: bytes | memoryview) -> InferenceRequest:
    b = _chat.decode(body)
    prompt = conversation(b.messages, body)
    if b.tools or b.documents or b.chat_template:
        prompt = _joined([*(text_of(part) for part in (b.chat_template, b.documents, b.tools) if part), prompt])
    return _request(Api.CHAT, b, prompt, b.max_completion_tokens or b.max_tokens, (b.prompt_cache_key, b.user))


def _parse_completions(body: bytes | memoryview) -> InferenceRequest:
    b = _completions.decode(body)
    return _with_prompts(_request(Api.COMPLETIONS, b, _NOTHING, b.max_tokens, (b.prompt_cache_key, b.user)), b.prompt)


def _parse_responses(body: bytes | memoryview) -> InferenceRequest:
    b = _responses.decode(body)
    parts = [text_of(part) for part in (b.instructions, b.tools) if part]
    parts.append(conversation(b.input, body))
    session = (b.conversation, b.prompt_cache_key, b.previous_response_id, b.user)
    return _request(Api.RESPONSES, b, _joined(parts), b.max_output_tokens, session)


def _parse_embeddings(body: bytes | memoryview) -> InferenceRequest:
    b = _embeddings.decode(body)
    prompt = conversation(b.messages, body) if b.messages else _NOTHING
    return _with_prompts(_request(Api.EMBEDDINGS, b, prompt, Raw(), (b.user,)), b.input)


def _parse_anthropic(body: bytes | memoryview) -> InferenceRequest:
    b = _anthropic.decode(body)
    parts = [system_text(b.system)] if b.system else []
    if b.tools:
        parts.append(text_of(b.tools))
    parts.append(conversation(b.messages, body))
    user_id = _lenient(_metadata, b.metadata, _Metadata()).user_id
    return _request(Api.ANTHROPIC, b, _joined(parts), b.max_tokens, (user_id,))


def _parse_generate(body: bytes | memoryview) -> InferenceRequest:
    b = _generate.decode(body)
    sampling = _lenient(_sampling, b.sampling_params or b.parameters, _Sampling())
    b.n = sampling.n or b.n
    limit = sampling.max_new_tokens or sampling.max_tokens or b.max_tokens
    request = _request(Api.GENERATE, b, _NOTHING, limit, (b.user,))
    request.names_places |= bool(sampling.extra_args) and _names_places(sampling.extra_args)
    return _with_prompts(request, b.token_ids or b.input_ids or b.text or b.inputs or b.prompt)


def _parse_other(body: bytes | memoryview) -> InferenceRequest:
    b = _other.decode(body)
    pairs = (b.query, b.queries, b.text_1, b.data_1, b.documents, b.text_2, b.data_2)
    parts = [text_of(part) for part in pairs if part]
    if b.messages:
        parts.append(conversation(b.messages, body))
    request = _request(Api.OTHER, b, _joined(parts) if parts else _NOTHING, b.max_tokens, (b.user,))
    return _with_prompts(request, b.prompt or b.input or b.inputs or b.text or b.texts)


def _parse_tokens(body: bytes | memoryview) -> InferenceRequest:
    return InferenceRequest(Api.TOKENS, _tokens.decode(body).model or "")


def _parse_form(body: bytes) -> InferenceRequest:
    value = form_field(body, b"model")
    if value is None:
        raise BadBody("The request is no multipart/form-data with a field `model`.", "model")
    try:
        model = value[2].decode()
    except UnicodeDecodeError as error:
        raise BadBody(f"`model` is not UTF-8: {error}.", "model") from error
    if not model:
        raise BadBody("The request names no model: the field `model` is empty.", "model")
    stream = form_field(body, b"stream")
    return InferenceRequest(
        Api.FORM, model, stream is not None and stream[2].lower() == b"true", prompt_tokens=AUDIO_TOKENS, media=1
    )


_PARSERS: Mapping[Api, Callable[[bytes | memoryview], InferenceRequest]] = {
    Api.CHAT: _parse_chat,
    Api.COMPLETIONS: _parse_completions,
    Api.RESPONSES: _parse_responses,
    Api.EMBEDDINGS: _parse_embeddings,
    Api.ANTHROPIC: _parse_anthropic,
    Api.GENERATE: _parse_generate,
    Api.TOKENS: _parse_tokens,
    Api.OTHER: _parse_other,
}


def _request(api: Api, b: _Body, prompt: Text, limit: Raw, sessions: tuple[Raw, ...]) -> InferenceRequest:
    session = ""
    for raw in sessions:
        if raw and (session := _name(raw)):
            break
    return InferenceRequest(
        api,
        b.model or "",
        bool(b.stream) and bytes(memoryview(b.stream)[:5]) == b"true",
        prompt.raw,
        None,
        prompt.tokens,
        _integer(limit) if limit else None,
        (_integer(b.n) or 1) if b.n else 1,
        _name(b.cache_salt) if b.cache_salt else "",
        session,
        prompt.media,
        bool(
            b.kv_transfer_params or b.bootstrap_host or b.bootstrap_port or b.bootstrap_room
            or b.disaggregated_params or b.ec_transfer_params or (b.vllm_xargs and _names_places(b.vllm_xargs))
        ),
    )  # fmt: skip


def _names_places(arguments: Raw) -> bool:
    """Whether an object, if it is one, has a field that tells where a KV cache is."""
    fields = _lenient(_fields, arguments, {})
    return any(name in fields for name in HANDOFF_FIELDS)


def _joined(parts: list[Text]) -> Text:
    if len(parts) == 1:
        return parts[0]
    return Text(b"".join([p.raw for p in parts]), sum([p.tokens for p in parts]), sum([p.media for p in parts]))


def _with_prompts(request: InferenceRequest, raw: Raw) -> InferenceRequest:
    """Take over one prompt or several; the first is the prefix."""
    if raw:
        prompts = read_prompts(raw)
        request.prompt, request.token_ids = prompts.first, prompts.token_ids
        request.prompt_tokens += prompts.tokens
        request.choices *= prompts.answers
    return request


def _integer(raw: Raw) -> int | None:
    """A count above zero; None for whatever else it is. Engines take 3, 3.0 and "3" alike."""
    digits = bytes(memoryview(raw)[: _MAX_DIGITS + 1])
    if len(digits) > _MAX_DIGITS:
        return None
    try:
        number = int(digits) if digits.isdigit() else float(digits.strip(b'"'))
        return min(int(number), _MAX_COUNT) if number >= 1 else None
    except (ValueError, OverflowError):
        return None


def _name(raw: Raw) -> str:
    """A string, or the `id` of an object; empty for whatever else it is."""
    view = memoryview(raw)
    if len(view) > _MAX_NAME:
        return blake2b(view, digest_size=16).hexdigest()
    try:
        return _text.decode(raw) if view[0] == _QUOTE else _with_id.decode(raw).id
    except (msgspec.MsgspecError, ValueError):
        return ""


def _lenient(decoder: msgspec.json.Decoder[_T], raw: Raw, otherwise: _T) -> _T:
    """What an object has of the fields that are asked for, `otherwise` where it is none."""
    if not raw:
        return otherwise
    try:
        return decoder.decode(raw)
    except (msgspec.MsgspecError, ValueError):
        return otherwise

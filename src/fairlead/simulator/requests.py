"""Bodies of the OpenAI API as the simulated engine accepts them, turned into one `Generation`.

Error bodies and codes are vLLM's: 400 for JSON and types, 404 for a model that is not served.
Protocol: OpenAI HTTP API as spoken by vLLM's `vllm serve`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import msgspec

from fairlead.simulator.text import count_tokens, natural_length, seed_of

DEFAULT_COMPLETION_TOKENS = 16
"""`max_tokens` of /v1/completions when the request gives none, as in the OpenAI API."""

_MAX_STOPS = 16

_Body = TypeVar("_Body")


class RequestError(Exception):
    """A request that gets no answer. `code` is the HTTP status; `type` and `param` go into the error body."""

    def __init__(self, code: int, message: str, *, type: str = "BadRequestError", param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.body = msgspec.json.encode({"error": {"message": message, "type": type, "param": param, "code": code}})


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Common(msgspec.Struct):
    model: str | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    min_tokens: Annotated[int, msgspec.Meta(ge=0)] | None = None
    stop: str | list[str] | None = None
    n: Annotated[int, msgspec.Meta(ge=1)] | None = None
    seed: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    ignore_eos: bool | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0.0)] | None = None
    top_p: Annotated[float, msgspec.Meta(gt=0.0, le=1.0)] | None = None


class _Message(msgspec.Struct):
    role: str
    content: str | list[dict[str, Any]] | None = None


class _ChatBody(_Common, kw_only=True):
    messages: list[_Message]
    max_completion_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None


class _CompletionBody(_Common, kw_only=True):
    prompt: str | list[str | int | list[int]]


_chat_decoder = msgspec.json.Decoder(_ChatBody)
_completion_decoder = msgspec.json.Decoder(_CompletionBody)


@dataclass(frozen=True, slots=True)
class Generation:
    """What to generate. `length_tokens` is where the answer ends, `ends_by_itself` whether that is its natural end."""

    model: str
    seed: int
    prompt_tokens: int
    length_tokens: int
    ends_by_itself: bool
    max_tokens: int | None
    stops: tuple[str, ...]
    stream: bool
    include_usage: bool


@dataclass(frozen=True, slots=True)
class Served:
    """What the engine serves: its names (the first is its own) and its context length."""

    models: Sequence[str]
    max_model_len: int


def parse_chat(body: bytes, served: Served) -> Generation:
    """Raises RequestError."""
    decoded = _decode(_chat_decoder, body)
    texts = [text for message in decoded.messages for text in (message.role, *_texts(message.content))]
    return _generation(
        decoded,
        texts,
        # Each message costs a few tokens of the chat template.
        sum(count_tokens(t) for t in texts) + 3 * len(decoded.messages),
        decoded.max_completion_tokens or decoded.max_tokens,
        served,
    )


def parse_completion(body: bytes, served: Served) -> Generation:
    """Raises RequestError; a list of several prompts is refused, a list of token ids is one prompt."""
    decoded = _decode(_completion_decoder, body)
    prompt = decoded.prompt
    if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int):
        if len(prompt) > 1:
            raise RequestError(400, "the simulated engine answers one prompt per request", param="prompt")
        texts, prompt_tokens = _prompt(prompt[0])
    else:
        texts, prompt_tokens = _prompt(prompt)
    return _generation(decoded, texts, prompt_tokens, decoded.max_tokens or DEFAULT_COMPLETION_TOKENS, served)


def _prompt(prompt: str | Sequence[Any]) -> tuple[list[str], int]:
    """The texts that seed the answer, and the tokens of a prompt given as text or as token ids."""
    return ([prompt], count_tokens(prompt)) if isinstance(prompt, str) else ([str(prompt)], len(prompt))


def _decode(decoder: msgspec.json.Decoder[_Body], body: bytes) -> _Body:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise RequestError(400, f"1 validation error: {error}", type="Bad Request") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError(400, f"1 validation error: JSON decode error: {error}", type="Bad Request") from error


def _texts(content: str | list[dict[str, Any]] | None) -> list[str]:
    if content is None:
        return []
    if isinstance(content, str):
        return [content]
    return [str(part.get("text", "")) for part in content]


def _generation(
    body: _Common, texts: Sequence[str], prompt_tokens: int, max_tokens: int | None, served: Served
) -> Generation:
    model = body.model or served.models[0]
    if model not in served.models:
        raise RequestError(404, f"The model `{model}` does not exist.", type="NotFoundError", param="model")
    if body.n not in (None, 1):
        raise RequestError(400, "the simulated engine generates one choice: n must be 1", param="n")
    if body.stream_options is not None and not body.stream:
        raise RequestError(400, "Stream options can only be defined when `stream=True`.", param="stream_options")
    stops = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    if len(stops) > _MAX_STOPS or not all(stops):
        raise RequestError(400, f"stop must be at most {_MAX_STOPS} non-empty strings", param="stop")
    room = served.max_model_len - prompt_tokens
    if room < 1 or (max_tokens or 1) > room:
        raise RequestError(
            400,
            f"This model's maximum context length is {served.max_model_len} tokens. However, your request has "
            f"{prompt_tokens} input tokens and asks for {max_tokens or 1} output tokens.",
            param="input_tokens" if room < 1 else "max_tokens",
        )
    seed = seed_of(texts, body.seed)
    limit = max_tokens or room
    natural = limit + 1 if body.ignore_eos else max(natural_length(seed), body.min_tokens or 0)
    return Generation(
        model=model,
        seed=seed,
        prompt_tokens=prompt_tokens,
        length_tokens=min(limit, natural),
        ends_by_itself=natural <= limit,
        max_tokens=max_tokens,
        stops=stops,
        stream=bool(body.stream),
        include_usage=bool(body.stream_options and body.stream_options.include_usage),
    )

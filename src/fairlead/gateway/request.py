"""Requests for models, read once: only the fields that routing needs are decoded.

The model's name is in the JSON body (OpenAI's paths) or in the path (Open Inference Protocol v2, KServe V1).
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote

import msgspec

MODEL_PATHS = frozenset(
    (
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/responses",
        "/v1/messages",
        "/v1/rerank",
        "/v1/score",
        "/tokenize",
        "/detokenize",
    )
)
"""POST paths whose JSON body names a model."""

_V2 = re.compile(r"/v2/models/([^/]+)(?:/versions/[^/]+)?(?:/(ready|infer|config|stats|generate|generate_stream))?")
_V1 = re.compile(r"/v1/models/([^/]+):(predict|explain)")
_POSTED = frozenset(("infer", "generate", "generate_stream", "predict", "explain"))


class ModelPath(NamedTuple):
    """A path that names a model, and the methods it takes; the body is the engine's business alone."""

    model: str
    methods: tuple[str, ...]


def model_in_path(path: str) -> ModelPath | None:
    """The model that a path without query names, None for other paths.

    Protocols: Open Inference Protocol v2 (metadata, ready, infer; Triton's config, stats and generate), KServe V1.
    """
    match = _V2.fullmatch(path) or _V1.fullmatch(path)
    if match is None:
        return None
    name, action = match.groups()
    return ModelPath(unquote(name), ("POST",) if action in _POSTED else ("GET", "HEAD"))


class BadBody(ValueError):
    """The body does not tell where to route it. The message is for the client; `param` names the field at fault."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class ModelRequest(msgspec.Struct, frozen=True):
    """What routing knows of a body."""

    model: str


_decoder = msgspec.json.Decoder(ModelRequest)


def parse(body: bytes) -> ModelRequest:
    """Raises BadBody. Whatever else the engine may object to is left for it to say."""
    try:
        request = _decoder.decode(body)
    except msgspec.ValidationError as error:
        param = next(
            (n for n in ModelRequest.__struct_fields__ if f"`{n}`" in str(error) or f".{n}`" in str(error)), None
        )
        raise BadBody(f"The request body is not valid: {error}.", param) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadBody(f"The request body is not JSON: {error}.") from error
    if not request.model:
        raise BadBody("The request names no model: `model` is empty.", "model")
    return request

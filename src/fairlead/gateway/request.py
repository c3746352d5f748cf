"""Requests for models, read once: only the fields that routing needs are decoded."""

from __future__ import annotations

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

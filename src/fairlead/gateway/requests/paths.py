"""Which paths lead to models, which method each takes, and whose form its body has.

A path that is not named here is refused: engines serve management paths (adapters, sleep, weights) on the same port,
and a client of the gateway must not reach those.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote

from fairlead.gateway.requests.inference_request import Api

POST_PATHS: Mapping[str, Api] = {
    "/v1/chat/completions": Api.CHAT,
    "/v1/completions": Api.COMPLETIONS,
    "/v1/responses": Api.RESPONSES,
    "/v1/embeddings": Api.EMBEDDINGS,
    "/v1/messages": Api.ANTHROPIC,
    "/generate": Api.GENERATE,
    "/generate_stream": Api.GENERATE,
    "/inference/v1/generate": Api.GENERATE,
    "/tokenize": Api.TOKENS,
    "/detokenize": Api.TOKENS,
    "/v1/messages/count_tokens": Api.TOKENS,
    "/v1/chat/completions/render": Api.TOKENS,
    "/v1/completions/render": Api.TOKENS,
    "/v1/messages/render": Api.TOKENS,
    "/v1/responses/render": Api.TOKENS,
    "/cohere/v2/chat/render": Api.TOKENS,
    "/v1/chat/completions/derender": Api.TOKENS,
    "/v1/completions/derender": Api.TOKENS,
    "/v1/audio/transcriptions": Api.FORM,
    "/v1/audio/translations": Api.FORM,
    "/v1/images/edits": Api.FORM,
    "/v1/images/variations": Api.FORM,
    "/v1/audio/speech": Api.OTHER,
    "/v1/images/generations": Api.OTHER,
    "/v1/moderations": Api.OTHER,
    "/pooling": Api.OTHER,
    "/classify": Api.OTHER,
    "/v1/classify": Api.OTHER,
    "/score": Api.OTHER,
    "/v1/score": Api.OTHER,
    "/rerank": Api.OTHER,
    "/v1/rerank": Api.OTHER,
    "/v2/rerank": Api.OTHER,
    "/v2/embed": Api.OTHER,
    "/cohere/v2/chat": Api.OTHER,
    "/v1/chat/completions/batch": Api.OTHER,
    "/generative_scoring": Api.OTHER,
    "/v1/systemone": Api.OTHER,
    "/invocations": Api.OTHER,
}
"""Path -> form of its body, which names the model. All take POST alone."""

_V2 = re.compile(r"/v2/models/([^/]+)(?:/versions/[^/]+)?(?:/(ready|infer|config|stats|generate|generate_stream))?")
_V1 = re.compile(r"/v1/models/([^/]+):(predict|explain)")
_POSTED = frozenset(("infer", "generate", "generate_stream", "predict", "explain"))


class ModelPath(NamedTuple):
    """A path of a model, and the methods it takes."""

    model: str
    """Empty where the body names it."""
    methods: tuple[str, ...]
    api: Api = Api.PATH


_POST = {path: ModelPath("", ("POST",), api) for path, api in POST_PATHS.items()}


def find(path: str, more: Mapping[str, Api] | None = None) -> ModelPath | None:
    """The path of a model, None for every other one. `path` is without query; `more` are further POST paths."""
    found = _POST.get(path)
    if found is not None:
        return found
    if more and (api := more.get(path)) is not None:
        return ModelPath("", ("POST",), api)
    return model_in_path(path)


def model_in_path(path: str) -> ModelPath | None:
    """The model that a path without query names, None for other paths.

    Protocols: Open Inference Protocol v2 (metadata, ready, infer; Triton's config, stats and generate), KServe V1.
    """
    match = _V2.fullmatch(path) or _V1.fullmatch(path)
    if match is None:
        return None
    name, action = match.groups()
    return ModelPath(unquote(name), ("POST",) if action in _POSTED else ("GET", "HEAD"))

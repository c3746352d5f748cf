"""Requests for models, read once: which model, which prompt, how long, and nothing that routing does not need.
Bodies are changed by splicing bytes, so that what the client sent otherwise reaches the engine as it was."""

from fairlead.gateway.requests.edit import rewrite_model, set_fields, top_level
from fairlead.gateway.requests.inference_request import Api, InferenceRequest
from fairlead.gateway.requests.parse import BadBody, parse
from fairlead.gateway.requests.paths import POST_PATHS, ModelPath, find, model_in_path
from fairlead.gateway.requests.token_estimate import estimate_tokens

__all__ = [
    "POST_PATHS",
    "Api",
    "BadBody",
    "InferenceRequest",
    "ModelPath",
    "estimate_tokens",
    "find",
    "model_in_path",
    "parse",
    "rewrite_model",
    "set_fields",
    "top_level",
]

"""Requests for models, read once: which model, which prompt, how long, and nothing that routing does not need.
Bodies are changed by splicing bytes, so that what the client sent otherwise reaches the engine as it was."""

from fairlead.gateway.requests.control import DEFAULT_FLOW, BadHeader, Control, read_control, session_token
from fairlead.gateway.requests.edit import rewrite_model, set_fields, top_level, without_places
from fairlead.gateway.requests.inference_request import Api, InferenceRequest
from fairlead.gateway.requests.model_pages import (
    ANTHROPIC_VERSION_HEADER,
    ModelCard,
    anthropic_card,
    anthropic_list,
    cards,
    openai_card,
    openai_list,
)
from fairlead.gateway.requests.parse import HANDOFF_FIELDS, BadBody, parse
from fairlead.gateway.requests.paths import POST_PATHS, ModelPath, find, model_in_path
from fairlead.gateway.requests.token_estimate import estimate_tokens
from fairlead.gateway.requests.token_ratios import TokenRatios

__all__ = [
    "ANTHROPIC_VERSION_HEADER",
    "DEFAULT_FLOW",
    "HANDOFF_FIELDS",
    "POST_PATHS",
    "Api",
    "BadBody",
    "BadHeader",
    "Control",
    "InferenceRequest",
    "ModelCard",
    "ModelPath",
    "TokenRatios",
    "anthropic_card",
    "anthropic_list",
    "cards",
    "estimate_tokens",
    "find",
    "model_in_path",
    "openai_card",
    "openai_list",
    "parse",
    "read_control",
    "rewrite_model",
    "session_token",
    "set_fields",
    "top_level",
    "without_places",
]

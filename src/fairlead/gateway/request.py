"""The names of `fairlead.gateway.requests` under which the director knows them."""

from fairlead.gateway.requests import POST_PATHS, Api, BadBody, InferenceRequest, model_in_path
from fairlead.gateway.requests import parse as parse_as

MODEL_PATHS = frozenset(POST_PATHS)


def parse(body: bytes) -> InferenceRequest:
    """Raises BadBody."""
    return parse_as(Api.OTHER, body)


__all__ = ["MODEL_PATHS", "BadBody", "model_in_path", "parse"]

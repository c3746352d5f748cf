"""Which requests an engine can never serve."""

from __future__ import annotations

from fairlead.simulator.engine.request import Request
from fairlead.simulator.engine.settings import EngineSettings


class RequestTooLong(ValueError):
    """This engine can never serve the request; the message names the limit."""


def check_request(request: Request, settings: EngineSettings) -> None:
    """Raises RequestTooLong for a request that could never run."""
    drafts = settings.speculation.tokens if settings.speculation else 0
    tokens = request.prompt_tokens + request.output_tokens
    if request.prompt_tokens < 1 or request.output_tokens < 1:
        raise RequestTooLong(
            f"prompt_tokens is {request.prompt_tokens} and output_tokens {request.output_tokens}: both must be at "
            "least 1"
        )
    if tokens > settings.max_model_len:
        raise RequestTooLong(
            f"{request.prompt_tokens} prompt tokens and {request.output_tokens} output tokens exceed "
            f"max_model_len ({settings.max_model_len})"
        )
    if -(-(tokens - 1 + drafts) // settings.block_tokens) > settings.num_blocks:
        raise RequestTooLong(
            f"{tokens} tokens do not fit the KV cache of {settings.num_blocks} blocks of {settings.block_tokens}"
        )

"""A request for a model, read once: what decisions need of it and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Api(StrEnum):
    """Whose form a body has."""

    CHAT = "openai-chat"
    COMPLETIONS = "openai-completions"
    RESPONSES = "openai-responses"
    EMBEDDINGS = "openai-embeddings"
    ANTHROPIC = "anthropic-messages"
    OTHER = "other"
    """Any JSON body with `model`: rerank, score, tokenize, vLLM's own."""
    PATH = "path"
    """The path names the model; the body is not read."""


@dataclass(slots=True)
class InferenceRequest:
    """What is known of a request from its head and body."""

    api: Api
    model: str
    """As the client asked for it."""
    stream: bool = False
    prompt: bytes | memoryview = b""
    """Raw bytes of what the engine will make the prompt of, in its order; equal beginnings mean equal prefixes."""
    token_ids: tuple[int, ...] | None = None
    """The prompt as tokens, where the client sent tokens or they were computed; None = unknown."""
    prompt_tokens: int = 0
    """Exact when `token_ids` is there, estimated otherwise."""
    max_output_tokens: int | None = None
    """None = the client sets no limit."""
    choices: int = 1
    """`n`."""
    salt: str = ""
    """`cache_salt`: prefixes are shared only among equal ones."""
    session: str = ""
    """Identity of the conversation that the body names (`previous_response_id`, `prompt_cache_key`, `user` …)."""

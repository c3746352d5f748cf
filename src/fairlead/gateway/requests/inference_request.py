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
    GENERATE = "generate"
    """An engine's own generate path, whose body may leave the model out."""
    TOKENS = "tokens"
    """Text is turned into tokens or counted; no prompt is computed."""
    FORM = "multipart-form"
    """A form with files (audio, pictures) and a field `model`."""
    OTHER = "other"
    """Any other JSON body with `model`: rerank, score, pooling, vLLM's own."""
    PATH = "path"
    """The path names the model; the body is not read."""


@dataclass(slots=True)
class InferenceRequest:
    """What is known of a request from its head and body."""

    api: Api
    model: str
    """As the client asked for it; empty where the API allows a body without it."""
    stream: bool = False
    prompt: bytes | memoryview = b""
    """Raw bytes of what the engine will make the prompt of, in its order; equal beginnings mean equal prefixes."""
    token_ids: tuple[int, ...] | None = None
    """The prompt as tokens, where the client sent tokens or they were computed; None = unknown."""
    prompt_tokens: int = 0
    """Exact when `token_ids` is there, estimated otherwise; of all prompts where there are several."""
    max_output_tokens: int | None = None
    """None = the client sets no limit."""
    choices: int = 1
    """Answers: `n` for each prompt."""
    salt: str = ""
    """`cache_salt`: prefixes are shared only among equal ones."""
    session: str = ""
    """Identity of the conversation that the body names (`previous_response_id`, `prompt_cache_key`, `user` …)."""
    media: int = 0
    """Pictures, recordings and other files among the prompt's parts."""
    names_places: bool = False
    """The body tells engines where to fetch a KV cache (`HANDOFF_FIELDS`), which is for the gateway to say: a client's
    place is taken out, see `without_places`."""

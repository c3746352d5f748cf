"""Who is asked: address, API, credentials, and whose tokens are counted."""

from __future__ import annotations

from typing import Any, Literal

from fairlead.bench.config.part import Count, Part, Positive

Api = Literal[
    "chat", "completions", "responses", "embeddings", "messages", "open-inference", "triton-generate", "raw"
]  # fmt: skip
"""OpenAI's chat completions, completions, responses and embeddings; Anthropic's messages; KServe's Open Inference
Protocol (v2) over REST; Triton's generate; a template of one's own."""


class Tls(Part, frozen=True):
    """How the server's certificate is checked and what is shown to it."""

    ca_file: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None
    insecure: bool = False


class Tokenizer(Part, frozen=True):
    """Whose tokens prompts are made of and answers are counted in. `source`: a folder or `tokenizer.json`, a name of
    the Hugging Face hub, or None for an estimate by characters, which every report then says it is."""

    source: str | None = None
    characters_per_token: Positive = 4.0


class RawRequest(Part, frozen=True):
    """A request of one's own: `body` is a template in which `${prompt}`, `${model}` and `${output_tokens}` are replaced
    (as JSON strings without their quotes, as numbers). Where the answer's text, and the counts of tokens, are found:
    JSON pointers (RFC 6901) into each event or the whole answer."""

    method: Literal["POST", "PUT", "GET"] = "POST"
    body: str = ""
    text: str = ""
    prompt_tokens: str = ""
    output_tokens: str = ""


class Target(Part, frozen=True):
    """One endpoint. `weight` is its share of the requests where there are several."""

    url: str
    model: str = ""
    api: Api = "chat"
    name: str = ""
    weight: Positive = 1.0
    path: str | None = None
    stream: bool = True
    headers: dict[str, str] = {}
    key_env: str | None = None
    key_file: str | None = None
    tls: Tls = Tls()
    tokenizer: Tokenizer = Tokenizer()
    parameters: dict[str, Any] = {}
    force_length: bool = True
    timeout_s: Positive = 600.0
    connect_timeout_s: Positive = 10.0
    idle_timeout_s: Positive = 120.0
    max_connections: Count = 65_536
    raw: RawRequest | None = None

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
    server_name: str | None = None
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


Values = Literal["text", "token_ids", "numbers", "ones", "zeros"]


class Tensor(Part, frozen=True):
    """An input of a model behind the Open Inference Protocol. A dimension of -1 is as long as the prompt has tokens;
    `text` is the prompt, `token_ids` and `numbers` are drawn evenly from `low` to `high`."""

    name: str
    datatype: str
    shape: tuple[int, ...] = (1,)
    values: Values = "numbers"
    low: float = 0.0
    high: float = 1.0


class Target(Part, frozen=True):
    """One endpoint. `weight` is its share of the requests where there are several.

    `url` may be the server's, an SDK's base URL (`…/v1`) or the whole address; `path` is put in place of all of it but
    the host. The key is sent as a bearer token (and as `x-api-key` to messages), or alone in `key_header`; in values of
    `headers` `${NAME}` is taken from the environment. `parameters` go into every body, over what is written there.

    What is left open is settled by what the server is (`targets/preflight.py`): `length_field`, whether
    `force_length` can be kept, `continuous_usage` (the server's count in every event of a stream: None where an event
    has several tokens). `tensors` None: as the model's metadata says.
    """

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
    key_header: str | None = None
    tls: Tls = Tls()
    tokenizer: Tokenizer = Tokenizer()
    parameters: dict[str, Any] = {}
    force_length: bool = True
    length_field: Literal["max_tokens", "max_completion_tokens"] | None = None
    continuous_usage: bool | None = None
    tensors: tuple[Tensor, ...] | None = None
    timeout_s: Positive = 600.0
    connect_timeout_s: Positive = 10.0
    idle_timeout_s: Positive = 120.0
    max_connections: Count = 65_536
    raw: RawRequest | None = None

"""From prefill to decode: how a request for one engine becomes two, as pure functions over OpenAI request bodies.

Two shapes exist. In the first (vLLM, TensorRT-LLM) prefill answers with the place of its KV blocks, which the decode
request carries; the decode engine fetches them. In the second (SGLang) both engines get the request at the same time
with a room to meet in (`concurrent`), and nothing is taken from prefill's answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

Body = Mapping[str, Any]


class HandoffError(ValueError):
    """Prefill's answer does not say where its KV blocks are."""


@dataclass(frozen=True, slots=True)
class Meeting:
    """What both requests may have to agree on beforehand."""

    prefill_host: str
    """Address of the prefill engine without a port."""
    prefill_port: int | None = None
    """Where its transfer server listens; None is the runtime's default."""
    room: int = 0
    """A number that no other request under way has, from 0 to 2**63 - 1; whoever sends the requests draws it."""


class Handoff(Protocol):
    """One runtime's way of splitting a request."""

    concurrent: bool
    """Whether decode is asked at the same time as prefill, without waiting for its answer."""

    def prefill_request(self, body: Body, meeting: Meeting) -> Body:
        """The request for the prefill engine; its answer is not streamed."""
        ...

    def take(self, answer: Body) -> Body:
        """What the decode request needs of prefill's answer. Raises HandoffError."""
        ...

    def decode_request(self, body: Body, taken: Body, meeting: Meeting) -> Body:
        """The request for the decode engine, whose answer is the client's."""
        ...


def one_token(body: Body) -> dict[str, Any]:
    """The body with all that prefill is to leave out: streaming, and every token after the first."""
    left_out = ("stream", "stream_options", "min_tokens", "max_completion_tokens")
    request = {key: value for key, value in body.items() if key not in left_out}
    request["stream"] = False
    request["max_tokens"] = 1
    if "max_completion_tokens" in body:
        request["max_completion_tokens"] = 1
    return request

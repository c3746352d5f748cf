"""What passes between the transports, which know Envoy, and the director, which does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from fairlead.gateway.errors import Reply
from fairlead.gateway.pick import Pick
from fairlead.gateway.requests.paths import ModelPath


@dataclass(slots=True)
class RequestHead:
    """A request before its body."""

    method: str
    target: str
    """Path with query."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Lower-case name -> value, of the headers that a decision reads (`protocol.CONTROL_HEADERS`)."""
    subset: tuple[str, ...] | None = None
    """Addresses a foreign gateway restricts the request to; None = no restriction, empty = none fits."""
    received_s: float = 0.0
    """Monotonic time."""
    ends: bool = False
    """No body follows, by the word of the gateway; False also where it does not say."""
    path: ModelPath | None = None
    """What the target leads to, once that was looked up."""


@dataclass(frozen=True, slots=True)
class Route:
    """Where a request goes, and what changes of it on the way."""

    pool: str
    model: str
    """As the client asked for it."""
    pick: Pick
    pick_id: str
    """Under which the request is counted until a `Completion` with the same id."""
    body: bytes | None = None
    """The body to send in place of the client's; None = unchanged."""
    headers: tuple[tuple[str, str], ...] = ()
    """Further request headers to set."""
    scores: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Address of a candidate -> its score; empty = not to be told."""
    answer_headers: tuple[tuple[str, str], ...] = ()
    """Headers to set on the endpoint's answer."""


@dataclass(frozen=True, slots=True)
class Completion:
    """The end of a routed request, as the data plane saw it. Times in seconds since the request's first byte."""

    pick_id: str
    code: int
    """HTTP status; 0 = the client got none."""
    duration_s: float
    first_byte_s: float | None = None
    """First byte of the answer's body where the data plane knows it, of its headers otherwise."""
    last_byte_s: float | None = None
    attempts: int = 1
    served: str = ""
    """ip:port that answered; empty = none did."""
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    stream_events: int | None = None
    """Events of a streamed answer, about one for each output token and two or three more; None = it was no stream."""
    connect_failed: bool = False
    """The first endpoint did not take the connection."""
    died: bool = False
    """The endpoint ended the connection before the answer was whole."""
    client_left: bool = False


Outcome = Route | Reply


class Held(Protocol):
    """A request that waits for its decision."""

    def abandon(self) -> None:
        """The client has gone; the decision will not be called."""
        ...


class Directing(Protocol):
    """The director as a transport sees it."""

    def decide_on_headers(self, head: RequestHead) -> Outcome | None:
        """What the head alone decides; None when the body has to be read."""
        ...

    def route(self, head: RequestHead, body: bytes, decided: Callable[[Outcome], None]) -> Held | None:
        """Decide on a request with its whole body. `decided` is called once: before this returns (then None is
        returned), or later."""
        ...

    def completed(self, completion: Completion) -> None:
        """A routed request is over."""
        ...

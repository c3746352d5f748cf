"""The seam between gRPC servers and the services on them: one object for each call on either side.

Services get and give whole serialized messages; framing, flow control and HTTP/2 belong to the server.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

Metadata = Mapping[str, str]
"""Lower-case name -> value of the call's request headers."""


class Stream(Protocol):
    """The server's side of a call. After the end of a call every method does nothing."""

    def send(self, messages: Sequence[bytes], *, end: bool = False) -> None:
        """Send messages in order; with `end` the call is then over with status OK. Never blocks: what the peer's
        window does not admit is kept and follows."""
        ...

    def fail(self, code: int, message: str) -> None:
        """End the call with a gRPC status other than OK."""
        ...


class Call(Protocol):
    """The service's side of a call."""

    def message(self, data: bytes) -> None:
        """One whole message from the client."""
        ...

    def half_closed(self) -> None:
        """The client will send no more."""
        ...

    def closed(self) -> None:
        """The call was ended by the client or the connection before the service ended it."""
        ...


Services = Mapping[str, Callable[[Stream, Metadata], Call]]
"""`/package.Service/Method` -> maker of calls. Any other path is answered UNIMPLEMENTED."""

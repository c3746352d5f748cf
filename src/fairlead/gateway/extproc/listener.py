"""What differs between the gateways that ask, and what their sessions share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

MAX_BODY_BYTES = 64 * 1024 * 1024

SMALL_BODY_BYTES = 64 * 1024
_SMALL_SHARE_SHIFT = 3

READING_TIMEOUT_S = 300.0
"""How long a request's body may take to arrive; Fairlead's own Envoy waits as long."""


class BodyMode(IntEnum):
    """How a gateway sends bodies; the numbers are those of ProcessingMode.BodySendMode."""

    NONE = 0
    STREAMED = 1
    BUFFERED = 2
    BUFFERED_PARTIAL = 3
    FULL_DUPLEX_STREAMED = 4

    @classmethod
    def of(cls, number: int, otherwise: BodyMode) -> BodyMode:
        """The mode with a number, or another where this one is not known."""
        return _MODES.get(number, otherwise)


_MODES = {mode.value: mode for mode in BodyMode}


@dataclass(frozen=True, slots=True)
class Listener:
    """How sessions of one listening address behave."""

    foreign: bool = False
    """A gateway that is not Fairlead's own Envoy: fallbacks are a list in the one header, subset hints are read."""
    observes: bool = False
    """Sessions go on through the answer, to learn of its end; otherwise the access log tells of it."""
    fallbacks: int = 2
    """Endpoints named after the first. More than 0 needs, of a foreign gateway, one that takes lists: the policy
    `override_host` does, ORIGINAL_DST does not."""
    scores: bool = False
    """Say in the dynamic metadata how each candidate scored."""
    conformance: bool = False
    """Obey `test-epp-endpoint-selection` and tell who served, as the conformance tests expect. Never in production:
    clients choose their endpoint."""
    assumed_body_mode: BodyMode = BodyMode.FULL_DUPLEX_STREAMED
    """Of gateways that do not say how they send bodies."""
    max_body_bytes: int = MAX_BODY_BYTES


OWN = Listener()
FOREIGN = Listener(foreign=True, observes=True, fallbacks=0)


class Reader(Protocol):
    """A session that is reading a body."""

    def timed_out(self) -> None: ...


@dataclass(slots=True)
class BodyMemory:
    """Memory for bodies that are not whole yet, over all sessions, and who has been reading since when."""

    limit_bytes: int = 1024 * 1024 * 1024
    used_bytes: int = 0
    _readers: dict[Reader, float] = field(default_factory=dict)
    """session -> monotonic time its request began; oldest first."""

    def begin(self, reader: Reader, now_s: float) -> None:
        self._readers[reader] = now_s

    def take(self, size: int, before: int = 0) -> bool:
        """Whether there is room for `size` more of a body that has `before` already; if so it is taken.

        A share is kept for small bodies, so that a few large ones that never end do not shut everybody out.
        """
        limit_bytes = self.limit_bytes
        if before + size > SMALL_BODY_BYTES:
            limit_bytes -= limit_bytes >> _SMALL_SHARE_SHIFT
        if self.used_bytes + size > limit_bytes:
            return False
        self.used_bytes += size
        return True

    def whole(self, reader: Reader) -> None:
        """The body is there; it keeps its memory while the request waits for its decision."""
        self._readers.pop(reader, None)

    def end(self, reader: Reader, size: int) -> None:
        """Give back what a session took."""
        self.used_bytes -= size
        self._readers.pop(reader, None)

    def expire(self, now_s: float) -> int:
        """End the sessions whose body has taken too long; returns how many there were."""
        late = list(_until(self._readers.items(), now_s - READING_TIMEOUT_S))
        for reader in late:
            reader.timed_out()
        return len(late)


def _until(readers: Iterable[tuple[Reader, float]], limit_s: float) -> Iterable[Reader]:
    for reader, began_s in readers:
        if began_s > limit_s:
            return
        yield reader

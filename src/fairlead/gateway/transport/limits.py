"""What a peer may use of this server: sizes, rates and times, and the account of bytes that are held for peers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one server. The defaults suit a picker behind Envoy: many short streams, bodies of some megabytes."""

    max_connections: int = 4096
    max_concurrent_streams: int = 20_000
    """Of one connection; further streams are refused, which a client may retry."""
    max_message_bytes: int = 72 * 1024 * 1024
    """Of one gRPC message. A larger one ends its call with RESOURCE_EXHAUSTED."""
    max_held_bytes: int = 1024 * 1024 * 1024
    """Of all connections together: parts of incomplete messages and answers not yet sent."""
    max_held_bytes_per_connection: int = 256 * 1024 * 1024
    max_header_list_bytes: int = 32 * 1024
    """Of one request, counted as RFC 9113 6.5.2 does."""
    max_frame_bytes: int = 64 * 1024
    stream_window_bytes: int = 1024 * 1024
    connection_window_bytes: int = 16 * 1024 * 1024
    max_unsent_bytes: int = 256 * 1024
    """Of one stream: while more of its answers wait for the peer, it gets no further credit to send."""
    write_buffer_bytes: int = 1024 * 1024
    """Of one connection: while more than this waits for the socket, no more is written and nothing is read."""
    handshake_s: float = 10.0
    """From the connection to the client's first SETTINGS."""
    keepalive_s: float = 60.0
    """Silence after which the peer is asked with a PING whether it is there."""
    keepalive_timeout_s: float = 20.0
    control_frames_burst: int = 10_000
    """Frames that ask for work and bring none (PING, SETTINGS, PRIORITY, empty DATA, frames of unknown types and of
    closed streams): so many at once and, in the long run, so many a second as the next field says."""
    control_frames_per_s: float = 1000.0
    resets_burst: int = 20_000
    """Streams that the client resets before they are answered."""
    resets_per_s: float = 2000.0

    def __post_init__(self) -> None:
        if not 16_384 <= self.max_frame_bytes <= 16_777_215:
            raise ValueError(f"max_frame_bytes is {self.max_frame_bytes}; HTTP/2 wants 16384 to 16777215")
        for name in ("stream_window_bytes", "connection_window_bytes"):
            value = getattr(self, name)
            if not 65_535 <= value <= 0x7FFF_FFFF:
                raise ValueError(f"{name} is {value}; give 65535 to 2147483647 bytes")


class HeldBytes:
    """The account of memory that a peer makes the server hold; its `whole` is that of all peers, with a limit of its
    own, so that one peer cannot use up what all of them need."""

    __slots__ = ("_whole", "held", "limit")

    def __init__(self, limit: int, whole: HeldBytes | None = None) -> None:
        self.limit = limit
        self.held = 0
        self._whole = whole

    def take(self, size: int) -> bool:
        """Enter `size` bytes; False, and nothing entered, when they are too many."""
        if self.held + size > self.limit or (self._whole is not None and not self._whole.take(size)):
            return False
        self.held += size
        return True

    def give(self, size: int) -> None:
        """The bytes are no longer held."""
        self.held -= size
        if self._whole is not None:
            self._whole.give(size)


class RateLimit:
    """A token bucket: `burst` at once, `per_s` in the long run."""

    __slots__ = ("_at_s", "_burst", "_left", "_per_s")

    def __init__(self, burst: float, per_s: float, now_s: float) -> None:
        self._burst = burst
        self._per_s = per_s
        self._left = burst
        self._at_s = now_s

    def admits(self, now_s: float, cost: float = 1.0) -> bool:
        """Take `cost`; False when less is left."""
        self._left -= cost
        if self._left >= 0:
            return True
        self._left = min(self._burst, self._left + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        return self._left >= 0

"""Flow control of HTTP/2 in both directions (RFC 9113 section 5.2 and 6.9).

Receiving: credit is given back in bulk, when half a window is used up. Sending: what the windows of stream and
connection do not admit waits in the stream's queue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence


class ReceiveWindow:
    """What the peer may still send, and what was received since credit was last given."""

    __slots__ = ("half", "left", "owed")

    def __init__(self, size: int) -> None:
        self.left = size
        self.owed = 0
        self.half = size // 2
        """Credit is due when more than this is owed."""

    def take(self, size: int) -> bool:
        """`size` bytes arrived; False when the peer had no leave to send them."""
        self.left -= size
        self.owed += size
        return self.left >= 0

    def credit(self) -> int:
        """All that is owed, which the caller grants the peer now."""
        size = self.owed
        self.left += size
        self.owed = 0
        return size


class SendQueue:
    """Bytes of one stream in order, taken in pieces that fit frames and windows. Large chunks are not copied."""

    __slots__ = ("_chunks", "size")

    def __init__(self) -> None:
        self._chunks: deque[bytes | memoryview] | None = None
        """None until something has to wait: most streams never need the 760 bytes of an empty deque."""
        self.size = 0

    def push(self, chunk: bytes) -> None:
        if not chunk:
            return
        if self._chunks is None:
            self._chunks = deque()
        self._chunks.append(chunk)
        self.size += len(chunk)

    def take(self, size: int) -> Sequence[bytes | memoryview]:
        """The first `size` bytes (`size` is at most what is queued)."""
        chunks = self._chunks
        pieces: list[bytes | memoryview] = []
        if chunks is None:
            return pieces
        self.size -= size
        while size:
            chunk = chunks[0]
            length = len(chunk)
            if length <= size:
                pieces.append(chunks.popleft())
                size -= length
            else:
                view = memoryview(chunk)
                pieces.append(view[:size])
                chunks[0] = view[size:]
                size = 0
        return pieces

    def clear(self) -> int:
        """Drop everything; how much it was."""
        size = self.size
        self._chunks = None
        self.size = 0
        return size

"""Server-sent events out of a stream of bytes (the WHATWG's event stream format): the data of each, in order.

The common case, one or more whole events that each are one line of data, takes no copy but the data's own.
"""

from __future__ import annotations

LARGEST_EVENT = 4 * 2**20
LONG = 64 * 2**10
"""Of an unfinished event: from here on its pieces are kept apart."""
BOM = b"\xef\xbb\xbf"


class TooLong(ValueError):
    """An event does not end."""


class Events:
    """Feeds bytes, gives the data of each event that is complete."""

    __slots__ = ("_more", "_more_bytes", "_rest")

    def __init__(self) -> None:
        self._rest = b""
        self._more: list[bytes] = []  # goes on behind `_rest`, and ends no line
        self._more_bytes = 0

    @property
    def pending(self) -> bool:
        """Whether bytes of an unfinished event are there."""
        return bool(self._rest.strip())

    def feed(self, data: bytes) -> list[bytes]:
        """Raises TooLong."""
        if self._rest:
            if len(self._rest) > LONG and b"\n" not in data and b"\r" not in data:
                # Put together once: done for each piece, a long event would hold up all others.
                self._more.append(data)
                self._more_bytes += len(data)
                self._check(len(self._rest) + self._more_bytes)
                return []
            data = b"".join((self._rest, *self._more, data))
            if self._more:
                self._more.clear()
                self._more_bytes = 0
        half = b""
        if b"\r" in data:
            if data.endswith(b"\r"):  # may be half of a CR LF
                data, half = data[:-1], b"\r"
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        blocks = data.split(b"\n\n")
        self._rest = blocks.pop() + half
        self._check(len(self._rest))
        found = []
        for block in blocks:
            block = block.lstrip(b"\n")
            if block.startswith(b"data: ") and b"\n" not in block:
                found.append(block[6:])
            elif (several := _data_of(block)) is not None:
                found.append(several)
        return found

    def _check(self, size: int) -> None:
        if size > LARGEST_EVENT:
            raise TooLong(f"an event of more than {LARGEST_EVENT:,} bytes")


def _data_of(block: bytes) -> bytes | None:
    """The data lines of one event, joined; None where it has none (a comment, a bare name)."""
    lines = []
    for line in block.split(b"\n"):
        name, _, value = line.partition(b":")
        if name == b"data" or name == BOM + b"data":  # a BOM may stand in front of the stream
            lines.append(value.removeprefix(b" "))
    return b"\n".join(lines) if lines else None

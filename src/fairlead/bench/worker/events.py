"""Server-sent events out of a stream of bytes (the WHATWG's event stream format): the data of each, in order.

The common case, one or more whole events that each are one line of data, takes no copy but the data's own.
"""

from __future__ import annotations

LARGEST_EVENT = 4 * 2**20
BOM = b"\xef\xbb\xbf"


class TooLong(ValueError):
    """An event does not end."""


class Events:
    """Feeds bytes, gives the data of each event that is complete."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    @property
    def pending(self) -> bool:
        """Whether bytes of an unfinished event are there."""
        return bool(self._rest.strip())

    def feed(self, data: bytes) -> list[bytes]:
        """Raises TooLong."""
        if self._rest:
            data = self._rest + data
        half = b""
        if b"\r" in data:
            if data.endswith(b"\r"):  # may be half of a CR LF
                data, half = data[:-1], b"\r"
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        blocks = data.split(b"\n\n")
        self._rest = blocks.pop() + half
        if len(self._rest) > LARGEST_EVENT:
            raise TooLong(f"an event of more than {LARGEST_EVENT:,} bytes")
        found = []
        for block in blocks:
            block = block.lstrip(b"\n")
            if block.startswith(b"data: ") and b"\n" not in block:
                found.append(block[6:])
            elif (several := _data_of(block)) is not None:
                found.append(several)
        return found


def _data_of(block: bytes) -> bytes | None:
    """The data lines of one event, joined; None where it has none (a comment, a bare name)."""
    lines = []
    for line in block.split(b"\n"):
        name, _, value = line.partition(b":")
        if name == b"data" or name == BOM + b"data":  # a BOM may stand in front of the stream
            lines.append(value.removeprefix(b" "))
    return b"\n".join(lines) if lines else None

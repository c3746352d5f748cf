"""What a coordinator's pod says in its log, a JSON object a line: how it goes, and at the end all figures. Pure.

A summary is sent compressed and in parts, as log lines are cut by what carries them (16 KiB in the CRI).
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Iterator

import msgspec

from fairlead.bench.run.live import Progress
from fairlead.bench.summary import RunSummary

PART_BYTES = 6000
MOST_PARTS = 10_000
MOST_BYTES = 256 * 2**20


class Said(msgspec.Struct, frozen=True, tag_field="say", tag="said"):
    """Words for people."""

    text: str


class Look(msgspec.Struct, frozen=True, tag_field="say", tag="look"):
    """How the run goes."""

    progress: Progress


class Part(msgspec.Struct, frozen=True, tag_field="say", tag="summary"):
    """One of `count` parts of the summary: base64 of a piece of zlib-compressed JSON."""

    number: int
    count: int
    data: str


Line = Said | Look | Part
_decoder = msgspec.json.Decoder(Line)


def write(line: Line) -> str:
    return msgspec.json.encode(line).decode()


def read(text: str) -> Line | None:
    """None for what is no line of ours, or cut short."""
    try:
        line: Line = _decoder.decode(text)
        return line
    except (msgspec.ValidationError, msgspec.DecodeError):
        return None


def parts(summary: RunSummary) -> Iterator[Part]:
    """The lines of a summary."""
    data = zlib.compress(msgspec.json.encode(summary), 9)
    pieces = [data[at : at + PART_BYTES] for at in range(0, len(data), PART_BYTES)]
    for number, piece in enumerate(pieces):
        yield Part(number, len(pieces), base64.b64encode(piece).decode())


class Assembly:
    """Parts put together, in whatever order and however often they come."""

    def __init__(self) -> None:
        self._parts: dict[int, bytes] = {}
        self._count = 0

    def add(self, part: Part) -> None:
        """Parts that cannot be are passed over."""
        if not 0 <= part.number < part.count <= MOST_PARTS:
            return
        if part.count != self._count:
            self._parts, self._count = {}, part.count
        try:
            self._parts[part.number] = base64.b64decode(part.data, validate=True)
        except (binascii.Error, ValueError):
            return

    def summary(self) -> RunSummary | None:
        """None until all are there. Raises ValueError for what is no summary."""
        if not self._count or len(self._parts) < self._count:
            return None
        try:
            unpacking = zlib.decompressobj()
            data = unpacking.decompress(b"".join(self._parts[n] for n in range(self._count)), MOST_BYTES)
            return msgspec.json.decode(data, type=RunSummary)
        except (zlib.error, msgspec.DecodeError, msgspec.ValidationError) as error:
            raise ValueError(f"the summary in the log is damaged: {error}") from error

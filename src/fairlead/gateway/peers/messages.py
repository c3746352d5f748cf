"""What pickers say to each other, and the frames it is said in.

A frame is four bytes of length (big-endian) and one message in msgpack: an array that begins with the message's tag.
Each side begins with `Hello`. The one that was called then tells its loads and prompts; the caller hands over
completions of the other's picks and may ask for the prefix index.

Loads are absolute values, so that a message that is lost or skipped is made good by the next that names the address, at
the latest by the next whole report. Prompts that are lost cost a cache hit now and then.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from fairlead.gateway.route import Completion

VERSION: Final = 1
"""Pickers of different versions do not talk; they count what the engines report of each other."""

MAX_FRAME_BYTES: Final = 8 * 1024 * 1024
SNAPSHOT_PART_BYTES: Final = 256 * 1024


class Hello(msgspec.Struct, array_like=True, frozen=True, tag="hello"):
    """Who speaks."""

    version: int
    group: str
    """Name of the gateway: pickers of another one that are found by mistake are left alone."""
    replica: str


class Loads(msgspec.Struct, array_like=True, frozen=True, tag="loads"):
    """What the speaker has in flight. `whole`: at any address that is not named it has nothing."""

    whole: bool
    loads: list[tuple[str, int, int, float]]
    """Address and the fields of `PeerLoad`."""


class Prompts(msgspec.Struct, array_like=True, frozen=True, tag="prompts"):
    """Prompts that the speaker has sent to endpoints, in that order."""

    prompts: list[tuple[str, float, int, bytes]]
    """Address, tokens of a block, space, hashes (little-endian, eight bytes each): see `PromptBlocks`."""


class Beat(msgspec.Struct, array_like=True, frozen=True, tag="beat"):
    """Nothing is new."""


class Ended(msgspec.Struct, array_like=True, frozen=True, tag="ended"):
    """Requests that the listener has picked endpoints for are over; their ends were reported to the speaker."""

    completions: list[Completion]


class WantSnapshot(msgspec.Struct, array_like=True, frozen=True, tag="want"):
    """The speaker has an empty prefix index."""


class SnapshotPart(msgspec.Struct, array_like=True, frozen=True, tag="part"):
    """A piece of the prefix index (`fairlead.gateway.prefix.snapshot`)."""

    data: bytes
    is_last: bool


Message = Hello | Loads | Prompts | Beat | Ended | WantSnapshot | SnapshotPart

_ENCODER = msgspec.msgpack.Encoder()
_DECODER: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


class ProtocolError(ValueError):
    """A peer says what no peer would say."""


def frame(message: Message) -> bytes:
    """The message as it goes over the wire."""
    body = _ENCODER.encode(message)
    return len(body).to_bytes(4, "big") + body


async def read_message(reader: asyncio.StreamReader) -> Message:
    """The next message. Raises ProtocolError, and what the reader raises (asyncio.IncompleteReadError, OSError)."""
    size = int.from_bytes(await reader.readexactly(4), "big")
    if not 0 < size <= MAX_FRAME_BYTES:
        raise ProtocolError(f"a frame of {size} bytes; at most {MAX_FRAME_BYTES} are read")
    try:
        return _DECODER.decode(await reader.readexactly(size))
    except msgspec.DecodeError as error:
        raise ProtocolError(f"not a message of version {VERSION}: {error}") from None

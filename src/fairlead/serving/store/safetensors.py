"""Safetensors, read from anywhere by ranges: the header alone, single tensors, or all of them in the order of the file
without the whole file ever being on disk.

Format: eight bytes, little-endian, the length of the header; the header, a JSON object of name -> dtype, shape and
data_offsets (relative to the end of the header), and `__metadata__`; then the bytes of all tensors, without gaps.
Source: the format's description at huggingface/safetensors. What a hostile file could claim is checked before anything
is read by it.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import msgspec

from fairlead.serving.store.sources.errors import Unsafe
from fairlead.serving.store.sources.listing import Source, SourceFile

MAX_HEADER_BYTES = 100_000_000
"""As the reference implementation bounds it."""
DTYPE_BITS: Mapping[str, int] = {
    "BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "C64": 64, "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip
_LENGTH_BYTES = 8
_FIRST_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Tensor:
    """`start` and `end` are offsets in the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.start

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Header:
    """`tensors` in the order of the file."""

    tensors: tuple[Tensor, ...]
    metadata: Mapping[str, str]

    @property
    def weights_bytes(self) -> int:
        return sum(tensor.size for tensor in self.tensors)


class _Entry(msgspec.Struct):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


async def read_header(source: Source, file: SourceFile) -> Header:
    """Reads the beginning of the file and no more. Raises Unsafe, SourceError."""
    end = _FIRST_READ_BYTES if file.size is None else min(_FIRST_READ_BYTES, file.size)
    head = await _read(source, file, 0, end)
    if len(head) < _LENGTH_BYTES:
        raise Unsafe(f"{file.name} is no safetensors file: it has {len(head)} bytes")
    length = int.from_bytes(head[:_LENGTH_BYTES], "little")
    if length > MAX_HEADER_BYTES or (file.size is not None and length > file.size - _LENGTH_BYTES):
        raise Unsafe(f"{file.name} is no safetensors file: its header would take {length} bytes")
    if len(head) < _LENGTH_BYTES + length:
        head += await _read(source, file, len(head), _LENGTH_BYTES + length)
    return parse_header(head[_LENGTH_BYTES : _LENGTH_BYTES + length], file.name, file.size)


async def read_tensors(
    source: Source, file: SourceFile, header: Header | None = None
) -> AsyncIterator[tuple[Tensor, AsyncIterator[bytes]]]:
    """Each tensor with its bytes, in the order of the file, over one stream.

    The bytes of a tensor have to be taken before the next one is asked for; those that are not, are passed over.
    Raises Unsafe, SourceError.
    """
    header = header or await read_header(source, file)
    if not header.tensors:
        return
    begin, end = header.tensors[0].start, header.tensors[-1].end
    stream = _Stream(source.read(file, begin, end))
    for tensor in header.tensors:
        left = [tensor.size]
        yield tensor, _taken(stream, left)
        async for _ in _taken(stream, left):
            pass


def parse_header(text: bytes, name: str, file_bytes: int | None) -> Header:
    """The header's tensors, in the order of the file. Pure. Raises Unsafe.

    Offsets must be those of the shapes, follow each other without gaps or overlaps, and end where the file ends.
    """
    try:
        raw = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        metadata = msgspec.json.decode(raw.pop("__metadata__", msgspec.Raw(b"{}")), type=dict[str, str])
        entries = {key: msgspec.json.decode(value, type=_Entry) for key, value in raw.items()}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unsafe(f"{name}: the header cannot be read: {error}") from error
    base, position = _LENGTH_BYTES + len(text), 0
    tensors = []
    for key, entry in sorted(entries.items(), key=lambda item: item[1].data_offsets):
        start, end = entry.data_offsets
        if start != position or end < start:
            raise Unsafe(
                f"{name}: tensor {key!r} takes bytes {start} to {end}, and {position} is where it has to begin"
            )
        if end - start != _size(key, entry, name):
            raise Unsafe(f"{name}: tensor {key!r} of {entry.dtype} {list(entry.shape)} takes {end - start} bytes")
        tensors.append(Tensor(key, entry.dtype, entry.shape, base + start, base + end))
        position = end
    if file_bytes is not None and base + position != file_bytes:
        raise Unsafe(f"{name}: the tensors end at byte {base + position}, the file at {file_bytes}")
    return Header(tuple(tensors), metadata)


def _size(key: str, entry: _Entry, name: str) -> int:
    bits = DTYPE_BITS.get(entry.dtype)
    if bits is None:
        raise Unsafe(f"{name}: tensor {key!r} has the unknown type {entry.dtype!r}")
    if any(size < 0 for size in entry.shape) or len(entry.shape) > 64:
        raise Unsafe(f"{name}: tensor {key!r} has the shape {list(entry.shape)}")
    whole = bits * math.prod(entry.shape)
    if whole % 8:
        raise Unsafe(f"{name}: tensor {key!r} of {entry.dtype} {list(entry.shape)} takes no whole bytes")
    return whole // 8


class _Stream:
    """Bytes of an iterator in portions of any size."""

    def __init__(self, parts: AsyncIterator[bytes]) -> None:
        self._parts, self._rest = parts, b""

    async def take(self, most: int) -> bytes:
        """At least one byte, at most so many; none at the end."""
        if not self._rest:
            self._rest = await anext(self._parts, b"")
        taken, self._rest = self._rest[:most], self._rest[most:]
        return taken


async def _taken(stream: _Stream, left: list[int]) -> AsyncIterator[bytes]:
    while left[0]:
        data = await stream.take(left[0])
        if not data:
            raise Unsafe("the file ends inside a tensor")
        left[0] -= len(data)
        yield data


async def _read(source: Source, file: SourceFile, start: int, end: int) -> bytes:
    return b"".join([data async for data in source.read(file, start, end)])

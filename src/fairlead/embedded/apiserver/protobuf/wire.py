"""Protobuf's wire format: from bytes to numbered fields, with the errors of Go's generated decoders.

A message is a sequence of (tag, value); a tag is `number << 3 | wire type`. Groups, which no kind uses, are skipped.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

VARINT, FIXED64, BYTES, START_GROUP, END_GROUP, FIXED32 = range(6)
_NUMBER_LIMIT = 1 << 29


class Malformed(ValueError):
    """The bytes are no message of the expected form."""


class Field(NamedTuple):
    """One field as it came. `integer` is the value of a varint, `data` that of every other wire type."""

    number: int
    wire: int
    integer: int
    data: bytes


def fields_of(data: bytes) -> Iterator[Field]:
    """The fields of a message in their order. Raises Malformed."""
    at, end = 0, len(data)
    while at < end:
        tag, at = varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == END_GROUP:
            raise Malformed("proto: wiretype end group for non-group")
        if not 0 < number < _NUMBER_LIMIT:
            raise Malformed(f"proto: illegal tag {number} (wire type {wire})")
        if wire == VARINT:
            integer, at = varint(data, at)
            yield Field(number, wire, integer, b"")
        elif wire == START_GROUP:
            at = _after_group(data, at)
            yield Field(number, wire, 0, b"")
        else:
            begin, at = _extent(data, at, wire)
            yield Field(number, wire, 0, data[begin:at])


def varint(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned 64-bit integer and where it ends. Raises Malformed."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise Malformed("unexpected EOF")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
    raise Malformed("proto: integer overflow")


def signed(value: int, bits: int) -> int:
    """A varint as two's complement of that many bits, longer ones cut off."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def double(data: bytes) -> float:
    """A number of wire type FIXED64."""
    value: float = struct.unpack("<d", data)[0]
    return value


def _extent(data: bytes, at: int, wire: int) -> tuple[int, int]:
    """Begin and end of a value that is no varint."""
    if wire == BYTES:
        size, at = varint(data, at)
    elif wire in (FIXED64, FIXED32):
        size = 8 if wire == FIXED64 else 4
    else:
        raise Malformed(f"proto: illegal wireType {wire}")
    if size >> 63:
        raise Malformed("proto: negative length found during unmarshaling")
    if at + size > len(data):
        raise Malformed("unexpected EOF")
    return at, at + size


def _after_group(data: bytes, at: int) -> int:
    depth = 1
    while depth:
        tag, at = varint(data, at)
        wire = tag & 7
        if wire == START_GROUP:
            depth += 1
        elif wire == END_GROUP:
            depth -= 1
        elif wire == VARINT:
            _, at = varint(data, at)
        else:
            _, at = _extent(data, at, wire)
    return at


def written(number: int, value: bytes | str | int | float) -> bytes:
    """One field: text and bytes with their length, floats as doubles, integers and booleans as varints."""
    if isinstance(value, float):
        return _written_varint(number << 3 | FIXED64) + struct.pack("<d", value)
    if isinstance(value, int):
        return _written_varint(number << 3) + _written_varint(value)
    data = value.encode("utf8", "replace") if isinstance(value, str) else value
    return _written_varint(number << 3 | BYTES) + _written_varint(len(data)) + data


def _written_varint(value: int) -> bytes:
    value &= 0xFFFF_FFFF_FFFF_FFFF
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)

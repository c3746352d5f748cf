"""Kubernetes types with a wire form of their own: times, quantities, int-or-string, raw JSON.

Each function takes the bytes of the message and gives the value that stands in JSON. They raise Malformed.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from fairlead.embedded.apiserver.protobuf.wire import BYTES, VARINT, Field, Malformed, fields_of, signed

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STRING = 1


def text(data: bytes) -> str:
    return data.decode("utf8", "replace")


def last(data: bytes, number: int, wire: int) -> Field | None:
    """A message's field of that number, the last one counts. Raises Malformed, also for another wire type."""
    found = None
    for field in fields_of(data):
        if field.number == number:
            if field.wire != wire:
                raise Malformed(f"proto: wrong wireType = {field.wire} for field {number}")
            found = field
    return found


def raw_json(data: bytes) -> Any:
    """RawExtension, FieldsV1 and JSON: a document in the only field; None where there is none."""
    field = last(data, 1, BYTES)
    if field is None or not field.data:
        return None
    try:
        return msgspec.json.decode(field.data)
    except msgspec.DecodeError as error:
        raise Malformed(f"raw JSON: {error}") from error


def _moment(data: bytes) -> tuple[datetime, int]:
    """A timestamp's whole seconds and its microseconds."""
    seconds, nanos = last(data, 1, VARINT), last(data, 2, VARINT)
    try:
        moment = _EPOCH + timedelta(seconds=0 if seconds is None else signed(seconds.integer, 64))
    except OverflowError:
        raise Malformed("timestamp outside of the years 1 to 9999") from None
    return moment, 0 if nanos is None else signed(nanos.integer, 32) // 1000


def time(data: bytes) -> str | None:
    """RFC 3339 in whole seconds; an empty message is the zero time, null in JSON."""
    return f"{_moment(data)[0].replace(tzinfo=None).isoformat()}Z" if data else None


def micro_time(data: bytes) -> str | None:
    """RFC 3339 with microseconds; an empty message is null in JSON."""
    if not data:
        return None
    moment, micros = _moment(data)
    moment += timedelta(microseconds=micros)
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def quantity(data: bytes) -> str:
    field = last(data, 1, BYTES)
    return "0" if field is None else text(field.data)


def int_or_string(data: bytes) -> int | str:
    kind, number, string = last(data, 1, VARINT), last(data, 2, VARINT), last(data, 3, BYTES)
    if kind is not None and kind.integer == _STRING:
        return "" if string is None else text(string.data)
    return 0 if number is None else signed(number.integer, 32)


BY_FORMAT: Mapping[str, Callable[[bytes], Any]] = {
    "byte": lambda data: base64.b64encode(data).decode(),
    "date-time": time,
    "micro-time": micro_time,
    "quantity": quantity,
    "int-or-string": int_or_string,
}

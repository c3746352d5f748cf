"""From protobuf to the same plain data that the JSON body would give.

The envelope is `k8s.io/apimachinery`'s `runtime.Unknown` behind four magic bytes; field numbers come from the table
that `tools/generate_protobuf.py` derives, everything else from the kind's schema: one walker serves all kinds. Fields
that are not known are skipped, as protobuf demands.
"""

from __future__ import annotations

import base64
import functools
import gzip
import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import Any

import msgspec

from fairlead.embedded.apiserver.schema.builtin import definition, schema_for
from fairlead.embedded.apiserver.schema.node import Schema
from fairlead.kube.errors import BadRequest

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_RAW = frozenset(
    {
        "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
        "io.k8s.apimachinery.pkg.runtime.RawExtension",
    }
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Malformed(Exception):
    """The bytes are no protobuf message of the expected form."""


def decode_body(data: bytes, group: str, version: str, kind: str) -> dict[str, Any]:
    """The object in a body, with the `kind` and `apiVersion` of its envelope, or the expected ones where it has none.

    Raises BadRequest whose message is what the API server says after "couldn't get version/kind; ".
    """
    if not data.startswith(_MAGIC):
        raise BadRequest("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    try:
        type_meta, raw = _envelope(data[len(_MAGIC) :])
        api_version, sent_kind = type_meta
        if sent_kind:
            group, _, version = api_version.rpartition("/")
            kind = sent_kind
        obj = _message(raw, _schema(group, version, kind))
    except KeyError:
        # A kind without a table: its name is enough to refuse it.
        obj = {}
    except (_Malformed, IndexError, struct.error, UnicodeDecodeError, msgspec.DecodeError) as error:
        raise BadRequest(f"error decoding protobuf: {error}") from error
    obj["apiVersion"] = f"{group}/{version}" if group else version
    obj["kind"] = kind
    return obj


def _schema(group: str, version: str, kind: str) -> Schema:
    """A kind's schema; DeleteOptions belong to every group version, and an Eviction is the same in both of its own."""
    if kind == "DeleteOptions":
        return schema_for("meta.k8s.io", "v1", kind)
    if kind == "Eviction":
        version = "v1"
    return schema_for(group, version, kind)


def _envelope(data: bytes) -> tuple[tuple[str, str], bytes]:
    """`apiVersion` and `kind`, and the message."""
    api_version = kind = ""
    raw = b""
    for number, wire, value in _fields(data):
        if number == 1 and wire == _BYTES:
            for inner, _, text in _fields(value):
                if inner == 1:
                    api_version = text.decode()
                elif inner == 2:
                    kind = text.decode()
        elif number == 2 and wire == _BYTES:
            raw = value
    return (api_version, kind), raw


@functools.cache
def _numbers(name: str) -> dict[int, str]:
    """Field number -> JSON name, or "@" and an inlined definition."""
    return {int(number): field for number, field in _table().get(name, {}).items()}


@functools.cache
def _table() -> dict[str, dict[str, str]]:
    packed = resources.files(__package__).joinpath("fields.json.gz").read_bytes()
    table: dict[str, dict[str, str]] = msgspec.json.decode(gzip.decompress(packed))
    return table


def _message(data: bytes, schema: Schema, name: str = "") -> dict[str, Any]:
    """A struct; `name` is the definition whose numbers count, where it is inlined into `schema`."""
    made: dict[str, Any] = {}
    numbers = _numbers(name or schema.name)
    for number, wire, value in _fields(data):
        field = numbers.get(number)
        if field is None:
            continue
        if field[0] == "@":
            made.update(_message(value, _inlined(schema, field[1:]), field[1:]))
            continue
        property_ = schema.properties.get(field)
        if property_ is None:
            continue
        if property_.type == "array":
            _extend(made.setdefault(field, []), property_, wire, value)
        elif property_.type == "object" and property_.additional is not None:
            key, entry = _entry(value, property_.additional)
            made.setdefault(field, {})[key] = entry
        else:
            made[field] = _value(property_, wire, value)
    return made


def _inlined(schema: Schema, name: str) -> Schema:
    """The schema of an inlined struct: its fields stand in the outer one, where it has no definition of its own."""
    try:
        return definition(name)
    except KeyError:
        return schema


def _extend(items: list[Any], schema: Schema, wire: int, value: Any) -> None:
    element = schema.items or Schema()
    if wire == _BYTES and element.type in ("integer", "boolean"):
        at = 0
        while at < len(value):
            number, at = _varint(value, at)
            items.append(bool(number) if element.type == "boolean" else _signed(number))
        return
    items.append(_value(element, wire, value))


def _entry(data: bytes, schema: Schema) -> tuple[str, Any]:
    """One entry of a map."""
    key, entry = "", _empty(schema)
    for number, wire, value in _fields(data):
        if number == 1:
            key = value.decode()
        elif number == 2 and schema.type == "array":
            # Protobuf has no map of lists: a message with one repeated field stands for the list.
            for _, inner_wire, inner in _fields(value):
                _extend(entry, schema, inner_wire, inner)
        elif number == 2:
            entry = _value(schema, wire, value)
    return key, entry


def _empty(schema: Schema) -> Any:
    return {"array": [], "object": {}, "string": "", "integer": 0, "boolean": False}.get(schema.type)


def _value(schema: Schema, wire: int, value: Any) -> Any:
    special = _FORMATS.get(schema.format)
    if special is not None and wire == _BYTES:
        return special(value)
    match schema.type:
        case "string":
            return value.decode()
        case "integer":
            return _signed(value)
        case "boolean":
            return bool(value)
        case "number":
            return struct.unpack("<d", value)[0] if wire == _FIXED64 else struct.unpack("<f", value)[0]
    if schema.name in _RAW or (schema.preserve_unknown and not schema.properties):
        return _raw(value)
    return _message(value, schema)


def _raw(data: bytes) -> Any:
    """RawExtension and FieldsV1: JSON in their only field."""
    for number, _, value in _fields(data):
        if number == 1:
            return msgspec.json.decode(value) if value else None
    return None


def _time(data: bytes, *, micro: bool) -> str | None:
    seconds = nanos = 0
    for number, _, value in _fields(data):
        if number == 1:
            seconds = _signed(value)
        elif number == 2:
            nanos = _signed(value)
    if not data:
        return None
    moment = _EPOCH + timedelta(seconds=seconds)
    text = moment.strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{nanos // 1000:06d}Z" if micro else f"{text}Z"


def _quantity(data: bytes) -> str:
    for number, _, value in _fields(data):
        if number == 1:
            return str(value.decode())
    return "0"


def _int_or_string(data: bytes) -> int | str:
    kind, number_value, text = 0, 0, ""
    for number, _, value in _fields(data):
        if number == 1:
            kind = value
        elif number == 2:
            number_value = _signed(value)
        elif number == 3:
            text = value.decode()
    return text if kind else number_value


_FORMATS: dict[str, Callable[[bytes], Any]] = {
    "byte": lambda data: base64.b64encode(data).decode(),
    "date-time": lambda data: _time(data, micro=False),
    "micro-time": lambda data: _time(data, micro=True),
    "quantity": _quantity,
    "int-or-string": _int_or_string,
}


def _fields(data: bytes) -> Iterator[tuple[int, int, Any]]:
    """Number, wire type and value of each field. Raises _Malformed, IndexError."""
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, wire, value
            continue
        if wire == _BYTES:
            size, at = _varint(data, at)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise _Malformed(f"wire type {wire}")
        if at + size > end:
            raise _Malformed("unexpected EOF")
        yield number, wire, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, at
        shift += 7
        if shift > 63:
            raise _Malformed("varint overflows")


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number

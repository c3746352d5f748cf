"""From JSON objects to protobuf bodies, as Go clients write them."""

from __future__ import annotations

import base64
import json
import struct
from datetime import datetime
from typing import Any

from fairlead.embedded.apiserver.protobuf.decode import MAGIC, numbers
from fairlead.embedded.apiserver.schema.builtin import schema_for
from fairlead.embedded.apiserver.schema.node import Schema

EXTENSIONS = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1."
RAW = ("FieldsV1", "RawExtension", EXTENSIONS + "JSON")
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def varint(value: int) -> bytes:
    value &= 0xFFFF_FFFF_FFFF_FFFF
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def tagged(number: int, value: bytes | str | int) -> bytes:
    """One field: a varint for integers, length-delimited otherwise."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def body(obj: dict[str, Any], *, schema: Schema | None = None) -> bytes:
    """A request body."""
    api_version, kind = obj["apiVersion"], obj["kind"]
    group, _, version = api_version.rpartition("/")
    schema = schema or schema_for(group, version, kind)
    return enveloped(message(obj, schema, schema.name), api_version, kind)


def enveloped(raw: bytes, api_version: str, kind: str) -> bytes:
    # Go writes content encoding and type even where they are empty.
    return MAGIC + tagged(1, tagged(1, api_version) + tagged(2, kind)) + tagged(2, raw) + tagged(3, "") + tagged(4, "")


def message(obj: dict[str, Any], schema: Schema, name: str) -> bytes:
    out = b""
    for number, field in sorted(numbers(name).items()):
        if field[0] == "@":
            inlined = message(obj, schema, field[1:])
            out += tagged(number, inlined) if inlined else b""
        elif obj.get(field) is not None:
            out += _field(number, obj[field], schema.properties[field])
    return out


def _field(number: int, value: Any, schema: Schema) -> bytes:
    if schema.type == "array":
        return b"".join(_field(number, item, schema.items) for item in value)
    if schema.type == "object" and schema.additional is not None:
        return b"".join(
            tagged(number, tagged(1, key) + _map_value(item, schema.additional)) for key, item in value.items()
        )
    return _scalar(number, value, schema)


def _map_value(value: Any, schema: Schema) -> bytes:
    if schema.type == "array":
        return tagged(2, _field(1, value, schema))
    return _scalar(2, value, schema)


def _scalar(number: int, value: Any, schema: Schema) -> bytes:
    if schema.format in _FORMATS:
        return tagged(number, _FORMATS[schema.format](value))
    match schema.type:
        case "string" | "integer":
            return tagged(number, value)
        case "boolean":
            return tagged(number, int(value))
        case "number":
            return varint(number << 3 | 1) + struct.pack("<d", value)
    if schema.name.endswith(RAW):
        return tagged(number, tagged(1, json.dumps(value)))
    if schema.items is not None:
        return tagged(number, _schema_like(value, schema))
    return tagged(number, message(value, schema, schema.name))


def _schema_like(value: Any, schema: Schema) -> bytes:
    assert schema.items is not None
    is_or_bool = schema.name.endswith("OrBool")
    if isinstance(value, bool):
        return tagged(1, int(value))
    if isinstance(value, dict):
        data = message(value, schema.items, schema.items.name)
        # The schema itself stands behind the boolean, which says that more is allowed.
        return tagged(1, 1) + tagged(2, data) if is_or_bool else tagged(1, data)
    return b"".join(
        tagged(2, item if isinstance(item, str) else message(item, schema.items, schema.items.name)) for item in value
    )


def _time(value: str) -> bytes:
    delta = datetime.fromisoformat(value) - _EPOCH
    return tagged(1, delta.days * 86400 + delta.seconds) + tagged(2, delta.microseconds * 1000)


def _int_or_string(value: int | str) -> bytes:
    if isinstance(value, str):
        return tagged(1, 1) + tagged(2, 0) + tagged(3, value)
    return tagged(1, 0) + tagged(2, value) + tagged(3, "")


_FORMATS = {
    "byte": base64.b64decode,
    "date-time": _time,
    "micro-time": _time,
    "quantity": lambda value: tagged(1, value),
    "int-or-string": _int_or_string,
}

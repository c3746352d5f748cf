"""From protobuf to the same plain data that the JSON body would give.

The envelope is `k8s.io/apimachinery`'s `runtime.Unknown` behind four magic bytes; field numbers come from the table
that `tools/generate_protobuf.py` derives, everything else from the kind's schema: one walker serves all kinds. Fields
that are not known are skipped, as protobuf demands.
"""

from __future__ import annotations

import functools
import gzip
from importlib import resources
from typing import Any

import msgspec

from fairlead.embedded.apiserver.protobuf.scalars import BY_FORMAT, last, raw_json, text
from fairlead.embedded.apiserver.protobuf.wire import (
    BYTES,
    FIXED64,
    VARINT,
    Field,
    Malformed,
    double,
    fields_of,
    signed,
    varint,
)
from fairlead.embedded.apiserver.schema.builtin import definition, schema_for
from fairlead.embedded.apiserver.schema.node import Schema
from fairlead.kube.errors import BadRequest

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
MAGIC = b"k8s\x00"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_EXTENSIONS = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1."
_JSON_SCHEMA = _EXTENSIONS + "JSONSchemaProps"
_SCHEMA_OR_BOOL = _EXTENSIONS + "JSONSchemaPropsOrBool"
_SCHEMA_OR_LIST = _EXTENSIONS + "JSONSchemaPropsOrArray"
_SCHEMA_OR_STRINGS = _EXTENSIONS + "JSONSchemaPropsOrStringArray"
_RAW_JSON = frozenset({_META + "FieldsV1", _EXTENSIONS + "JSON", "io.k8s.apimachinery.pkg.runtime.RawExtension"})


class UndecodableObject(BadRequest):
    """The envelope is fine, what it holds is no such object. The message names both kinds."""


def decode_body(
    data: bytes, group: str, version: str, kind: str, expected_schema: Schema | None = None
) -> dict[str, Any]:
    """The object in a body, with the `kind` and `apiVersion` of its envelope, or the expected ones where it has none.

    `expected_schema` is that of the expected kind, for one whose schema is not found by its name.
    Raises UndecodableObject, and BadRequest with the bare reason where the envelope itself is broken.
    """
    expected = (group, version, kind)
    try:
        api_version, sent_kind, raw = _envelope(data)
    except Malformed as error:
        raise BadRequest(str(error)) from error
    if sent_kind:
        group, _, version = api_version.rpartition("/")
        kind = sent_kind
    is_expected = (group, version, kind) == expected
    schema = expected_schema if is_expected and expected_schema is not None else _schema(group, version, kind)
    try:
        # An unknown kind needs no decoding: its name is enough to refuse it.
        obj = {} if schema is None else _message(raw, schema, schema.name, {})
    except (Malformed, RecursionError) as error:
        reason = error if isinstance(error, Malformed) else "exceeded max depth"
        raise UndecodableObject(
            f'{kind} in version "{version}" cannot be handled as a {expected[2]}: {reason}'
        ) from error
    obj["apiVersion"] = f"{group}/{version}" if group else version
    obj["kind"] = kind
    return obj


def _envelope(data: bytes) -> tuple[str, str, bytes]:
    """`apiVersion` and `kind` (empty where they are not said) and the message."""
    if not data:
        raise Malformed("empty data")
    if not data.startswith(MAGIC):
        magic = " ".join(str(byte) for byte in MAGIC)
        raise Malformed(f"provided data does not appear to be a protobuf message, expected prefix [{magic}]")
    if len(data) == len(MAGIC):
        raise Malformed("empty body")
    type_meta, raw = last(data[len(MAGIC) :], 1, BYTES), last(data[len(MAGIC) :], 2, BYTES)
    api_version = kind = None
    if type_meta is not None:
        api_version, kind = last(type_meta.data, 1, BYTES), last(type_meta.data, 2, BYTES)
    return (
        "" if api_version is None else text(api_version.data),
        "" if kind is None else text(kind.data),
        b"" if raw is None else raw.data,
    )


def _schema(group: str, version: str, kind: str) -> Schema | None:
    """A kind's schema; DeleteOptions belong to every group version, and an Eviction is the same in both of its own."""
    if kind == "DeleteOptions":
        group, version = "meta.k8s.io", "v1"
    elif kind == "Eviction":
        version = "v1"
    try:
        return schema_for(group, version, kind)
    except KeyError:
        return None


@functools.cache
def numbers(name: str) -> dict[int, str]:
    """Field number -> JSON name, or "@" and the definition of an inlined struct; none for a struct without fields."""
    return {int(number): field for number, field in _table().get(name, {}).items()}


@functools.cache
def _table() -> dict[str, dict[str, str]]:
    packed = resources.files(__package__).joinpath("fields.json.gz").read_bytes()
    table: dict[str, dict[str, str]] = msgspec.json.decode(gzip.decompress(packed))
    return table


def _message(data: bytes, schema: Schema, name: str, made: dict[str, Any]) -> dict[str, Any]:
    """A struct, added to `made`. `name` is the definition whose numbers count: that of `schema`, or of a struct whose
    fields stand inlined in it."""
    known = numbers(name)
    for field in fields_of(data):
        json_name = known.get(field.number)
        if json_name is None:
            continue
        if json_name[0] == "@":
            _message(_data(field, json_name.rpartition(".")[2]), schema, json_name[1:], made)
            continue
        child = schema.properties.get(json_name)
        if child is None:
            continue
        if child.type == "array":
            _extend(made.setdefault(json_name, []), child, field, json_name)
        elif child.type == "object" and child.additional is not None:
            key, entry = _entry(_data(field, json_name), child.additional, json_name)
            made.setdefault(json_name, {})[key] = entry
        elif _is_struct(child):
            # Parts of one message may come apart; they add up.
            made[json_name] = _message(_data(field, json_name), child, child.name, made.get(json_name) or {})
        else:
            made[json_name] = _value(child, field, json_name)
    return made


def _is_struct(schema: Schema) -> bool:
    return schema.go is not None and schema.format not in BY_FORMAT


def _extend(items: list[Any], schema: Schema, field: Field, json_name: str) -> None:
    element = schema.items
    assert element is not None
    if field.wire == BYTES and element.type in ("integer", "boolean") and element.format not in BY_FORMAT:
        at = 0
        while at < len(field.data):
            number, at = varint(field.data, at)
            items.append(_value(element, Field(field.number, VARINT, number, b""), json_name))
        return
    items.append(_value(element, field, json_name))


def _entry(data: bytes, schema: Schema, json_name: str) -> tuple[str, Any]:
    """One entry of a map."""
    key = last(data, 1, BYTES)
    value: Any = None
    for field in fields_of(data):
        if field.number != 2:
            continue
        if schema.type == "array":
            # Protobuf has no map of lists: a message with one repeated field stands for the list.
            value = []
            for item in fields_of(_data(field, json_name)):
                _extend(value, schema, item, json_name)
        else:
            value = _value(schema, field, json_name)
    if value is None:
        value = _empty(schema)
    return "" if key is None else text(key.data), value


def _empty(schema: Schema) -> Any:
    """A map's value that was left out because it is empty."""
    if schema.format in BY_FORMAT:
        return BY_FORMAT[schema.format](b"")
    return {"array": [], "object": {}, "string": "", "integer": 0, "number": 0, "boolean": False}.get(schema.type)


def _value(schema: Schema, field: Field, json_name: str) -> Any:
    special = BY_FORMAT.get(schema.format)
    if special is not None:
        return special(_data(field, json_name))
    match schema.type:
        case "string":
            return text(_data(field, json_name))
        case "integer":
            return signed(_integer(field, json_name), 32 if schema.format == "int32" else 64)
        case "boolean":
            return bool(_integer(field, json_name))
        case "number":
            return double(_data(field, json_name, FIXED64))
    data = _data(field, json_name)
    if schema.name in _RAW_JSON:
        return raw_json(data)
    if schema.items is not None:
        return _schema_like(schema.name, data)
    return _message(data, schema, schema.name, {})


def _schema_like(name: str, data: bytes) -> Any:
    """A JSON schema, or what may stand in its place."""
    schema, rest = (2, 1) if name == _SCHEMA_OR_BOOL else (1, 2)
    found = last(data, schema, BYTES)
    others = [field for field in fields_of(data) if field.number == rest]
    if name == _SCHEMA_OR_LIST and others:
        return [_json_schema(_data(field, "JSONSchemas")) for field in others]
    if name == _SCHEMA_OR_STRINGS and others:
        return [text(_data(field, "Property")) for field in others]
    if found is not None:
        return _json_schema(found.data)
    if name == _SCHEMA_OR_BOOL:
        return any(_integer(field, "Allows") for field in others[-1:])
    return None


def _json_schema(data: bytes) -> dict[str, Any]:
    return _message(data, definition(_JSON_SCHEMA), _JSON_SCHEMA, {})


def _data(field: Field, name: str, wire: int = BYTES) -> bytes:
    if field.wire != wire:
        raise _wrong_type(field, name)
    return field.data


def _integer(field: Field, name: str) -> int:
    if field.wire != VARINT:
        raise _wrong_type(field, name)
    return field.integer


def _wrong_type(field: Field, name: str) -> Malformed:
    return Malformed(f"proto: wrong wireType = {field.wire} for field {name[:1].upper()}{name[1:]}")

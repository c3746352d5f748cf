"""The OpenAPI v2 document in protobuf, the only form in which kubectl and helm ask for it.

The messages are those of gnostic (`openapi.v2.Document`). Each is a table from a field's JSON name to its number and to
how its value is written; what a table does not name is left out, but for `x-` fields, which are vendor extensions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from fairlead.embedded.apiserver.protobuf.wire import written

MEDIA_TYPES = (
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
)
"""As clients ask for it and, without the character that RFC 9110 forbids, as it is answered."""

Write = Callable[[int, Any], bytes]
Table = Mapping[str, tuple[int, Write]]
_EXTENSIONS = "x-"


def openapi_v2_document(document: Mapping[str, Any]) -> bytes:
    """An OpenAPI v2 document (its JSON as plain data) as a message."""
    return _message(_DOCUMENT, document)


def _message(table: Table, value: Mapping[str, Any]) -> bytes:
    parts = []
    for key, inner in value.items():
        number, write = table.get(key) or table.get(key[:2]) or (0, written)
        if number and inner is not None:
            parts.append(_named(number, key, _any(inner)) if key[:2] == _EXTENSIONS else write(number, inner))
    return b"".join(parts)


def _any(value: Any) -> bytes:
    """Any value as YAML, which JSON is."""
    return written(2, msgspec.json.encode(value))


def _named(number: int, name: str, data: bytes) -> bytes:
    return written(number, written(1, name) + written(2, data))


def _real(number: int, value: Any) -> bytes:
    return written(number, float(value))


def _value(number: int, value: Any) -> bytes:
    return written(number, _any(value))


def _each(write: Write) -> Write:
    return lambda number, values: b"".join(write(number, value) for value in values)


def _inner(table: Table) -> Write:
    return lambda number, value: written(number, _message(table, value))


def _map(inner: int, write: Callable[[Any], bytes]) -> Write:
    """A message whose field `inner` has the named entries of a map."""
    return lambda number, entries: written(
        number, b"".join(_named(inner, name, write(value)) for name, value in entries.items())
    )


def _schema(number: int, value: Mapping[str, Any]) -> bytes:
    return written(number, _message(_SCHEMA, value))


def _additional(number: int, value: Any) -> bytes:
    return written(number, written(2, value) if isinstance(value, bool) else _schema(1, value))


def _type(number: int, value: str | list[str]) -> bytes:
    names = [value] if isinstance(value, str) else value
    return written(number, b"".join(written(1, name) for name in names))


def _items(number: int, value: Any) -> bytes:
    schemas = value if isinstance(value, list) else [value]
    return written(number, b"".join(_schema(1, each) for each in schemas))


def _parameter(number: int, value: Mapping[str, Any]) -> bytes:
    if "$ref" in value:
        return written(number, written(2, written(1, value["$ref"])))
    place = value.get("in")
    if place == "body":
        return written(number, written(1, written(1, _message(_BODY_PARAMETER, value))))
    kind, table = _PARAMETERS[str(place)]
    return written(number, written(1, written(2, written(kind, _message(table, value)))))


def _response(value: Mapping[str, Any]) -> bytes:
    if "$ref" in value:
        return written(2, written(1, value["$ref"]))
    return written(1, _message(_RESPONSE, value))


def _paths(number: int, value: Mapping[str, Any]) -> bytes:
    return _map(2, lambda item: _message(_PATH_ITEM, item))(number, value)


def _constraints(first: int) -> dict[str, tuple[int, Write]]:
    """Fields that every parameter has from `collectionFormat` on."""
    names: list[tuple[str, Write]] = [
        ("collectionFormat", written),
        ("default", _value),
        ("maximum", _real),
        ("exclusiveMaximum", written),
        ("minimum", _real),
        ("exclusiveMinimum", written),
        ("maxLength", written),
        ("minLength", written),
        ("pattern", written),
        ("maxItems", written),
        ("minItems", written),
        ("uniqueItems", written),
        ("enum", _each(_value)),
        ("multipleOf", _real),
        (_EXTENSIONS, written),
    ]
    return {name: (first + at, write) for at, (name, write) in enumerate(names)}


_SCHEMA: dict[str, tuple[int, Write]] = {
    "$ref": (1, written),
    "format": (2, written),
    "title": (3, written),
    "description": (4, written),
    "default": (5, _value),
    "multipleOf": (6, _real),
    "maximum": (7, _real),
    "exclusiveMaximum": (8, written),
    "minimum": (9, _real),
    "exclusiveMinimum": (10, written),
    "maxLength": (11, written),
    "minLength": (12, written),
    "pattern": (13, written),
    "maxItems": (14, written),
    "minItems": (15, written),
    "uniqueItems": (16, written),
    "maxProperties": (17, written),
    "minProperties": (18, written),
    "required": (19, _each(written)),
    "enum": (20, _each(_value)),
    "additionalProperties": (21, _additional),
    "type": (22, _type),
    "items": (23, _items),
    "allOf": (24, _each(_schema)),
    "properties": (25, _map(1, lambda value: _message(_SCHEMA, value))),
    "example": (30, _value),
    _EXTENSIONS: (31, written),
}
_PRIMITIVE_ITEMS: Table = {"type": (1, written), "format": (2, written), **_constraints(4)}
_BODY_PARAMETER: Table = {
    "description": (1, written),
    "name": (2, written),
    "in": (3, written),
    "required": (4, written),
    "schema": (5, _schema),
    _EXTENSIONS: (6, written),
}
_IN_HEADER: dict[str, tuple[int, Write]] = {
    "required": (1, written),
    "in": (2, written),
    "description": (3, written),
    "name": (4, written),
    "type": (5, written),
    "format": (6, written),
    "items": (7, _inner(_PRIMITIVE_ITEMS)),
    **_constraints(8),
}
_IN_QUERY: Table = {
    key: (number + (number > 4), write) for key, (number, write) in _IN_HEADER.items()
} | {"allowEmptyValue": (5, written)}  # fmt: skip
# Place of a parameter -> number of its kind, and its fields.
_PARAMETERS: Mapping[str, tuple[int, Table]] = {
    "header": (1, _IN_HEADER),
    "formData": (2, _IN_QUERY),
    "query": (3, _IN_QUERY),
    "path": (4, _IN_HEADER),
}
_RESPONSE: Table = {
    "description": (1, written),
    "schema": (2, lambda number, value: written(number, _schema(1, value))),
    _EXTENSIONS: (5, written),
}
_OPERATION: Table = {
    "tags": (1, _each(written)),
    "summary": (2, written),
    "description": (3, written),
    "operationId": (5, written),
    "produces": (6, _each(written)),
    "consumes": (7, _each(written)),
    "parameters": (8, _each(_parameter)),
    "responses": (9, _map(1, _response)),
    "schemes": (10, _each(written)),
    "deprecated": (11, written),
    _EXTENSIONS: (13, written),
}
_PATH_ITEM: Table = {
    "get": (2, _inner(_OPERATION)),
    "put": (3, _inner(_OPERATION)),
    "post": (4, _inner(_OPERATION)),
    "delete": (5, _inner(_OPERATION)),
    "options": (6, _inner(_OPERATION)),
    "head": (7, _inner(_OPERATION)),
    "patch": (8, _inner(_OPERATION)),
    "parameters": (9, _each(_parameter)),
    _EXTENSIONS: (10, written),
}
_DOCUMENT: Table = {
    "swagger": (1, written),
    "info": (2, _inner({"title": (1, written), "version": (2, written), "description": (3, written)})),
    "consumes": (6, _each(written)),
    "produces": (7, _each(written)),
    "paths": (8, _paths),
    "definitions": (9, _map(1, lambda value: _message(_SCHEMA, value))),
    _EXTENSIONS: (16, written),
}

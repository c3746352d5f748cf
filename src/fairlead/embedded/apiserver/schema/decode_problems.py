"""What is wrong with an object that does not decode: the slow walk with paths.

Messages name a Go struct and the path of struct fields to the value, without indexes and map keys
("Go struct field Container.spec.containers.image of type string"), as Go's decoder does.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from fairlead.embedded.apiserver.schema.go_time import normal_micro_time, normal_time
from fairlead.embedded.apiserver.schema.json_syntax import kind_name
from fairlead.embedded.apiserver.schema.node import Schema
from fairlead.kube import quantity
from fairlead.kube.errors import BadRequest

_TIMES = {"date-time": normal_time, "micro-time": normal_micro_time}
_INTEGER_BITS = {"int32": 32, "int64": 64}


def remove_unknown(obj: dict[str, Any], schema: Schema) -> list[str]:
    """Remove unknown fields in place and tell each as `unknown field "path"`.

    Raises BadRequest for the first value of a wrong type or form.
    """
    walk = _Walk()
    if schema.go is None:
        walk.custom_object(obj, schema, "")
        unknown = walk.metadata_unknown + sorted(walk.unknown)
    else:
        walk.go_value(obj, schema, "", "", ())
        unknown = walk.unknown
    return [f'unknown field "{path}"' for path in unknown]


class _Walk:
    def __init__(self) -> None:
        self.unknown: list[str] = []
        self.metadata_unknown: list[str] = []

    def custom_object(self, value: Any, schema: Schema, path: str) -> None:
        if isinstance(value, list):
            if schema.items is not None:
                for index, item in enumerate(value):
                    self.custom_object(item, schema.items, f"{path}[{index}]")
            return
        if not isinstance(value, dict):
            return
        for name in list(value):
            child_path = f"{path}.{name}" if path else name
            child = schema.properties.get(name) or schema.additional
            if child is not None and child.go is not None:
                self.metadata(value[name], child, child_path, root=not path)
            elif child is not None:
                self.custom_object(value[name], child, child_path)
            elif not schema.preserve_unknown and _is_object(schema):
                self.unknown.append(child_path)
                del value[name]

    def metadata(self, value: Any, schema: Schema, path: str, *, root: bool) -> None:
        before = len(self.unknown)
        if value is not None:
            self.go_value(value, schema, path, "", ())
        if root:
            self.metadata_unknown = self.unknown[before:]
            del self.unknown[before:]

    def go_value(self, value: Any, schema: Schema, path: str, struct: str, fields: tuple[str, ...]) -> None:
        if value is None:
            return
        if schema.go is not None:
            self.go_struct(value, schema, path, struct, fields)
        elif schema.format:
            _check_format(value, schema, struct, fields)
        elif schema.type == "array":
            _require(isinstance(value, list), value, schema, struct, fields)
            if schema.items is not None:
                for index, item in enumerate(value):
                    self.go_value(item, schema.items, f"{path}[{index}]", struct, fields)
        elif schema.type == "object" and schema.additional is not None:
            _require(isinstance(value, dict), value, schema, struct, fields)
            for key, item in value.items():
                self.go_value(item, schema.additional, f"{path}.{key}", struct, fields)
        elif not schema.type and schema.items is not None:
            self.schema_like(value, schema.items, path, struct, fields)
        elif not schema.preserve_unknown:
            _check_scalar(value, schema, struct, fields)

    def schema_like(self, value: Any, schema: Schema, path: str, struct: str, fields: tuple[str, ...]) -> None:
        if isinstance(value, dict):
            self.go_value(value, schema, path, struct, fields)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, dict):
                    self.go_value(item, schema, f"{path}[{index}]", struct, fields)

    def go_struct(self, value: Any, schema: Schema, path: str, struct: str, fields: tuple[str, ...]) -> None:
        _require(isinstance(value, dict), value, schema, struct, fields)
        assert schema.go is not None
        for name in list(value):
            child_path = f"{path}.{name}" if path else name
            child = schema.properties.get(name)
            if child is None:
                self.unknown.append(child_path)
                del value[name]
            else:
                self.go_value(value[name], child, child_path, schema.go.name, (*fields, name))


def _is_object(schema: Schema) -> bool:
    return schema.type == "object" or bool(schema.properties)


def _mismatch(kind: str, go_type: str, struct: str, fields: tuple[str, ...]) -> BadRequest:
    if not struct:
        return BadRequest(f"json: cannot unmarshal {kind} into Go value of type {go_type}")
    place = ".".join((struct, *fields))
    return BadRequest(f"json: cannot unmarshal {kind} into Go struct field {place} of type {go_type}")


def _require(fits: bool, value: Any, schema: Schema, struct: str, fields: tuple[str, ...]) -> None:
    if not fits:
        raise _mismatch(kind_name(value), schema.go_type, struct, fields)


def _check_scalar(value: Any, schema: Schema, struct: str, fields: tuple[str, ...]) -> None:
    if schema.type == "string":
        _require(isinstance(value, str), value, schema, struct, fields)
    elif schema.type == "boolean":
        _require(isinstance(value, bool), value, schema, struct, fields)
    elif schema.type == "number":
        _require(isinstance(value, int | float) and not isinstance(value, bool), value, schema, struct, fields)
    elif schema.type == "integer":
        _check_integer(value, schema, 64, struct, fields)


def _check_integer(value: Any, schema: Schema, bits: int, struct: str, fields: tuple[str, ...]) -> None:
    _require(kind_name(value) == "number", value, schema, struct, fields)
    if not isinstance(value, int) or not -(1 << (bits - 1)) <= value < 1 << (bits - 1):
        raise _mismatch(f"number {value}", schema.go_type, struct, fields)


def _check_format(value: Any, schema: Schema, struct: str, fields: tuple[str, ...]) -> None:
    if schema.format in _INTEGER_BITS:
        _check_integer(value, schema, _INTEGER_BITS[schema.format], struct, fields)
    elif schema.format == "quantity":
        _check_quantity(value)
    elif schema.format == "byte":
        _require(isinstance(value, str), value, schema, struct, fields)
        _check_base64(value)
    elif schema.format == "int-or-string":
        _check_int_or_string(value)
    elif schema.format in _TIMES:
        if not isinstance(value, str):
            raise _mismatch(kind_name(value), "string", "", ())
        try:
            _TIMES[schema.format](value)
        except ValueError as error:
            raise BadRequest(str(error)) from error
    else:
        _check_scalar(value, schema, struct, fields)


def _check_int_or_string(value: Any) -> None:
    if isinstance(value, str):
        return
    if kind_name(value) != "number":
        raise _mismatch(kind_name(value), "int32", "", ())
    if not isinstance(value, int) or not -(2**31) <= value < 2**31:
        raise _mismatch(f"number {value}", "int32", "", ())


def _check_quantity(value: Any) -> None:
    try:
        if isinstance(value, str) or kind_name(value) == "number":
            quantity.canonical(str(value))
            return
    except ValueError as error:
        raise BadRequest(str(error)) from error
    raise BadRequest(quantity.FORMAT_ERROR)


def _check_base64(text: str) -> None:
    try:
        base64.b64decode(text.replace("\r", "").replace("\n", ""), validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest(f"illegal base64 data at input byte {_first_bad_byte(text)}") from None


_ALPHABET = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")


def _first_bad_byte(text: str) -> int:
    for index, char in enumerate(text):
        if char not in _ALPHABET and not (char == "=" and index % 4 >= 2):
            return index
        if char == "=":
            return index + (1 if text[index + 1 :].strip("=") else len(text) - index)
    return len(text) - len(text) % 4

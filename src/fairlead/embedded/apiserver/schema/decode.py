"""From a parsed body to an object that fits its schema, as the API server's decoders would make it.

`decode_object` works in place. Built-in kinds behave like the Go structs behind them: wrong JSON types are errors,
unknown fields go, empty fields are written or left out as the struct says, quantities, times and bytes get their normal
form. Objects of CRDs are pruned, and their metadata is decoded like built-in metadata.

Every schema node is compiled once into a closure that handles regular values fast. Whatever is irregular raises
`Irregular`; then `decode_problems` walks the object with paths, raises the API server's error or removes what is
unknown, and the closures run again.
"""

from __future__ import annotations

import binascii
import functools
from collections.abc import Callable
from typing import Any

from fairlead.embedded.apiserver.schema.body import parse_body
from fairlead.embedded.apiserver.schema.decode_problems import remove_unknown
from fairlead.embedded.apiserver.schema.go_time import normal_micro_time, normal_time
from fairlead.embedded.apiserver.schema.node import Schema
from fairlead.kube import quantity

__all__ = ["decode_object", "parse_body"]

Decoder = Callable[[Any], Any]


class Irregular(Exception):
    """The value has a wrong type, an unknown field or an invalid scalar."""


def decode_object(obj: dict[str, Any], schema: Schema) -> list[str]:
    """Decode in place; returns one `unknown field "…"` per field that was dropped.

    Raises BadRequest with Go's message for the first value that cannot be decoded.
    """
    decode = schema.decoder or compile_decoder(schema)
    try:
        decode(obj)
    except Irregular:
        unknown = remove_unknown(obj, schema)
        decode(obj)
        return unknown
    return []


def compile_decoder(schema: Schema) -> Decoder:
    """The closure of a node, memoised on the node. It returns the decoded value, the same object for containers."""
    if schema.decoder is None:
        # Set before compiling children, since built-in schemas may be cyclic.
        schema.decoder = lambda value: _late(schema)(value)
        schema.decoder = _compile(schema)
    return schema.decoder


def _late(schema: Schema) -> Decoder:
    assert schema.decoder is not None
    return schema.decoder


def _compile(schema: Schema) -> Decoder:
    if schema.go is not None:
        return _struct(schema)
    if schema.go_type:
        return _go_value(schema)
    if schema.type == "array" and schema.items is not None:
        return _custom_list(schema.items)
    if schema.properties or schema.additional is not None or (schema.type == "object" and not schema.preserve_unknown):
        return _custom_object(schema)
    return _anything if schema.type in ("string", "boolean") else _numbers


def _go_value(schema: Schema) -> Decoder:
    if schema.format in _BY_FORMAT:
        return _BY_FORMAT[schema.format]
    if schema.type == "array" and schema.items is not None:
        return _list(schema.items)
    if schema.type == "object" and schema.additional is not None:
        return _map(schema.additional)
    if not schema.type and schema.items is not None:
        return _schema_like(schema.items)
    if schema.preserve_unknown:
        return _anything
    return _BY_TYPE.get(schema.type, _anything)


def _anything(value: Any) -> Any:
    return value


def _numbers(value: Any) -> Any:
    """What a custom resource has where its schema does not go on. A number without a fraction is stored without one:
    Go's JSON encoder writes the float64 of `1.0` as `1`."""
    if type(value) is float:
        return int(value) if value.is_integer() and abs(value) < _WITH_EXPONENT else value
    if type(value) is dict:
        for key, item in value.items():
            if type(item) in _MAY_CHANGE:
                value[key] = _numbers(item)
    elif type(value) is list:
        for index, item in enumerate(value):
            if type(item) in _MAY_CHANGE:
                value[index] = _numbers(item)
    return value


_MAY_CHANGE = frozenset((float, dict, list))
_WITH_EXPONENT = 1e21
"""From here on Go's encoder writes numbers with an exponent."""


def _string(value: Any) -> Any:
    if type(value) is not str:
        raise Irregular
    return value


def _boolean(value: Any) -> Any:
    if value is not True and value is not False:
        raise Irregular
    return value


def _integer(bits: int) -> Decoder:
    limit = 1 << (bits - 1)

    def decode(value: Any) -> Any:
        if type(value) is not int or not -limit <= value < limit:
            raise Irregular
        return value

    return decode


def _number(value: Any) -> Any:
    if type(value) is not float and type(value) is not int:
        raise Irregular
    return value


def _int_or_string(value: Any) -> Any:
    if type(value) is not str and (type(value) is not int or not -(2**31) <= value < 2**31):
        raise Irregular
    return value


_canonical_quantity = functools.lru_cache(maxsize=4096)(quantity.canonical)


def _quantity(value: Any) -> Any:
    try:
        if type(value) is str:
            return _canonical_quantity(value)
        if type(value) is int or type(value) is float:
            return quantity.canonical(str(value))
    except ValueError:
        pass
    raise Irregular


def _bytes(value: Any) -> Any:
    try:
        if "\n" in value or "\r" in value:
            value = value.replace("\r", "").replace("\n", "")
        return binascii.b2a_base64(binascii.a2b_base64(value, strict_mode=True), newline=False).decode()
    except (TypeError, ValueError):
        raise Irregular from None


def _time(normal: Callable[[str], str]) -> Decoder:
    def decode(value: Any) -> Any:
        try:
            return normal(value)
        except (TypeError, ValueError):
            raise Irregular from None

    return decode


_BY_FORMAT: dict[str, Decoder] = {
    "byte": _bytes,
    "date-time": _time(normal_time),
    "int-or-string": _int_or_string,
    "int32": _integer(32),
    "int64": _integer(64),
    "micro-time": _time(normal_micro_time),
    "quantity": _quantity,
}
_BY_TYPE: dict[str, Decoder] = {
    "boolean": _boolean,
    "integer": _integer(64),
    "number": _number,
    "string": _string,
}


def _element_zero(schema: Schema) -> Any:
    """What null means for a list element or a map value."""
    if schema.format == "quantity":
        return "0"
    if schema.format == "int-or-string":
        return 0
    return {"string": "", "integer": 0, "number": 0, "boolean": False}.get(schema.type)


def _strings(value: Any) -> Any:
    if type(value) is not list:
        raise Irregular
    for index, item in enumerate(value):
        if type(item) is not str:
            if item is not None:
                raise Irregular
            value[index] = ""
    return value


def _list(items: Schema) -> Decoder:
    decode_item = compile_decoder(items)
    zero = _element_zero(items)
    is_struct = items.go is not None
    if decode_item is _string:
        return _strings

    def decode(value: Any) -> Any:
        if type(value) is not list:
            raise Irregular
        for index, item in enumerate(value):
            if item is None:
                item = {} if is_struct else zero
                if item is None:
                    continue
                value[index] = item
            decoded = decode_item(item)
            if decoded is not item:
                value[index] = decoded
        return value

    return decode


def _map(values: Schema) -> Decoder:
    decode_value = compile_decoder(values)
    zero = _element_zero(values)
    is_struct = values.go is not None

    def decode(value: Any) -> Any:
        if type(value) is not dict:
            raise Irregular
        for key, item in value.items():
            if item is None:
                item = {} if is_struct else zero
                if item is None:
                    continue
                value[key] = item
            decoded = decode_value(item)
            if decoded is not item:
                value[key] = decoded
        return value

    return decode


def _schema_like(schema: Schema) -> Decoder:
    """A JSON schema, a list of them, or a scalar that stands for one."""
    decode_schema = compile_decoder(schema)

    def decode(value: Any) -> Any:
        for item in value if type(value) is list else (value,):
            if type(item) is dict:
                decode_schema(item)
        return value

    return decode


def _struct(schema: Schema) -> Decoder:  # noqa: C901 (the closure below counts)
    """A Go struct. Of its fields, those in `zeros` are always written, pointers when they are given, others when they
    are not empty."""
    # field -> (decoder, whether an empty value stays); filled at the first use, since schemas may be cyclic.
    fields: dict[str, tuple[Decoder, bool]] = {}
    always: list[tuple[str, Any, Decoder | None]] = []

    # One loop without calls but the fields' own: this is where a pod's decoding time goes.
    def decode(obj: Any) -> Any:  # noqa: C901
        if not fields:
            _fill_struct(schema, fields, always)
        if type(obj) is not dict:
            raise Irregular
        empty = None
        for name, value in obj.items():
            entry = fields.get(name)
            if entry is None:
                raise Irregular
            if value is not None:
                decoded = entry[0](value)
                if decoded is not value:
                    obj[name] = value = decoded
                if value or entry[1]:
                    continue
            if empty is None:
                empty = [name]
            else:
                empty.append(name)
        if empty is not None:
            for name in empty:
                del obj[name]
        for name, zero, decode_zero in always:
            if name not in obj:
                obj[name] = zero if decode_zero is None else decode_zero({})
        return obj

    return decode


def _fill_struct(
    schema: Schema, fields: dict[str, tuple[Decoder, bool]], always: list[tuple[str, Any, Decoder | None]]
) -> None:
    go = schema.go
    assert go is not None
    for name, child in schema.properties.items():
        fields[name] = (compile_decoder(child), name in go.kept or name in go.zeros)
    for name, zero in go.zeros.items():
        always.append((name, zero, fields[name][0] if zero == {} else None))


def _custom_list(items: Schema) -> Decoder:
    decode_item = compile_decoder(items)
    if decode_item is _anything:
        return _anything

    def decode(value: Any) -> Any:
        if type(value) is list:
            for index, item in enumerate(value):
                if item is not None:
                    decoded = decode_item(item)
                    if decoded is not item:
                        value[index] = decoded
        return value

    return decode


def _custom_object(schema: Schema) -> Decoder:
    """An object of a CRD: unknown fields are irregular unless they are preserved, and nulls go unless they may stay."""
    fields = {name: (compile_decoder(child), child.nullable) for name, child in schema.properties.items()}
    additional = schema.additional
    rest: tuple[Decoder, bool] | None = None
    if additional is not None:
        rest = (compile_decoder(additional), additional.nullable)
    elif schema.preserve_unknown:
        rest = (_numbers, True)

    def decode(obj: Any) -> Any:
        if type(obj) is not dict:
            return obj
        nulls = None
        for name, value in obj.items():
            entry = fields.get(name) or rest
            if entry is None:
                raise Irregular
            if value is not None:
                decoded = entry[0](value)
                if decoded is not value:
                    obj[name] = decoded
            elif not entry[1]:
                nulls = [*(nulls or ()), name]
        if nulls is not None:
            for name in nulls:
                del obj[name]
        return obj

    return decode

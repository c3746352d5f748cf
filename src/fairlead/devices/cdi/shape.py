"""Whether plain values have the fields and types of a spec: every deviation, with its path.

The decoder stops at the first mistake; this walk, taken only when it did, finds them all and makes a spec of what is
right, so that the rules can be checked on the rest of the file.
"""

from __future__ import annotations

import difflib
from typing import Any, cast

import msgspec
from msgspec import inspect

from fairlead.devices.cdi.errors import Problem
from fairlead.devices.cdi.spec import Spec

_SPEC_TYPE = cast(inspect.StructType, inspect.type_info(Spec))
_MISSING = object()
_DROPPED = {"enableCMT": "schemata and enableMonitoring", "enableMBM": "schemata and enableMonitoring"}
_NAMES = {str: "text", bool: "a boolean", int: "a number", float: "a number with a fraction", list: "a list"}


def read_shape(data: Any) -> tuple[Spec | None, list[Problem]]:
    """A spec of the values that have the right form, and what is wrong with the others. No spec where the whole is of
    another type."""
    if not isinstance(data, dict):
        return None, [Problem("", f"expected an object with cdiVersion, kind and devices, got {_name(data)}")]
    problems: list[Problem] = []
    return msgspec.convert(_struct(data, _SPEC_TYPE, "", problems), Spec), problems


def _value(data: Any, wanted: inspect.Type, path: str, found: list[Problem]) -> Any:
    """The value as far as it has the right form, or _MISSING."""
    if isinstance(wanted, inspect.UnionType):
        wanted = next(kind for kind in wanted.types if not isinstance(kind, inspect.NoneType))
    if isinstance(wanted, inspect.StructType) and isinstance(data, dict):
        return _struct(data, wanted, path, found)
    if isinstance(wanted, inspect.ListType) and isinstance(data, list):
        items = [_value(item, wanted.item_type, f"{path}[{index}]", found) for index, item in enumerate(data)]
        return [_empty(wanted.item_type) if item is _MISSING else item for item in items]
    if isinstance(wanted, inspect.DictType) and isinstance(data, dict):
        pairs = {key: _value(item, wanted.value_type, f"{path}.{key}", found) for key, item in data.items()}
        return {key: item for key, item in pairs.items() if item is not _MISSING}
    if _is_scalar(data, wanted):
        return data
    found.append(Problem(path, _mismatch(data, wanted)))
    return _MISSING


def _struct(data: dict[str, Any], wanted: inspect.StructType, path: str, found: list[Problem]) -> dict[str, Any]:
    """The fields that have the right form. One that is null is absent, as in the reference implementation."""
    fields = {field.encode_name: field for field in wanted.fields}
    result = {}
    for key, item in data.items():
        at = f"{path}.{key}" if path else key
        field = fields.get(key)
        if field is None:
            found.append(Problem(at, _unknown(key, list(fields))))
            continue
        if item is None:
            continue
        value = _value(item, field.type, at, found)
        if value is not _MISSING:
            result[key] = value
    for name, field in fields.items():
        if field.required and name not in result:
            if data.get(name) is None:
                found.append(Problem(f"{path}.{name}" if path else name, "the field is missing"))
            result[name] = _empty(field.type)
    return result


def _empty(wanted: inspect.Type) -> Any:
    """A stand-in for a value that is missing or wrong; what the rules say about it is dropped."""
    if isinstance(wanted, inspect.StructType):
        return {field.encode_name: _empty(field.type) for field in wanted.fields if field.required}
    if isinstance(wanted, inspect.ListType):
        return []
    return 0 if isinstance(wanted, inspect.IntType) else ""


def _is_scalar(data: Any, wanted: inspect.Type) -> bool:
    if isinstance(wanted, inspect.StrType):
        return isinstance(data, str)
    if isinstance(wanted, inspect.BoolType):
        return isinstance(data, bool)
    return isinstance(wanted, inspect.IntType) and isinstance(data, int) and not isinstance(data, bool)


def _mismatch(data: Any, wanted: inspect.Type) -> str:
    message = f"expected {_wanted_name(wanted)}, got {_name(data)}"
    if isinstance(wanted, inspect.StrType) and isinstance(data, int | float):
        return f"{message}; put it in quotes"
    return message


def _wanted_name(wanted: inspect.Type) -> str:
    if isinstance(wanted, inspect.StrType):
        return "text"
    if isinstance(wanted, inspect.BoolType):
        return "a boolean"
    if isinstance(wanted, inspect.IntType):
        return "a whole number"
    return "a list" if isinstance(wanted, inspect.ListType) else "an object"


def _name(data: Any) -> str:
    if data is None:
        return "null"
    shown = "" if isinstance(data, dict | list) else f" ({str(data)[:40]})"
    return _NAMES.get(type(data), "an object") + shown


def _unknown(key: str, known: list[str]) -> str:
    if key in _DROPPED:
        return f"unknown field: 1.1.0 dropped it in favour of {_DROPPED[key]}"
    near = next((name for name in known if name.lower() == key.lower()), "")
    near = near or next(iter(difflib.get_close_matches(key, known, n=1)), "")
    return f"unknown field; did you mean {near}?" if near else f"unknown field; expected one of {', '.join(known)}"

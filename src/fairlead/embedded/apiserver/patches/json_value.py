"""Decoded JSON as the API server's Go code sees it: deep copies, and printing inside error messages."""

from __future__ import annotations

import json
from typing import Any


def clone(value: Any) -> Any:
    """A deep copy of decoded JSON; scalars are shared."""
    kind = type(value)
    if kind is dict:
        return {k: clone(v) if type(v) is dict or type(v) is list else v for k, v in value.items()}
    if kind is list:
        return [clone(v) if type(v) is dict or type(v) is list else v for v in value]
    return value


def go_print(value: Any) -> str:
    """Go's `%v` of decoded JSON: `map[a:1 b:[x y]]`, keys sorted, strings bare."""
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return go_float(value)
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{go_print(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(go_print, value)) + "]"
    return str(value)


def go_syntax(value: Any) -> str:
    """Go's `%#v` of decoded JSON: `map[string]interface {}{"a":1}`."""
    if value is None:
        return "interface {}(nil)"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        inner = ", ".join(f"{json.dumps(key, ensure_ascii=False)}:{go_syntax(value[key])}" for key in sorted(value))
        return "map[string]interface {}{" + inner + "}"
    if isinstance(value, list):
        return "[]interface {}{" + ", ".join(map(go_syntax, value)) + "}"
    return go_print(value)


def go_type(value: Any) -> str:
    """Go's `%T` of decoded JSON."""
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int):
        return "int64"
    if isinstance(value, float):
        return "float64"
    return "map[string]interface {}" if isinstance(value, dict) else "[]interface {}"


def go_float(value: float) -> str:
    """Go's `%v` of a float64: the shortest form, with an exponent below 1e-4 and from 1e21 on."""
    if value == int(value) and abs(value) < 1e21:
        return str(int(value))
    mantissa, _, exponent = repr(value).partition("e")
    if not exponent:
        return mantissa
    sign, digits = exponent[0] if exponent[0] in "+-" else "+", exponent.lstrip("+-")
    return f"{mantissa}e{sign}{digits.zfill(2)}"


def cannot_unmarshal(value: Any, wanted: str) -> str:
    """Go's error for JSON that does not go into a type."""
    if isinstance(value, bool):
        kind = "bool"
    elif isinstance(value, int | float):
        kind = "number"
    elif isinstance(value, str):
        kind = "string"
    else:
        kind = "object" if isinstance(value, dict) else "array"
    return f"json: cannot unmarshal {kind} into Go value of type {wanted}"

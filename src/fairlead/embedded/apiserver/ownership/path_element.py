"""Path elements in their FieldsV1 spelling, and what they look like to people.

`f:<name>` a field, `k:<JSON object>` the list item with these keys, `v:<JSON>` the set item with this value,
`i:<index>` a list item by position. Elements stay strings everywhere, so that sets of fields need no conversion.
Source of protocol: `meta/v1` FieldsV1 and structured-merge-diff's serialisation.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

MEMBER = "."
"""Marks, inside a FieldsV1 node with children, that the node itself belongs to the set."""

_ESCAPES = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"})


def encode_json(value: Any) -> str:
    """Compact JSON as Go writes it (HTML characters escaped, whole floats without a fraction)."""
    if type(value) is float and value.is_integer() and abs(value) < 1e21:
        value = int(value)
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=True).translate(_ESCAPES)


@lru_cache(maxsize=16384, typed=True)
def key_member(name: str, value: str | int | float | bool | None) -> str:
    """One member of a `k:` element's JSON object."""
    return f"{encode_json(name)}:{encode_json(value)}"


@lru_cache(maxsize=4096, typed=True)
def value_element(value: str | int | float | bool) -> str:
    return "v:" + encode_json(value)


@lru_cache(maxsize=65536)
def sort_key(element: str) -> tuple[Any, ...]:
    """Canonical order of the elements of one node: fields, keys, values, indices, each in their own order."""
    kind, rest = element[:2], element[2:]
    if kind == "f:":
        return (0, rest)
    if kind == "k:":
        return (1, tuple((name, _ranked(value)) for name, value in sorted(json.loads(rest).items())))
    if kind == "v:":
        return (2, _ranked(json.loads(rest)))
    return (3, int(rest)) if kind == "i:" else (-1,)


def _ranked(value: Any) -> tuple[Any, ...]:
    """Numbers before strings before booleans before lists before objects before null."""
    if isinstance(value, bool):
        return (2, value)
    if isinstance(value, int | float):
        return (0, value)
    if isinstance(value, str):
        return (1, value)
    if isinstance(value, list):
        return (3, tuple(map(_ranked, value)))
    if isinstance(value, dict):
        return (4, tuple((key, _ranked(item)) for key, item in sorted(value.items())))
    return (5,)


@lru_cache(maxsize=16384)
def describe(element: str) -> str:
    """The element as conflict messages and field paths show it: `.name`, `[name="c"]`, `[="x"]`, `[0]`."""
    kind, rest = element[:2], element[2:]
    if kind == "f:":
        return "." + rest
    if kind == "k:":
        members = sorted(json.loads(rest).items())
        return "[" + ",".join(f"{name}={_describe_value(value)}" for name, value in members) + "]"
    if kind == "v:":
        return f"[={_describe_value(json.loads(rest))}]"
    return f"[{rest}]"


def _describe_value(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def check_element(element: str) -> None:
    """Raises ValueError for a string that is no path element."""
    kind, rest = element[:2], element[2:]
    if kind == "k:":
        if not isinstance(json.loads(rest), dict):
            raise ValueError(f"not a JSON object: {rest}")
    elif kind == "v:":
        json.loads(rest)
    elif kind == "i:":
        int(rest)
    elif kind != "f:":
        raise ValueError(f"unknown path element: {element}")


@lru_cache(maxsize=16384)
def canonical_element(element: str) -> str:
    """The one spelling of an element that this server writes; raises ValueError for what is none."""
    check_element(element)
    kind, rest = element[:2], element[2:]
    if kind == "k:":
        return "k:{" + ",".join(key_member(n, v) for n, v in sorted(json.loads(rest).items())) + "}"
    if kind == "v:":
        return value_element(json.loads(rest))
    return element

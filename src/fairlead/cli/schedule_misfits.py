"""Where a document differs from its kind's schema: field, value and what is expected there, in a person's words.

The API server's own errors name Go types and, for quantities, no field at all.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from fairlead.embedded.apiserver.schema.node import Schema
from fairlead.kube.quantity import parse_quantity

_UNKNOWN: Final = re.compile(r'unknown field "(.*)"')
_EXPECTED: Final[Mapping[str, tuple[str, type | tuple[type, ...]]]] = {
    "string": ("a text", str),
    "integer": ("a whole number", int),
    "boolean": ("true or false", bool),
    "number": ("a number", (int, float)),
    "array": ("a list", list),
    "object": ("a mapping", dict),
}
_SHOWN: Final = 60


def misfits(value: Any, schema: Schema, path: str = "") -> Iterator[str]:
    """A sentence for each value of another type than its field's, and for each amount that is no quantity."""
    if value is None:
        return
    if schema.format == "quantity":
        if not _is_quantity(value):
            yield f'{path}: {_show(value)} is no quantity; write a number such as "2", "500m" or "16Gi"'
        return
    if schema.format == "int-or-string" or schema.preserve_unknown or not schema.type:
        return
    expected, types = _EXPECTED[schema.type]
    if not isinstance(value, types) or (isinstance(value, bool) and schema.type != "boolean"):
        hint = "; put it in quotes" if schema.type == "string" and not isinstance(value, dict | list) else ""
        yield f"{path}: expected {expected}, found {_show(value)}{hint}"
        return
    yield from _inside(value, schema, path)


def _inside(value: Any, schema: Schema, path: str) -> Iterator[str]:
    if isinstance(value, list) and schema.items is not None:
        for number, item in enumerate(value):
            yield from misfits(item, schema.items, f"{path}[{number}]")
    elif isinstance(value, Mapping):
        for name, item in value.items():
            child = schema.properties.get(name)
            if child is not None:
                yield from misfits(item, child, f"{path}.{name}" if path else str(name))
            elif schema.additional is not None:
                yield from misfits(item, schema.additional, f"{path}[{name}]")


def tell_unknown(errors: Iterable[str], schema: Schema) -> list[str]:
    """The server's strict errors, those about fields that are not there with the field that may be meant."""
    told = []
    for error in errors:
        matched = _UNKNOWN.fullmatch(error)
        if matched is None:
            told.append(error)
            continue
        parent, _, name = matched[1].rpartition(".")
        near = difflib.get_close_matches(name, _fields(schema, parent), n=2, cutoff=0.6)
        hint = f"did you mean {' or '.join(near)}?" if near else "leave it out"
        told.append(f"{matched[1]}: there is no such field; {hint}")
    return told


def _fields(schema: Schema, path: str) -> list[str]:
    node: Schema | None = schema
    for part in filter(None, re.split(r"\.|\[\d+\]", path)):
        node = None if node is None else node.properties.get(part) or node.additional
        while node is not None and node.items is not None and not node.properties:
            node = node.items
    return list(node.properties) if node is not None else []


def _is_quantity(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return False
    try:
        parse_quantity(str(value))
    except ValueError:
        return False
    return True


def _show(value: Any) -> str:
    text = f'"{value}"' if isinstance(value, str) else repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"

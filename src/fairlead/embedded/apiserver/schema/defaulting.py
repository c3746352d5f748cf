"""Structural defaults: what a schema's `default` fills in, for built-in kinds and CRDs alike.

A default goes where a field is absent, or null and not nullable. Defaults inside lists and maps apply to each item that
is there; nothing is made for the sake of a default further inside.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from fairlead.embedded.apiserver.schema.node import UNSET, Schema

Defaulter = Callable[[Any], None]

_SCALARS = (str, int, float, bool, type(None))


def apply_defaults(obj: Any, schema: Schema) -> None:
    """Fill defaults in place, recursively."""
    defaulter = compile_defaulter(schema)
    if defaulter is not None:
        defaulter(obj)


def compile_defaulter(schema: Schema) -> Defaulter | None:
    """The closure of a node, memoised on the node; None where nothing below has a default."""
    memo = schema.defaulter
    if memo is UNSET:
        schema.defaulter = memo = _compile(schema) if _has_defaults(schema, set()) else None
    return memo  # type: ignore[no-any-return]


def _has_defaults(schema: Schema, seen: set[int]) -> bool:
    """Whether a default stands below the node (not on it)."""
    if id(schema) in seen:
        return False
    seen.add(id(schema))
    children = [*schema.properties.values(), *filter(None, (schema.items, schema.additional))]
    if any(child.default is not UNSET for child in schema.properties.values()):
        return True
    if schema.additional is not None and schema.additional.default is not UNSET:
        return True
    return any(_has_defaults(child, seen) for child in children)


def _compile(schema: Schema) -> Defaulter:
    if schema.items is not None and schema.type != "object":
        return _list(schema.items)
    return _object(schema)


def _list(items: Schema) -> Defaulter:
    def apply(value: Any) -> None:
        item_defaulter = compile_defaulter(items)
        if type(value) is list and item_defaulter is not None:
            for item in value:
                item_defaulter(item)

    return apply


def _object(schema: Schema) -> Defaulter:
    defaults = [
        (name, child.default, type(child.default) in _SCALARS, child.nullable)
        for name, child in schema.properties.items()
        if child.default is not UNSET
    ]
    additional = schema.additional
    # Children are compiled at the first use, since built-in schemas may be cyclic.
    nested: dict[str, Defaulter] | None = None

    def apply(value: Any) -> None:
        nonlocal nested
        if type(value) is not dict:
            return
        if nested is None:
            nested = _nested(schema)
        for name, default, is_scalar, nullable in defaults:
            if name not in value or (value[name] is None and not nullable):
                value[name] = default if is_scalar else copy.deepcopy(default)
        for name, child in nested.items():
            if name in value:
                child(value[name])
        if additional is not None:
            _apply_to_values(value, schema, additional)

    return apply


def _nested(schema: Schema) -> dict[str, Defaulter]:
    compiled = {name: compile_defaulter(child) for name, child in schema.properties.items()}
    return {name: defaulter for name, defaulter in compiled.items() if defaulter is not None}


def _apply_to_values(value: dict[str, Any], schema: Schema, additional: Schema) -> None:
    defaulter = compile_defaulter(additional)
    replaces_null = additional.default is not UNSET and not additional.nullable
    for name, item in value.items():
        if name in schema.properties:
            continue
        if item is None and replaces_null:
            value[name] = item = copy.deepcopy(additional.default)
        if defaulter is not None:
            defaulter(item)

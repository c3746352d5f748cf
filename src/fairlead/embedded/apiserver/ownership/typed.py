"""How a schema node types a value for ownership: object, associative list, or leaf; and the path element of list items.

Where a schema says nothing (preserved unknown fields, untyped nodes), types follow from the values: objects are
granular, lists atomic.
"""

from __future__ import annotations

from typing import Any

from fairlead.embedded.apiserver.ownership.path_element import key_member, value_element
from fairlead.embedded.apiserver.schema.node import UNSET, Schema

UNTYPED = Schema()
"""The node of values that have no schema of their own."""

RAW = "runtime.RawExtension"
"""Go type of embedded objects that nobody looks into: they are owned as a whole."""


class ElementError(ValueError):
    """A list item that has no path element: the message says why."""


def child_schema(schema: Schema, key: str) -> Schema | None:
    """The node of an object's member; None for a member that the schema does not declare."""
    child = schema.properties.get(key)
    if child is not None:
        return child
    if schema.additional is not None:
        return schema.additional
    return None if schema.properties and not schema.preserve_unknown else UNTYPED


def is_granular_object(schema: Schema) -> bool:
    if schema.map_atomic or (schema.preserve_unknown and schema.go_type == RAW):
        return False
    return schema.type == "object" or not schema.type


def is_associative_list(schema: Schema) -> bool:
    return schema.list_type != "atomic" and schema.type == "array"


def item_element(item: Any, schema: Schema) -> str:
    """The path element of an item of an associative list (`schema` is the list's). Raises ElementError."""
    if schema.list_type == "set":
        return _set_element(item)
    if type(item) is not dict:
        if item is None:
            raise ElementError("associative list with keys may not have a null element")
        raise ElementError("associative list with keys may not have non-map elements")
    keys = schema.list_keys
    if len(keys) == 1 and keys[0] in item:
        return f"k:{{{_member(keys[0], item[keys[0]])}}}"
    members = [_member(key, value) for key in sorted(keys) if (value := _key_value(item, key, schema)) is not None]
    if keys and not members:
        shown = " ".join(f'"{key}"' for key in keys)
        raise ElementError(
            f"associative list with keys has an element that omits all key fields [{shown}] "
            "(and doesn't have default values for any key fields)"
        )
    return "k:{" + ",".join(members) + "}"


def _member(key: str, value: Any) -> str:
    if type(value) is dict or type(value) is list:
        raise ElementError("associative list with keys may not have non-scalar keys")
    return key_member(key, value)


def _key_value(item: dict[str, Any], key: str, schema: Schema) -> Any:
    if key in item:
        return item[key]
    items = schema.items or UNTYPED
    child = items.properties.get(key)
    if child is not None and child.default is not UNSET:
        return child.default
    # Where the kind's Go struct always writes the key, its zero value stands for absence.
    return items.go.zeros.get(key) if items.go is not None else None


def _set_element(item: Any) -> str:
    if type(item) is dict:
        raise ElementError("associative list without keys has an element that's a map type")
    if type(item) is list:
        raise ElementError("not supported: associative list with lists as elements")
    if item is None:
        raise ElementError("associative list without keys has an element that's an explicit null")
    return value_element(item)

"""An applied configuration laid over the live object, and items taken out of an object again.

Source of protocol: structured-merge-diff. Order of associative lists: as the live list has it where the configuration
names nothing new, as the configuration has it where it does.
"""

from __future__ import annotations

from typing import Any

from fairlead.embedded.apiserver.ownership.fieldset import Tree
from fairlead.embedded.apiserver.ownership.path_element import MEMBER
from fairlead.embedded.apiserver.ownership.typed import (
    UNTYPED,
    ElementError,
    child_schema,
    is_associative_list,
    is_granular_object,
    item_element,
)
from fairlead.embedded.apiserver.schema.node import Schema

_NOTHING: Any = object()


def merge(live: Any, applied: Any, schema: Schema) -> Any:
    """The live value with everything that the applied one names. Shares parts with both. Raises ElementError."""
    if applied is _NOTHING:
        return live
    if live is _NOTHING:
        return applied
    if is_granular_object(schema) and _both(dict, live, applied) and (live or applied):
        return _merge_members(live or {}, applied or {}, schema)
    if is_associative_list(schema) and _both(list, live, applied) and (live or applied):
        return _merge_items(live or [], applied or [], schema)
    return applied


def _both(kind: type, *values: Any) -> bool:
    """Whether all values are of a kind; null stands for any, but not for all."""
    return all(value is None or type(value) is kind for value in values) and any(type(v) is kind for v in values)


def _merge_members(live: dict[str, Any], applied: dict[str, Any], schema: Schema) -> dict[str, Any]:
    merged = dict(live)
    for key, value in applied.items():
        if key in live:
            value = merge(live[key], value, child_schema(schema, key) or UNTYPED)
        merged[key] = value
    return merged


def _merge_items(live: list[Any], applied: list[Any], schema: Schema) -> list[Any]:
    items = schema.items or UNTYPED
    old_order = [item_element(item, schema) for item in live]
    new_order = [item_element(item, schema) for item in applied]
    old, new = _unique(live, old_order), dict(zip(new_order, applied, strict=True))
    shared = [element for element in new_order if element in old]
    merged: dict[str, Any] = {}
    out: list[Any] = []
    left = right = 0

    def take_applied() -> None:
        nonlocal right
        element = new_order[right]
        merged[element] = True
        out.append(merge(old.get(element, _NOTHING), new[element], items))
        if shared and shared[0] == element:
            shared.pop(0)
        right += 1

    while left < len(old_order) or right < len(new_order):
        if left < len(old_order):
            element = old_order[left]
            if right < len(new_order):
                if element == new_order[right]:
                    take_applied()
                    left += 1
                    continue
                if element in new and shared and shared[0] != element:
                    # A shared item whose turn has not come: it is taken where the configuration has it.
                    left += 1
                    continue
            if element not in new:
                out.append(live[left])
                left += 1
                continue
            if element in merged:
                left += 1
        if right < len(new_order):
            take_applied()
    return out


def _unique(items: list[Any], order: list[str]) -> dict[str, Any]:
    """Items by element; None for duplicates, which do not merge with what is applied."""
    found: dict[str, Any] = {}
    for element, item in zip(order, items, strict=True):
        found[element] = _NOTHING if element in found else item
    return found


def remove(value: Any, fields: Tree, schema: Schema) -> Any:
    """The value without the members that `fields` holds; containers that are not members themselves stay, empty."""
    if not fields:
        return value
    if type(value) is dict and is_granular_object(schema):
        return _remove_members(value, fields, schema)
    if type(value) is list and is_associative_list(schema):
        return _remove_items(value, fields, schema)
    return value


def _remove_members(value: dict[str, Any], fields: Tree, schema: Schema) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, item in value.items():
        node = fields.get("f:" + key)
        if node is None:
            kept[key] = item
        elif node and MEMBER not in node:
            kept[key] = remove(item, node, child_schema(schema, key) or UNTYPED)
    return kept


def _remove_items(value: list[Any], fields: Tree, schema: Schema) -> list[Any]:
    kept: list[Any] = []
    for item in value:
        try:
            node = fields.get(item_element(item, schema))
        except ElementError:
            node = None
        if node is None:
            kept.append(item)
        elif node and MEMBER not in node:
            kept.append(remove(item, node, schema.items or UNTYPED))
    return kept


def with_declared_parents(fields: Tree, schema: Schema) -> Tree:
    """`fields` plus the declared objects and lists above its members, but not the keys of maps."""
    result: Tree = {}
    for element, below in fields.items():
        if element == MEMBER:
            continue
        declared = False
        if element.startswith("f:"):
            child = child_schema(schema, element[2:]) or UNTYPED
            declared = element[2:] in schema.properties and is_granular_object(schema)
        else:
            child = schema.items or UNTYPED
        member = declared or not below or MEMBER in below
        deeper = with_declared_parents(below, child)
        result[element] = {MEMBER: {}, **deeper} if member and deeper else deeper
    return result

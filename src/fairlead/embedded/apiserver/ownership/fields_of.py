"""The fields of an object: those that an applied configuration names, and those that a create brings into being.

Source of protocol: structured-merge-diff. An apply owns leaves and list items, never the objects that hold them; a
create or update also owns the objects and lists that it made appear.
"""

from __future__ import annotations

from typing import Any

from fairlead.embedded.apiserver.ownership.fieldset import FieldSet, Tree
from fairlead.embedded.apiserver.ownership.path_element import MEMBER, sort_key
from fairlead.embedded.apiserver.ownership.typed import (
    UNTYPED,
    ElementError,
    child_schema,
    is_associative_list,
    is_granular_object,
    item_element,
)
from fairlead.embedded.apiserver.schema.node import Schema

_NO_ZEROS: dict[str, Any] = {}


def fields_of(value: dict[str, Any], schema: Schema) -> FieldSet:
    """Leaves and list items of an object. List items that have no path element are left out."""
    return FieldSet(_fields(value, schema))


def _fields(value: Any, schema: Schema) -> Tree:
    """Members below `value`; the caller decides whether `value` itself is one."""
    if type(value) is dict and is_granular_object(schema):
        tree: Tree = {}
        for key in sorted(value):
            item = value[key]
            child = child_schema(schema, key) or UNTYPED
            below = _fields(item, child)
            if not below:
                if _is_member(item, child, declared=key in schema.properties):
                    tree["f:" + key] = below
            else:
                tree["f:" + key] = below if key in schema.properties else {MEMBER: {}, **below}
        return tree
    if type(value) is list and is_associative_list(schema):
        return _item_fields(value, schema)
    return {}


def _is_member(value: Any, schema: Schema, *, declared: bool) -> bool:
    """Whether a field that has no members below it is one itself: all are, but for declared containers of nothing."""
    if not declared:
        return True
    if type(value) is list:
        return bool(value) or not is_associative_list(schema)
    return not (type(value) is dict and value and is_granular_object(schema))


def _item_fields(items: list[Any], schema: Schema) -> Tree:
    tree: Tree = {}
    duplicates = set()
    for item in items:
        try:
            element = item_element(item, schema)
        except ElementError:
            continue
        if element in tree:
            duplicates.add(element)
        below = _fields(item, schema.items or UNTYPED)
        tree[element] = {MEMBER: {}, **below} if below else below
    for element in duplicates:
        tree[element] = {}
    return _in_order(tree)


def all_fields(value: Any, schema: Schema) -> Tree:
    """The node of a value that appeared (or went) as a whole: itself and everything below it, in canonical order.

    Raises ElementError for a list item that has no path element.
    """
    if type(value) is dict:
        if not value or not is_granular_object(schema):
            return {}
        tree: Tree = {MEMBER: {}}
        properties = schema.properties
        for key in sorted(value):
            item = value[key]
            if type(item) is dict or type(item) is list:
                child = properties.get(key) or child_schema(schema, key) or UNTYPED
                tree["f:" + key] = all_fields(item, child)
            else:
                tree["f:" + key] = {}
        return tree
    if type(value) is list and value and is_associative_list(schema):
        return {MEMBER: {}, **_all_items(value, schema)}
    return {}


def _all_items(items: list[Any], schema: Schema) -> Tree:
    item_schema = schema.items or UNTYPED
    tree: Tree = {}
    duplicates = set()
    for item in items:
        element = item_element(item, schema)
        if element in tree:
            duplicates.add(element)
        else:
            tree[element] = all_fields(item, item_schema)
    for element in duplicates:
        tree[element] = {}
    return _in_order(tree)


def _in_order(tree: Tree) -> Tree:
    return {element: tree[element] for element in sorted(tree, key=sort_key)} if len(tree) > 1 else tree


def created_fields(value: dict[str, Any], schema: Schema) -> Tree:
    """Members below an object that was compared with the zero value of its type, in canonical order.

    A built-in kind never starts from nothing: embedded structs and fields without `omitempty` are there from the
    beginning with their zero values, so a create owns what is in them but not them. A custom resource does start from
    nothing.
    """
    tree: Tree = {}
    properties = schema.properties
    zeros = schema.go.zeros if schema.go is not None else _NO_ZEROS
    for key in sorted(value):
        item = value[key]
        child = properties.get(key) or child_schema(schema, key) or UNTYPED
        if key not in zeros:
            tree["f:" + key] = all_fields(item, child)
        elif item == zeros[key]:
            continue
        elif zeros[key] == {} and type(item) is dict and is_granular_object(child):
            if below := created_fields(item, child):
                tree["f:" + key] = below
        else:
            below = all_fields(item, child)
            below.pop(MEMBER, None)
            tree["f:" + key] = below
    return tree

"""What changed between two versions of an object, field by field (structured-merge-diff's comparison)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fairlead.embedded.apiserver.ownership.fields_of import all_fields
from fairlead.embedded.apiserver.ownership.fieldset import FieldSet, Tree, ordered
from fairlead.embedded.apiserver.ownership.path_element import MEMBER
from fairlead.embedded.apiserver.ownership.typed import (
    UNTYPED,
    child_schema,
    is_associative_list,
    is_granular_object,
    item_element,
)
from fairlead.embedded.apiserver.schema.node import Schema


@dataclass(frozen=True, slots=True)
class Comparison:
    """Disjoint sets: paths only the new object has, paths whose value differs, paths only the old object had."""

    added: FieldSet
    modified: FieldSet
    removed: FieldSet


def compare(old: dict[str, Any], new: dict[str, Any], schema: Schema) -> Comparison:
    """Compare two objects of one kind. Raises ElementError for a list item that has no path element."""
    changes = _Changes()
    if old != new:
        _compare(old, new, schema, changes)
    return Comparison(*(FieldSet(ordered(tree)) for tree in (changes.added, changes.modified, changes.removed)))


class _Changes:
    """The members below one node, by kind of change."""

    __slots__ = ("added", "modified", "removed")

    def __init__(self) -> None:
        self.added: Tree = {}
        self.modified: Tree = {}
        self.removed: Tree = {}

    def take(self, element: str, below: _Changes) -> None:
        if below.added:
            self.added[element] = below.added
        if below.removed:
            self.removed[element] = below.removed
        if below.modified:
            modified = below.modified
            self.modified[element] = {} if len(modified) == 1 and MEMBER in modified else modified


def _compare(old: Any, new: Any, schema: Schema, changes: _Changes) -> None:
    """Note the changes below two unequal values; "." in `changes.modified` stands for the values themselves."""
    old_kind, new_kind = _kind(old, schema), _kind(new, schema)
    if old is None:
        old_kind = new_kind
    elif new is None:
        new_kind = old_kind
    if old_kind is new_kind:
        if old_kind is dict and (old or new):
            _compare_members(old or {}, new or {}, schema, changes)
        elif old_kind is list and (old or new):
            _compare_items(old or [], new or [], schema, changes)
        else:
            changes.modified[MEMBER] = {}
        return
    for kind, value, target in ((old_kind, old, changes.removed), (new_kind, new, changes.added)):
        if kind is None or not value:
            changes.modified[MEMBER] = {}
        else:
            below = all_fields(value, schema)
            below.pop(MEMBER, None)
            target.update(below)


def _kind(value: Any, schema: Schema) -> type[dict[str, Any]] | type[list[Any]] | None:
    """dict or list for what is compared by its members, None for a leaf."""
    if type(value) is dict:
        return dict if is_granular_object(schema) else None
    if type(value) is list:
        return list if is_associative_list(schema) else None
    return None


def _compare_members(old: dict[str, Any], new: dict[str, Any], schema: Schema, changes: _Changes) -> None:
    for key, item in new.items():
        if key not in old:
            changes.added["f:" + key] = all_fields(item, child_schema(schema, key) or UNTYPED)
        elif (before := old[key]) != item:
            below = _Changes()
            _compare(before, item, child_schema(schema, key) or UNTYPED, below)
            changes.take("f:" + key, below)
    for key, item in old.items():
        if key not in new:
            changes.removed["f:" + key] = all_fields(item, child_schema(schema, key) or UNTYPED)


def _compare_items(old: list[Any], new: list[Any], schema: Schema, changes: _Changes) -> None:
    item_schema = schema.items or UNTYPED
    olds, news = _by_element(old, schema), _by_element(new, schema)
    for element in olds | news:
        before, after = olds.get(element, []), news.get(element, [])
        if before == after:
            continue
        if len(before) > 1 and len(after) > 1:
            changes.modified[element] = {}
        elif len(before) > 1:
            # Duplicates are owned as one leaf; an item that is unique again is owned field by field.
            if after:
                changes.added[element] = all_fields(after[0], item_schema)
            changes.removed[element] = {}
        elif len(after) > 1:
            if before:
                changes.removed[element] = all_fields(before[0], item_schema)
            changes.added[element] = {}
        elif not before:
            changes.added[element] = all_fields(after[0], item_schema)
        elif not after:
            changes.removed[element] = all_fields(before[0], item_schema)
        else:
            below = _Changes()
            _compare(before[0], after[0], item_schema, below)
            changes.take(element, below)


def _by_element(items: list[Any], schema: Schema) -> dict[str, list[Any]]:
    grouped: dict[str, list[Any]] = {}
    for item in items:
        grouped.setdefault(item_element(item, schema), []).append(item)
    return grouped

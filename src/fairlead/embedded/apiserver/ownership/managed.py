"""Who owns which fields of an object: `metadata.managedFields` after a create, update or non-apply patch.

Where in a request this happens is part of the result: after decoding, defaulting and patching, before admission and
before the strategy resets what the request may not change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairlead.embedded.apiserver.ownership.compare import compare
from fairlead.embedded.apiserver.ownership.entries import (
    UPDATE,
    ManagerId,
    Managers,
    Owned,
    decode_entries,
    encode_entries,
    encode_entry,
    fold_oldest_updates,
    manager_id,
    stored_managers,
)
from fairlead.embedded.apiserver.ownership.fields_of import created_fields
from fairlead.embedded.apiserver.ownership.fieldset import FieldSet, Tree
from fairlead.embedded.apiserver.ownership.path_element import MEMBER
from fairlead.embedded.apiserver.ownership.reconcile import Versions, of_known_versions, reconcile
from fairlead.embedded.apiserver.ownership.typed import ElementError
from fairlead.embedded.apiserver.schema.node import Schema

Object = dict[str, Any]
FieldPaths = Sequence[Sequence[str]]
"""Paths of plain field names: `(("status",), ("metadata", "deletionTimestamp"))`."""

_UNOWNED_METADATA = (
    "name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation", "managedFields",
    "resourceVersion",
)  # fmt: skip
_UNOWNED = FieldSet.of_fields(
    [("apiVersion",), ("kind",), ("metadata",), *(("metadata", name) for name in _UNOWNED_METADATA)]
)


class FieldFilter:
    """Which fields a request may own: not those that its strategy resets, or only some."""

    __slots__ = ("_only", "_reset")

    def __init__(self, reset_fields: FieldPaths = (), only_fields: FieldPaths = ()) -> None:
        self._reset = FieldSet.of_fields(reset_fields)
        self._only = FieldSet.of_fields(only_fields)

    def __call__(self, fields: FieldSet) -> FieldSet:
        if self._reset and fields:
            fields = fields.recursive_difference(self._reset)
        if self._only and fields:
            fields = fields.only_below(self._only)
        return fields


def record_update(
    new: Object,
    old: Object | None,
    schema: Schema,
    *,
    manager: str,
    api_version: str,
    subresource: str = "",
    now: str,
    reset_fields: FieldPaths = (),
    only_fields: FieldPaths = (),
    versions: Versions | None = None,
) -> None:
    """Set `new["metadata"]["managedFields"]` to what it is after a create (`old` is None), update or patch.

    `new` may carry entries that the client sent: they count unless they are malformed, omitted or for a subresource;
    one empty entry, or none in a list, clears all. `reset_fields` are those that the request cannot change;
    `only_fields`, where given, are the only ones that it can. `versions` are the schemas of all versions of a kind that
    has several with different schemas. `now` is RFC 3339. When nothing but times would change,
    the old times stay, so that an update without effect leaves the object equal to `old`. Never raises.
    """
    metadata = new["metadata"]
    sent = metadata.pop("managedFields", None)
    allowed = FieldFilter(reset_fields, only_fields)
    kept = old["metadata"].get("managedFields") if old is not None else None
    if old is None and not sent:
        entries = _created_entries(new, schema, manager_id(manager, UPDATE, api_version, subresource), now, allowed)
    else:
        before = _starting_entries(sent, kept, subresource)
        try:
            managers = _after_update(
                new, old, schema, stored_managers(before),
                manager_id(manager, UPDATE, api_version, subresource), now, allowed, api_version, versions,
            )  # fmt: skip
        except ValueError:
            # Entries that may be wrong are worse than none: the object is tracked again from its next apply on.
            entries = []
        else:
            entries = before if managers is None else encode_entries(managers)
    if not entries:
        return
    metadata["managedFields"] = entries
    if old is not None:
        keep_times_if_unchanged(new, old)


def keep_times_if_unchanged(new: Object, old: Object) -> None:
    """Give `new` the old entries where the two objects differ in nothing but their entries' times."""
    new_entries, old_entries = new["metadata"].get("managedFields"), old["metadata"].get("managedFields")
    if not new_entries or not old_entries or len(new_entries) != len(old_entries):
        return
    if all(_timeless(a) == _timeless(b) for a, b in zip(new_entries, old_entries, strict=True)) and _without_entries(
        new
    ) == _without_entries(old):
        new["metadata"]["managedFields"] = old_entries


def _timeless(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != "time"}


def _without_entries(obj: Object) -> Object:
    kept = {k: v for k, v in obj["metadata"].items() if k not in ("managedFields", "resourceVersion")}
    return {**obj, "metadata": kept}


def _starting_entries(sent: Any, kept: Any, subresource: str) -> list[Any]:
    """The entries that the update starts from: the client's, or the stored ones."""
    kept = kept or []
    if subresource or sent is None:
        return list(kept)
    if not sent or (isinstance(sent, list) and len(sent) == 1 and _is_blank(sent[0])):
        return []
    if sent == kept:
        return list(kept)
    try:
        return encode_entries(decode_entries(sent))
    except (ValueError, TypeError):
        return list(kept)


def _is_blank(entry: Any) -> bool:
    return isinstance(entry, dict) and all(not value for value in entry.values())


def _created_entries(
    new: Object, schema: Schema, who: ManagerId, now: str, allowed: FieldFilter
) -> list[dict[str, Any]]:
    try:
        fields = owned_at_creation(new, schema, allowed)
    except ElementError:
        return []
    if not fields:
        return []
    return [encode_entry(who, Owned(fields, who.api_version, now))]


def owned_at_creation(obj: Object, schema: Schema, allowed: FieldFilter) -> FieldSet:
    """The fields that creating `obj` owns. Raises ElementError."""
    tree = created_fields(obj, schema)
    tree.pop("f:apiVersion", None)
    tree.pop("f:kind", None)
    metadata: Tree | None = tree.get("f:metadata")
    if metadata is not None:
        metadata.pop(MEMBER, None)
        for name in _UNOWNED_METADATA:
            metadata.pop("f:" + name, None)
        if not metadata:
            del tree["f:metadata"]
    return allowed(FieldSet(tree))


def strip_unowned(fields: FieldSet) -> FieldSet:
    """Without the fields that nobody owns: identity and what the server writes."""
    return fields.difference(_UNOWNED)


def _after_update(
    new: Object,
    old: Object | None,
    schema: Schema,
    managers: Managers,
    who: ManagerId,
    now: str,
    allowed: FieldFilter,
    api_version: str,
    versions: Versions | None,
) -> Managers | None:
    """The managers after the update; None where they are as they were."""
    if not managers and old is not None:
        # Ownership of this object was cleared; it is tracked again from its first apply on.
        return None
    if old is None:
        changed, removed = allowed(FieldSet(created_fields(new, schema))), FieldSet()
    else:
        changes = compare(_without_entries_of(old), new, schema)
        changed = allowed(changes.modified.union(changes.added))
        removed = allowed(changes.removed)
    if not changed and not removed:
        return None
    managers = of_known_versions(reconcile(managers, schema), new, api_version, versions)
    managers = lose_fields(managers, changed, removed)
    gained = strip_unowned(changed)
    if gained:
        previous = managers.get(who)
        fields = gained.union(previous.fields) if previous is not None else gained
        managers[who] = Owned(fields, api_version, now)
    return fold_oldest_updates(managers)


def _without_entries_of(obj: Object) -> Object:
    metadata = obj["metadata"]
    if "managedFields" not in metadata:
        return obj
    return {**obj, "metadata": {k: v for k, v in metadata.items() if k != "managedFields"}}


def lose_fields(managers: Managers, *taken: FieldSet, but: ManagerId | None = None) -> Managers:
    """What the managers still own (one of them excepted) once the given fields are no longer theirs."""
    left: Managers = {}
    for who, owned in managers.items():
        fields = owned.fields
        if who != but:
            for lost in taken:
                if lost:
                    fields = fields.difference(lost)
        if fields:
            left[who] = owned.holding(fields)
    return left

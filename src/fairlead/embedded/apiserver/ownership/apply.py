"""Server-side apply: a configuration merged into the live object under its manager's name.

What the manager applied before and no longer names goes, unless somebody else owns it. What others own and the
configuration changes is a conflict, unless it is forced. Source of protocol: Kubernetes' server-side apply.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from fairlead.embedded.apiserver.ownership.check import describe_misfits, misfits
from fairlead.embedded.apiserver.ownership.compare import Comparison, compare
from fairlead.embedded.apiserver.ownership.conflicts import Conflicts, conflict_error
from fairlead.embedded.apiserver.ownership.entries import (
    APPLY,
    UPDATE,
    ManagerId,
    Managers,
    Owned,
    encode_entries,
    manager_id,
    stored_managers,
)
from fairlead.embedded.apiserver.ownership.fields_of import fields_of
from fairlead.embedded.apiserver.ownership.fieldset import FieldSet
from fairlead.embedded.apiserver.ownership.managed import (
    FieldFilter,
    FieldPaths,
    Object,
    keep_times_if_unchanged,
    lose_fields,
    owned_at_creation,
    strip_unowned,
)
from fairlead.embedded.apiserver.ownership.merge import merge, remove, with_declared_parents
from fairlead.embedded.apiserver.ownership.reconcile import Versions, of_known_versions, reconcile
from fairlead.embedded.apiserver.patches.errors import unclassified
from fairlead.embedded.apiserver.patches.json_value import clone
from fairlead.embedded.apiserver.schema.node import Schema
from fairlead.kube.errors import BadRequest

_BEFORE_FIRST_APPLY = "before-first-apply"
_KUBECTL = "kubectl"
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def apply(
    live: Object | None,
    applied: Object,
    schema: Schema,
    *,
    manager: str,
    force: bool,
    api_version: str,
    subresource: str = "",
    now: str,
    reset_fields: FieldPaths = (),
    only_fields: FieldPaths = (),
    versions: Versions | None = None,
) -> Object:
    """The object after the apply, not yet defaulted; equal to `live` where nothing changes, entry times included.

    The arguments stay as they are, and the result shares nothing with them but entries, which nobody changes in place.
    `live` is None for a create; `now` is RFC 3339; the other arguments are those of `record_update`. After defaulting
    the result, call `keep_times_if_unchanged`: defaults may undo the only change.

    Raises Conflict (causes name managers and fields), BadRequest for managedFields in the configuration or another
    API version, and ApiError 500, as the API server does, for a configuration that does not fit its schema.
    """
    _check_configuration(applied, schema, api_version)
    applied = _without_blank_time(applied)
    who = manager_id(manager, APPLY, api_version, subresource)
    attempt = _Apply(live, applied, schema, who, api_version, now, FieldFilter(reset_fields, only_fields), versions)
    conflicts = attempt.conflicts()
    if conflicts and not force:
        if manager == _KUBECTL:
            conflicts = _not_from_last_applied(conflicts, attempt.live, schema, api_version)
        if conflicts:
            raise conflict_error(conflicts)
    result: Object = clone(attempt.result())
    if manager == _KUBECTL:
        _sync_last_applied(result, applied)
    if live is not None:
        keep_times_if_unchanged(result, live)
    return result


def _without_blank_time(applied: Object) -> Object:
    """Serialised Go objects carry a null creation time, which is no wish to change it."""
    metadata = applied.get("metadata")
    if not metadata or metadata.get("creationTimestamp", metadata) is not None:
        return applied
    return {**applied, "metadata": {k: v for k, v in metadata.items() if k != "creationTimestamp"}}


def _check_configuration(applied: Object, schema: Schema, api_version: str) -> None:
    group, _, version = api_version.rpartition("/")
    kind = applied.get("kind", "")
    if applied.get("apiVersion") != api_version:
        group, _, version = str(applied.get("apiVersion") or "").rpartition("/")
        raise BadRequest(f"invalid object type: {group}/{version}, Kind={kind}")
    metadata = applied.get("metadata") or {}
    if isinstance(metadata, dict) and metadata.get("managedFields") is not None:
        raise BadRequest("metadata.managedFields must be nil")
    if found := misfits(applied, schema):
        name, namespace = (metadata.get(k, "") if isinstance(metadata, dict) else "" for k in ("name", "namespace"))
        raise unclassified(
            f"failed to create typed patch object ({namespace}/{name}; {group}/{version}, Kind={kind}): "
            + describe_misfits(found)
        )


class _Apply:
    """One apply, worked out up to the conflicts."""

    def __init__(
        self,
        live: Object | None,
        applied: Object,
        schema: Schema,
        who: ManagerId,
        api_version: str,
        now: str,
        allowed: FieldFilter,
        versions: Versions | None,
    ) -> None:
        self._who, self._now = who, now
        stored = live["metadata"].get("managedFields") if live is not None else None
        managers = stored_managers(stored or [])
        self.live = _without_entries(live) if live is not None else _named_nothing(applied)
        try:
            if not managers and live is not None:
                managers = _owned_before(self.live, schema, api_version, who.subresource, now, allowed)
            self._managers = reconcile(managers, schema)
            merged = merge(self.live, applied, schema)
            fields = allowed(fields_of(applied, schema))
            previous = self._managers.get(who)
            self._managers[who] = Owned(fields, api_version, previous.time if previous is not None else None)
            self._merged = _pruned(merged, schema, self._managers, previous)
            self._managers = of_known_versions(self._managers, self._merged, api_version, versions)
            self._changes: Comparison = compare(self.live, self._merged, schema)
        except ValueError as error:
            raise unclassified(str(error)) from error
        self._changed = allowed(self._changes.modified.union(self._changes.added))
        self._removed = allowed(self._changes.removed)

    def conflicts(self) -> Conflicts:
        found: Conflicts = {}
        for who, owned in self._managers.items():
            if who != self._who and (taken := owned.fields.intersection(self._changed)):
                found[who] = taken
        return found

    def result(self) -> Object:
        """The object with its entries, whatever the conflicts."""
        managers = lose_fields(self._managers, self._changed, self._removed, but=self._who)
        mine = managers.pop(self._who, None)
        if mine is not None and (fields := strip_unowned(mine.fields)):
            time = self._now if self._merged != self.live else mine.time
            managers[self._who] = replace(mine, fields=fields, time=time)
        metadata = dict(self._merged.get("metadata") or {})
        if managers:
            metadata["managedFields"] = encode_entries(managers)
        return {**self._merged, "metadata": metadata}


def _without_entries(live: Object) -> Object:
    return {**live, "metadata": {k: v for k, v in live["metadata"].items() if k != "managedFields"}}


def _named_nothing(applied: Object) -> Object:
    return {"apiVersion": applied["apiVersion"], "kind": applied.get("kind"), "metadata": {}}


def _owned_before(
    live: Object, schema: Schema, api_version: str, subresource: str, now: str, allowed: FieldFilter
) -> Managers:
    """The one owner that an object without owners has once it is first applied to."""
    fields = owned_at_creation(live, schema, allowed)
    if not fields:
        return {}
    return {manager_id(_BEFORE_FIRST_APPLY, UPDATE, api_version, subresource): Owned(fields, api_version, now)}


def _pruned(merged: Object, schema: Schema, managers: Managers, previous: Owned | None) -> Object:
    """Without what the manager applied before and nobody owns any more."""
    if previous is None or not previous.fields:
        return merged
    last = FieldSet(with_declared_parents(previous.fields.tree, schema))
    before = _all_of(merged, schema)
    pruned: Object = remove(merged, last.tree, schema)
    owned = FieldSet()
    for other in managers.values():
        owned = owned.union(other.fields)
    owned = FieldSet(with_declared_parents(owned.tree, schema)).union(_all_of(pruned, schema))
    pruned = remove(merged, before.difference(owned).tree, schema)
    gone = before.difference(_all_of(pruned, schema)).intersection(last)
    result: Object = remove(merged, gone.tree, schema)
    return result


def _all_of(obj: Object, schema: Schema) -> FieldSet:
    return FieldSet(with_declared_parents(fields_of(obj, schema).tree, schema))


def _not_from_last_applied(conflicts: Conflicts, live: Object, schema: Schema, api_version: str) -> Conflicts:
    """Conflicts about anything but what the same person applied client-side before, and nobody changed since."""
    text = (live["metadata"].get("annotations") or {}).get(_LAST_APPLIED)
    try:
        last = json.loads(text or "")
        if last["apiVersion"] != api_version or misfits(last, schema) or misfits(live, schema):
            return conflicts
        changes = compare(last, live, schema)
    except (ValueError, KeyError, TypeError, AttributeError):
        return conflicts
    own = fields_of(last, schema).difference(changes.modified).difference(changes.added).difference(changes.removed)
    remaining = {who: fields.difference(own) for who, fields in conflicts.items()}
    return {who: fields for who, fields in remaining.items() if fields}


def _sync_last_applied(result: Object, applied: Object) -> None:
    """Keep the client-side annotation true, where there is one, for clients that still apply that way."""
    annotations: dict[str, Any] = result["metadata"].get("annotations") or {}
    if not annotations.get(_LAST_APPLIED):
        return
    configuration = clone(applied)
    kept = (configuration["metadata"].get("annotations") or {}) if configuration.get("metadata") else {}
    kept.pop(_LAST_APPLIED, None)
    annotations[_LAST_APPLIED] = (
        json.dumps(configuration, separators=(",", ":"), ensure_ascii=False, sort_keys=True) + "\n"
    )

"""`metadata.managedFields` on the wire, and as managers with their field sets.

Source of protocol: `meta/v1` ManagedFieldsEntry. A manager is told apart by name, operation and subresource, and for
updates by API version too; an applier keeps its one entry when it moves to another version.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from fairlead.clock import parse_time
from fairlead.embedded.apiserver.ownership.fieldset import FieldSet

APPLY, UPDATE = "Apply", "Update"

MAX_UPDATE_ENTRIES = 10
"""The API server folds the oldest update entries together beyond this many."""

_OLD_UPDATES = "ancient-changes"


@dataclass(frozen=True, slots=True)
class ManagerId:
    """Who owns fields. `api_version` is empty for appliers."""

    manager: str
    operation: str
    api_version: str
    subresource: str

    def serialised(self) -> str:
        """The form by which the API server orders managers in messages."""
        parts = {"manager": self.manager, "operation": self.operation}
        if self.api_version:
            parts["apiVersion"] = self.api_version
        if self.subresource:
            parts["subresource"] = self.subresource
        return json.dumps(parts, separators=(",", ":"), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Owned:
    """What a manager owns, as of which API version, and when that last changed (RFC 3339, None where unknown)."""

    fields: FieldSet
    api_version: str
    time: str | None

    def holding(self, fields: FieldSet) -> Owned:
        return self if fields is self.fields else replace(self, fields=fields)


Managers = dict[ManagerId, Owned]


def manager_id(manager: str, operation: str, api_version: str, subresource: str) -> ManagerId:
    return ManagerId(manager or "unknown", operation, "" if operation == APPLY else api_version, subresource)


def decode_entries(entries: Iterable[Any]) -> Managers:
    """Raises ValueError, saying what is wrong, for an entry that no API server would write."""
    managers: Managers = {}
    for position, entry in enumerate(entries):
        if not isinstance(entry, dict) or entry.get("operation") not in (APPLY, UPDATE):
            raise ValueError("operation must be `Apply` or `Update`")
        api_version = entry.get("apiVersion") or ""
        if not api_version:
            raise ValueError("apiVersion must not be empty")
        fields_type = entry.get("fieldsType") or ""
        if not fields_type:
            raise ValueError(f"missing fieldsType in managed fields entry {position}")
        if fields_type != "FieldsV1":
            raise ValueError(f'invalid fieldsType "{fields_type}" in managed fields entry {position}')
        fields = FieldSet.decode(entry.get("fieldsV1") or {})
        managers[_id_of(entry)] = Owned(fields, api_version, entry.get("time"))
    return managers


def stored_managers(entries: Iterable[dict[str, Any]]) -> Managers:
    """The managers of entries that this server wrote."""
    return {
        _id_of(entry): Owned(FieldSet(entry["fieldsV1"]), entry["apiVersion"], entry.get("time")) for entry in entries
    }


def _id_of(entry: dict[str, Any]) -> ManagerId:
    operation = entry["operation"]
    api_version = "" if operation == APPLY else entry["apiVersion"]
    return ManagerId(entry.get("manager") or "", operation, api_version, entry.get("subresource") or "")


def encode_entries(managers: Managers) -> list[dict[str, Any]]:
    """Entries in the API server's order: appliers first, then by time, manager, version and subresource."""
    return [encode_entry(who, owned) for who, owned in sorted(managers.items(), key=_order)]


def encode_entry(who: ManagerId, owned: Owned) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    if who.manager:
        entry["manager"] = who.manager
    entry["operation"] = who.operation
    entry["apiVersion"] = owned.api_version
    if owned.time is not None:
        entry["time"] = owned.time
    entry["fieldsType"] = "FieldsV1"
    entry["fieldsV1"] = owned.fields.tree
    if who.subresource:
        entry["subresource"] = who.subresource
    return entry


def _order(item: tuple[ManagerId, Owned]) -> tuple[str, float, str, str, str]:
    who, owned = item
    return who.operation, _seconds(owned.time), who.manager, owned.api_version, who.subresource


def _seconds(time: str | None) -> float:
    try:
        return float(int(parse_time(time))) if time else 0.0
    except ValueError:
        return 0.0


def fold_oldest_updates(managers: Managers) -> Managers:
    """Merge the oldest update entries of each version into one bucket until no more than the maximum remain."""
    updaters = sorted(
        (who for who in managers if who.operation == UPDATE),
        key=lambda who: (_seconds(managers[who].time), who.serialised()),
    )
    excess = len(updaters) - MAX_UPDATE_ENTRIES
    if excess <= 0:
        return managers
    folded = dict(managers)
    firsts: dict[str, ManagerId] = {}  # API version -> the oldest entry, which starts its bucket
    for who in updaters:
        if excess <= 0:
            break
        owned = folded[who]
        first = firsts.setdefault(owned.api_version, who)
        if first == who:
            continue
        bucket = ManagerId(_OLD_UPDATES, UPDATE, owned.api_version, "")
        if bucket not in folded:
            folded[bucket] = folded.pop(first)
        folded[bucket] = replace(owned, fields=owned.fields.union(folded[bucket].fields))
        if who != bucket:
            del folded[who]
        excess -= 1
    return folded

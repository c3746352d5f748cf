"""Conflicts of a server-side apply with other managers, and the error that lists them."""

from __future__ import annotations

import json
from typing import Any

from fairlead.embedded.apiserver.ownership.entries import UPDATE, ManagerId
from fairlead.embedded.apiserver.ownership.fieldset import FieldSet, show_path
from fairlead.kube.errors import Conflict

Conflicts = dict[ManagerId, FieldSet]
"""Other manager -> its fields that the apply would change."""


def conflict_error(conflicts: Conflicts) -> Conflict:
    """409 with one cause per manager and field."""
    managers = sorted(conflicts, key=ManagerId.serialised)
    listed = [(_show(who), [show_path(path) for path in conflicts[who].paths()]) for who in managers]
    count = sum(len(paths) for _, paths in listed)
    if count == 1:
        who, paths = listed[0]
        summary = f"1 conflict: conflict with {who}: {paths[0]}"
    else:
        lines = [line for who, paths in listed for line in (f"conflicts with {who}:", *(f"- {p}" for p in paths))]
        summary = f"{count} conflicts: " + "\n".join(lines)
    causes: list[dict[str, Any]] = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {who}", "field": path}
        for who, paths in listed
        for path in paths
    ]
    return Conflict(f"Apply failed with {summary}", causes=causes)


def _show(who: ManagerId) -> str:
    shown = json.dumps(who.manager, ensure_ascii=False)
    if who.subresource:
        shown += f" with subresource {json.dumps(who.subresource, ensure_ascii=False)}"
    return f"{shown} using {who.api_version}" if who.operation == UPDATE else shown

"""The revisions of a LeaderWorkerSet: what of it makes pods differ, kept as ControllerRevisions. Pure.

Protocol: KEP-238 of kubernetes-sigs/lws. A revision is a strategic merge patch of `leaderWorkerTemplate` and
`networkConfig`; its key is in the label of everything that was made of it. Groups that are made anew during an update
get the revision that they had.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fairlead.embedded import leader_worker_set as names
from fairlead.embedded.controllers.hashing import revision_hash
from fairlead.embedded.controllers.pods import Object, owner_reference

API_VERSION = f"{names.GROUP}/v1"
_NAME_LIMIT = 220


@dataclass(frozen=True, slots=True)
class Revision:
    """The revision to make the set of. `create` is None where it is stored already; `is_new` says that the set's groups
    are of another one so far."""

    key: str
    create: Object | None = None
    is_new: bool = False


def revision_data(lws: Object) -> Object:
    """What a revision of the set, as it is now, has as its data."""
    spec = lws["spec"]
    return {
        "spec": {
            "leaderWorkerTemplate": {**_without_defaults(spec["leaderWorkerTemplate"]), "$patch": "replace"},
            "networkConfig": {"subdomainPolicy": "Shared", **(spec.get("networkConfig") or {}), "$patch": "replace"},
        }
    }


def _without_defaults(template: Object) -> Object:
    # A definition that has learnt a default must not look like a change of the template.
    defaults = {"size": 1, "restartPolicy": "RecreateGroupOnPodRestart"}
    return {key: value for key, value in template.items() if value is not None and defaults.get(key) != value}


def restore(lws: Object, revision: Object) -> Object:
    """The set as the revision has it; what a revision does not keep is as it is now."""
    kept = {
        part: {k: v for k, v in value.items() if k != "$patch"}
        for part, value in ((revision.get("data") or {}).get("spec") or {}).items()
    }
    return {**lws, "spec": {**lws["spec"], **kept}}


def find_revision(revisions: Sequence[Object], key: str) -> Object | None:
    """The newest of a key."""
    found = [r for r in revisions if key and names.revision_key(r) == key]
    return max(found, key=_number, default=None)


def compute_revision(lws: Object, revisions: Sequence[Object], current_key: str | None) -> Revision:
    """Which revision the set wants. `current_key` is the one its leaders' StatefulSet has, None before there is one."""
    data = revision_data(lws)
    stored = find_revision(revisions, current_key or "")
    if stored is not None and stored.get("data") == data:
        return Revision(names.revision_key(stored))
    newest = max(revisions, key=_number, default=None)
    if stored is None and current_key:
        # Lost, and there are pods of it: kept under the same key, they are of what the set says.
        return Revision(current_key, create=_revision(lws, data, current_key, newest))
    is_new = current_key is not None
    if newest is not None and newest.get("data") == data:
        # Written by a round that ended before it came to the StatefulSet.
        return Revision(names.revision_key(newest), is_new=is_new)
    key = revision_hash(data)
    return Revision(key, create=_revision(lws, data, key, newest), is_new=is_new)


def outdated(revisions: Sequence[Object], key: str) -> list[str]:
    """Names of the revisions that nothing needs once all groups are of one."""
    return [r["metadata"]["name"] for r in revisions if names.revision_key(r) != key]


def _revision(lws: Object, data: Object, key: str, newest: Object | None) -> Object:
    meta = lws["metadata"]
    number = 1 if newest is None else _number(newest) + 1
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": f"{meta['name'][:_NAME_LIMIT]}-{revision_hash(data)}-{number}",
            "namespace": meta["namespace"],
            "labels": {names.NAME: meta["name"], names.REVISION: key},
            "ownerReferences": [owner_reference(lws, API_VERSION, "LeaderWorkerSet")],
        },
        "data": data,
        "revision": number,
    }


def _number(revision: Object) -> int:
    return int(revision.get("revision") or 0)

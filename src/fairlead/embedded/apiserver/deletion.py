"""What deleting an object means, as pure decisions: preconditions, grace periods, finalizers.

Follows `k8s.io/apiserver` (`registry/rest/delete.go`, `registry/generic/registry/store.go`): an object goes at once, or
is marked and stays until its grace period was confirmed over and its finalizers are gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from fairlead.clock import format_time, parse_time
from fairlead.embedded.apiserver.options import DeleteOptions
from fairlead.embedded.apiserver.registry import Object, ResourceType
from fairlead.embedded.apiserver.status import conflict

ORPHAN = "orphan"
FOREGROUND = "foregroundDeletion"


class Verdict(Enum):
    """What becomes of the object."""

    REMOVE = "remove"
    MARK = "mark"
    """Store the (mutated) object; it stays for its finalizers or its grace period."""
    UNCHANGED = "unchanged"
    """It is under deletion already, and nothing about that changes."""


def check_preconditions(type_: ResourceType, obj: Object, options: DeleteOptions) -> None:
    """Raises Conflict."""
    metadata = obj["metadata"]
    name = metadata["name"]
    if options.uid is not None and options.uid != metadata.get("uid"):
        raise conflict(
            type_.group,
            type_.kind,
            name,
            f"the UID in the precondition ({options.uid}) does not match the UID in record ({metadata.get('uid')}). "
            "The object might have been deleted and then recreated",
        )
    if options.version is not None and options.version != metadata.get("resourceVersion"):
        raise conflict(
            type_.group,
            type_.kind,
            name,
            f"the ResourceVersion in the precondition ({options.version}) does not match the ResourceVersion in record "
            f"({metadata.get('resourceVersion')}). The object might have been modified",
        )


def decide(type_: ResourceType, obj: Object, options: DeleteOptions, now_s: float) -> Verdict:
    """Decide a deletion and mark `obj` in place."""
    metadata = obj["metadata"]
    wished_s = options.grace_period_s
    if wished_s is not None and wished_s < 0:
        wished_s = 1
    grace_s = type_.strategy.deletion_grace_s(obj, wished_s)
    if grace_s is not None and metadata.get("deletionTimestamp"):
        verdict = _shorten(metadata, wished_s)
        if verdict is not None:
            return verdict
    elif grace_s is not None:
        metadata["deletionTimestamp"] = format_time(now_s + grace_s)
        metadata["deletionGracePeriodSeconds"] = grace_s
        if metadata.get("generation"):
            metadata["generation"] += 1
    before = list(metadata.get("finalizers") or ())
    finalizers = propagation_finalizers(type_, before, options)
    if finalizers:
        metadata["finalizers"] = finalizers
    else:
        metadata.pop("finalizers", None)
    if grace_s is None and finalizers:
        changed = _mark(metadata, now_s) or finalizers != before
        return Verdict.MARK if changed else Verdict.UNCHANGED
    if finalizers or metadata.get("deletionGracePeriodSeconds"):
        return Verdict.MARK
    return Verdict.REMOVE


def _shorten(metadata: Object, wished_s: int | None) -> Verdict | None:
    """A deletion that is under way already may only become shorter; None where it goes on with the new time."""
    current_s = metadata.get("deletionGracePeriodSeconds")
    if current_s is None:
        return None
    if wished_s is None or wished_s >= current_s:
        return Verdict.UNCHANGED
    begun_s = parse_time(metadata["deletionTimestamp"]) - current_s
    metadata["deletionTimestamp"] = format_time(begun_s + wished_s)
    metadata["deletionGracePeriodSeconds"] = wished_s
    return None


def _mark(metadata: Object, now_s: float) -> bool:
    """Mark an object without graceful deletion; returns whether that changed it."""
    before = (metadata.get("deletionTimestamp"), metadata.get("deletionGracePeriodSeconds"))
    if before[1] is None and metadata.get("generation"):
        metadata["generation"] += 1
    if not before[0]:
        metadata["deletionTimestamp"] = format_time(now_s)
    metadata["deletionGracePeriodSeconds"] = 0
    return before != (metadata["deletionTimestamp"], 0)


def propagation_finalizers(type_: ResourceType, finalizers: Sequence[str], options: DeleteOptions) -> list[str]:
    """The finalizers that make the garbage collector orphan or await the dependents, as the options say."""
    wanted = _wanted_finalizer(type_, finalizers, options)
    if wanted is not None and wanted in finalizers:
        return [f for f in finalizers if f == wanted or f not in (ORPHAN, FOREGROUND)]
    kept = [f for f in finalizers if f not in (ORPHAN, FOREGROUND)]
    return [*kept, wanted] if wanted else kept


def _wanted_finalizer(type_: ResourceType, finalizers: Sequence[str], options: DeleteOptions) -> str | None:
    if options.orphan is not None:
        return ORPHAN if options.orphan else None
    if options.propagation is not None:
        return {"Orphan": ORPHAN, "Foreground": FOREGROUND}.get(options.propagation)
    for finalizer in finalizers:
        if finalizer in (ORPHAN, FOREGROUND):
            return finalizer
    return ORPHAN if type_.strategy.orphans_by_default else None


def is_complete(type_: ResourceType, new: Object, old: Object) -> bool:
    """Whether an update took away the last thing that kept a deleted object."""
    if new["metadata"].get("finalizers") or not old["metadata"].get("deletionTimestamp"):
        return False
    if (old["metadata"].get("deletionGracePeriodSeconds") or 0) > 0:
        return False
    return type_.strategy.is_deletable(new)

"""The parts of ObjectMeta that belong to the server: names, uid, times, generation, owners without duplicates."""

from __future__ import annotations

import random
import uuid

from fairlead.embedded.apiserver.registry import Object

GENERATED_CHARACTERS = "bcdfghjklmnpqrstvwxz2456789"
GENERATED_LENGTH = 5
MAX_GENERATED_BASE = 63 - GENERATED_LENGTH
_random = random.SystemRandom()


def generated_name(base: str) -> str:
    suffix = "".join(_random.choices(GENERATED_CHARACTERS, k=GENERATED_LENGTH))
    return base[:MAX_GENERATED_BASE] + suffix


def stamp_new(metadata: Object, now: str) -> None:
    """What the server sets on every new object, in place."""
    for key in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"):
        metadata.pop(key, None)
    metadata["creationTimestamp"] = now
    metadata["uid"] = str(uuid.uuid4())


def keep_server_fields(metadata: Object, old: Object) -> None:
    """What an update may leave out or try to change without effect, in place."""
    metadata.pop("selfLink", None)
    if not metadata.get("uid"):
        metadata["uid"] = old["uid"]
    metadata["creationTimestamp"] = old.get("creationTimestamp")
    if "generation" in old:
        metadata["generation"] = old["generation"]
    else:
        metadata.pop("generation", None)
    if old.get("deletionTimestamp"):
        metadata["deletionTimestamp"] = old["deletionTimestamp"]
        if old.get("deletionGracePeriodSeconds") is not None and metadata.get("deletionGracePeriodSeconds") is None:
            metadata["deletionGracePeriodSeconds"] = old["deletionGracePeriodSeconds"]


def drop_duplicate_owners(metadata: Object) -> list[str]:
    """Keep one of each group of equal owner references, in place; returns warnings."""
    owners = metadata.get("ownerReferences")
    if not owners or len(owners) < 2:
        return []
    kept: list[Object] = []
    doubled: list[str] = []
    for owner in owners:
        if owner not in kept:
            kept.append(owner)
        elif owner.get("uid") not in doubled:
            doubled.append(owner.get("uid", ""))
    if not doubled:
        return []
    metadata["ownerReferences"] = kept
    return [
        ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may "
        "reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: "
        + ", ".join(doubled)
    ]

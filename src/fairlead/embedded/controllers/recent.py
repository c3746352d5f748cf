"""Children that a controller has just created or deleted and that its copy does not show yet.

Without it, a reconcile that runs before the watch has caught up would create the same child twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fairlead.embedded.controllers.pods import Object

FORGET_AFTER_S = 30.0
"""A child that has not been seen by then was deleted before we could see it."""


class Recent:
    """Overlays the copy with our own latest writes, by uid."""

    def __init__(self) -> None:
        self._created: dict[str, tuple[float, Object]] = {}
        self._deleted: dict[str, float] = {}

    def created(self, obj: Object, now_s: float) -> None:
        self._created[obj["metadata"]["uid"]] = (now_s, obj)

    def deleted(self, uid: str, now_s: float) -> None:
        self._deleted[uid] = now_s

    def overlay(self, owner_uid: str, seen: Sequence[Object], now_s: float) -> list[Object]:
        """`seen` children of an owner, without those we deleted, and with those we created."""
        self._expire(now_s)
        uids = {o["metadata"]["uid"] for o in seen}
        for uid in uids & self._created.keys():
            del self._created[uid]
        result = [o for o in seen if o["metadata"]["uid"] not in self._deleted or "deletionTimestamp" in o["metadata"]]
        return result + [o for _, o in self._created.values() if owner_uid in _owners(o)]

    def _expire(self, now_s: float) -> None:
        for uid in [u for u, (at_s, _) in self._created.items() if now_s - at_s > FORGET_AFTER_S]:
            del self._created[uid]
        for uid in [u for u, at_s in self._deleted.items() if now_s - at_s > FORGET_AFTER_S]:
            del self._deleted[uid]


def _owners(obj: Object) -> Iterable[str]:
    return (r["uid"] for r in obj["metadata"].get("ownerReferences") or () if r.get("controller"))

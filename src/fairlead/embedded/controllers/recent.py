"""Children that a controller has just created or deleted and that its copy does not show yet.

Without it, a reconcile that runs before the watch has caught up would create the same child twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fairlead.clock import SYSTEM, Clock
from fairlead.embedded.controllers.pods import Object
from fairlead.kube.informer import Handler, Informer
from fairlead.kube.resources import Unstructured

FORGET_AFTER_S = 30.0
"""A write that the copy does not show by then was overtaken while the copy was being listed anew."""


class Recent:
    """Overlays a copy with our own latest writes, by uid, until the copy has shown them."""

    def __init__(self, copy: Informer[Unstructured] | None = None, clock: Clock = SYSTEM) -> None:
        # Uid -> when we created it, and the object.
        self._created: dict[str, tuple[float, Object]] = {}
        # Uid -> when we deleted it or saw it go.
        self._deleted: dict[str, float] = {}
        self._copy = copy
        self._clock = clock
        if copy is not None:
            copy.add_handler(Handler(self._seen, lambda _, new: self._seen(new), self._gone))

    def created(self, obj: Object, now_s: float) -> None:
        meta = obj["metadata"]
        if meta["uid"] in self._deleted:
            return
        if self._copy is not None:
            shown = self._copy.store.get(meta["name"], meta.get("namespace", ""))
            if shown is not None and shown["metadata"]["uid"] == meta["uid"]:
                return
        self._created[meta["uid"]] = (now_s, obj)

    def deleted(self, uid: str, now_s: float) -> None:
        self._created.pop(uid, None)
        self._deleted[uid] = now_s

    def overlay(self, owner_uid: str, seen: Sequence[Object], now_s: float) -> list[Object]:
        """`seen` children of an owner, without those we deleted, and with those we created."""
        self._expire(now_s)
        uids = {o["metadata"]["uid"] for o in seen}
        for uid in uids & self._created.keys():
            del self._created[uid]
        result = [o for o in seen if o["metadata"]["uid"] not in self._deleted or "deletionTimestamp" in o["metadata"]]
        return result + [o for _, o in self._created.values() if owner_uid in _owners(o)]

    def _seen(self, obj: Object) -> None:
        self._created.pop(obj["metadata"]["uid"], None)

    def _gone(self, obj: Object) -> None:
        self._seen(obj)
        self._deleted[obj["metadata"]["uid"]] = self._clock.wall_s()

    def _expire(self, now_s: float) -> None:
        for uid in [u for u, (at_s, _) in self._created.items() if now_s - at_s > FORGET_AFTER_S]:
            del self._created[uid]
        for uid in [u for u, at_s in self._deleted.items() if now_s - at_s > FORGET_AFTER_S]:
            del self._deleted[uid]


def _owners(obj: Object) -> Iterable[str]:
    return (r["uid"] for r in obj["metadata"].get("ownerReferences") or () if r.get("controller"))

"""What we have written and no watch has shown yet, laid over what was seen.

Without it a reconcile that runs before the watch has caught up would make a pod twice, or order again what it has
ordered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from fairlead.kube.objects import Pod

FORGET_S = 30.0
"""What no watch has shown by then was undone by somebody else before we could see it."""


@dataclass(slots=True)
class _Change:
    """Labels and annotations of one pod (None: removed) and whether it is deleted."""

    at_s: float
    labels: dict[str, str | None] = field(default_factory=dict)
    annotations: dict[str, str | None] = field(default_factory=dict)
    deleted_at: str = ""


class Overlay:
    """By uid. Times are monotonic seconds and never go back: both books are in order of time, so that forgetting looks
    at no more than it forgets."""

    def __init__(self) -> None:
        self._made: dict[str, tuple[float, Pod]] = {}
        self._made_for: dict[str, set[str]] = {}  # uid of the controller -> uids of what was made for it
        self._changes: dict[str, _Change] = {}

    def made(self, pod: Pod, now_s: float) -> None:
        """A pod that the API has answered with."""
        self._shown(pod.metadata.uid)
        self._made[pod.metadata.uid] = (now_s, pod)
        self._made_for.setdefault(_owner(pod), set()).add(pod.metadata.uid)

    def changed(
        self,
        uid: str,
        now_s: float,
        labels: Mapping[str, str | None] | None = None,
        annotations: Mapping[str, str | None] | None = None,
    ) -> None:
        change = self._change(uid, now_s)
        change.labels.update(labels or {})
        change.annotations.update(annotations or {})

    def deleted(self, uid: str, now_s: float, at: str) -> None:
        """`at`: wall time (RFC 3339) that stands for the API's."""
        self._change(uid, now_s).deleted_at = at

    def has(self, uid: str) -> bool:
        """Whether there is something of this pod that no watch has shown."""
        return uid in self._made or uid in self._changes

    def over(self, seen: Iterable[Pod], now_s: float) -> list[Pod]:
        """What was seen with our own writes laid over it."""
        self._forget(now_s)
        found: list[Pod] = []
        for pod in seen:
            self._shown(pod.metadata.uid)
            found.append(self._laid_over(pod))
        return found

    def unseen(self, owner_uid: str) -> list[Pod]:
        """Pods that we made for this controller and that were in no `seen` yet, oldest first."""
        made = [self._made[uid] for uid in self._made_for.get(owner_uid, ())]
        return [self._laid_over(pod) for _, pod in sorted(made, key=lambda m: (m[0], m[1].metadata.name))]

    def _change(self, uid: str, now_s: float) -> _Change:
        change = self._changes.pop(uid, None) or _Change(now_s)
        change.at_s = now_s
        self._changes[uid] = change
        return change

    def _shown(self, uid: str) -> None:
        found = self._made.pop(uid, None)
        if found is None:
            return
        owner = _owner(found[1])
        uids = self._made_for[owner]
        uids.discard(uid)
        if not uids:
            del self._made_for[owner]

    def _laid_over(self, pod: Pod) -> Pod:
        change = self._changes.get(pod.metadata.uid)
        if change is None:
            return pod
        meta = pod.metadata
        labels = _merged(meta.labels, change.labels)
        annotations = _merged(meta.annotations, change.annotations)
        deleted = meta.deletion_timestamp or change.deleted_at or None
        if labels == meta.labels and annotations == meta.annotations and deleted == meta.deletion_timestamp:
            if pod.metadata.uid not in self._made:
                del self._changes[pod.metadata.uid]
            return pod
        laid = msgspec.structs.replace(meta, labels=labels, annotations=annotations, deletion_timestamp=deleted)
        return msgspec.structs.replace(pod, metadata=laid)

    def _forget(self, now_s: float) -> None:
        while self._made and now_s - next(iter(self._made.values()))[0] > FORGET_S:
            self._shown(next(iter(self._made)))
        while self._changes and now_s - next(iter(self._changes.values())).at_s > FORGET_S:
            del self._changes[next(iter(self._changes))]


def _owner(pod: Pod) -> str:
    controller = pod.metadata.controller
    return controller.uid if controller is not None else ""


def _merged(there: Mapping[str, str], change: Mapping[str, str | None]) -> Mapping[str, str]:
    if not change:
        return there
    merged = {key: value for key, value in there.items() if key not in change}
    return merged | {key: value for key, value in change.items() if value is not None}

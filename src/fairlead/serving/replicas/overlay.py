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
    """By uid. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._made: dict[str, tuple[float, Pod]] = {}
        self._changes: dict[str, _Change] = {}

    def made(self, pod: Pod, now_s: float) -> None:
        """A pod that the API has answered with."""
        self._made[pod.metadata.uid] = (now_s, pod)

    def changed(
        self,
        uid: str,
        now_s: float,
        labels: Mapping[str, str | None] | None = None,
        annotations: Mapping[str, str | None] | None = None,
    ) -> None:
        change = self._changes.setdefault(uid, _Change(now_s))
        change.at_s = now_s
        change.labels.update(labels or {})
        change.annotations.update(annotations or {})

    def deleted(self, uid: str, now_s: float, at: str) -> None:
        """`at`: wall time (RFC 3339) that stands for the API's."""
        change = self._changes.setdefault(uid, _Change(now_s))
        change.at_s, change.deleted_at = now_s, at

    def has(self, uid: str) -> bool:
        """Whether there is something of this pod that no watch has shown."""
        return uid in self._made or uid in self._changes

    def over(self, seen: Iterable[Pod], now_s: float) -> list[Pod]:
        """What was seen with our own writes, and what we made that is not seen yet."""
        self._forget(now_s)
        found: list[Pod] = []
        for pod in seen:
            self._made.pop(pod.metadata.uid, None)
            found.append(self._laid_over(pod))
        return found

    def unseen(self) -> list[Pod]:
        """Pods that we made and that were in no `seen` yet."""
        return [self._laid_over(pod) for _, pod in self._made.values()]

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
        self._made = {uid: (at_s, pod) for uid, (at_s, pod) in self._made.items() if now_s - at_s <= FORGET_S}
        self._changes = {uid: change for uid, change in self._changes.items() if now_s - change.at_s <= FORGET_S}


def _merged(there: Mapping[str, str], change: Mapping[str, str | None]) -> Mapping[str, str]:
    if not change:
        return there
    merged = {key: value for key, value in there.items() if key not in change}
    return merged | {key: value for key, value in change.items() if value is not None}

"""When time alone may bring up the next symptom. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fairlead.serving.observed import Snapshot
from fairlead.serving.recovery.on_places import ill_from_s
from fairlead.serving.recovery.on_pods import STUCK_S, start_limit
from fairlead.serving.recovery.policy import RecoveryPolicy

_LEAST_S: Final = 0.05


def next_look_s(snapshot: Snapshot, policy: RecoveryPolicy) -> float | None:
    """Seconds from `snapshot.now_s`; None where only news can change anything."""
    waits = [wait_s for wait_s in _waits(snapshot, policy) if wait_s > 0]
    return max(_LEAST_S, min(waits)) if waits else None


def _waits(snapshot: Snapshot, policy: RecoveryPolicy) -> Iterator[float]:
    now_s = snapshot.now_s
    for node in snapshot.nodes:
        for lasted_s in (node.silent_s, node.unready_s):
            if lasted_s > 0:
                yield policy.node_lost_s - lasted_s
    for trouble in snapshot.devices:
        yield ill_from_s(trouble) - now_s
    for replica in snapshot.replicas:
        for member in replica.alive:
            due = start_limit(member, policy)
            if due is not None:
                yield due[0] + due[1] - now_s
            if member.waiting and member.scheduled_s is not None:
                yield member.scheduled_s + STUCK_S - now_s
            view = snapshot.engines.get(member.uid)
            begun_s = (view.stalled_s or view.unreachable_s) if view is not None else None
            if begun_s is not None and policy.hang_s > 0:
                yield begun_s + policy.hang_s - now_s

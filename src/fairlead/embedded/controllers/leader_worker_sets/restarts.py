"""When a group of a LeaderWorkerSet is made anew. Pure.

Protocol: `restartPolicy` of kubernetes-sigs/lws. A pod that is lost, or a container that has started again, takes the
whole group with it: the leader is deleted, its workers go before it, and the leaders' StatefulSet makes another.
"""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.embedded import leader_worker_set as names
from fairlead.embedded.controllers.leader_worker_sets.spec import recreates_groups, size_of, waits_for_start
from fairlead.embedded.controllers.pods import Object, controller_of, is_deleting, phase


def is_lost(pod: Object) -> bool:
    """Whether the pod goes away, or one of its containers has restarted."""
    if is_deleting(pod):
        return True
    status = pod.get("status") or {}
    containers = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    return phase(pod) in ("Running", "Pending") and any(int(c.get("restartCount") or 0) > 0 for c in containers)


def should_recreate(
    lws: Object, pod: Object, leader: Object | None, workers: Object | None, members: Sequence[Object]
) -> bool:
    """Whether the group is to go because of `pod`. `leader` and `workers` (a StatefulSet) are those of its group now;
    `members` are all pods with its group's index."""
    if leader is None or not recreates_groups(lws) or not is_lost(pod):
        return False
    if waits_for_start(lws, names.RECREATE_AFTER_START) and not _has_started(lws, members):
        return False
    if names.is_leader(pod):
        return True
    # A worker of another revision, or of a leader that is gone already, goes with its own group.
    return names.revision_key(leader) == names.revision_key(pod) and _belongs(pod, leader, workers)


def _has_started(lws: Object, members: Sequence[Object]) -> bool:
    return len(members) == size_of(lws) and all(phase(m) != "Pending" for m in members)


def _belongs(pod: Object, leader: Object, workers: Object | None) -> bool:
    owner = controller_of(pod)
    if owner is None:
        return False
    if owner["kind"] == "Pod":
        return bool(owner["uid"] == leader["metadata"]["uid"])
    if owner["kind"] != "StatefulSet" or workers is None or workers["metadata"]["uid"] != owner["uid"]:
        return False
    above = controller_of(workers)
    return above is not None and above["uid"] == leader["metadata"]["uid"]

"""The status of a LeaderWorkerSet: counts of groups, and its conditions. Pure.

Protocol: kubernetes-sigs/lws. `Available` excludes `Progressing` and `UpdateInProgress`; a condition that has never
been true is not there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fairlead.embedded import leader_worker_set as names
from fairlead.embedded.controllers.leader_worker_sets.rollout import GroupState
from fairlead.embedded.controllers.leader_worker_sets.spec import partition_of, replicas_of, size_of
from fairlead.embedded.controllers.pods import Object, is_ready, phase

AVAILABLE, PROGRESSING, UPDATING = "Available", "Progressing", "UpdateInProgress"
_SAID = {
    AVAILABLE: ("AllGroupsReady", "All replicas are ready"),
    PROGRESSING: ("GroupsProgressing", "Replicas are progressing"),
    UPDATING: ("GroupsUpdating", "Rolling Upgrade is in progress"),
}


@dataclass(frozen=True, slots=True)
class StatusStep:
    """`event` (reason, message) is to be told where a condition changed; `is_settled` says that every group is updated
    and ready, so that former revisions are not needed."""

    status: Object
    event: tuple[str, str] | None
    is_settled: bool


def group_states(
    lws: Object, leaders: Mapping[int, Object], workers: Mapping[int, Object], key: str, *, count: int
) -> list[GroupState]:
    """One state for each index below `count`; `leaders` are pods and `workers` StatefulSets by index.

    A group that lacks one of them is neither ready nor updated.
    """
    return [_state(lws, index, leaders.get(index), workers.get(index), key) for index in range(count)]


def _state(lws: Object, index: int, leader: Object | None, workers: Object | None, key: str) -> GroupState:
    is_alone = size_of(lws) == 1
    if leader is None or (workers is None and not is_alone):
        return GroupState(index, ready=False, updated=False)
    ready, updated = is_running_ready(leader), names.revision_key(leader) == key
    if workers is not None and not is_alone:
        ready = ready and is_set_ready(workers)
        updated = updated and names.revision_key(workers) == key
    return GroupState(index, ready=ready, updated=updated)


def is_running_ready(pod: Object) -> bool:
    return phase(pod) == "Running" and is_ready(pod)


def is_set_ready(stateful_set: Object) -> bool:
    """All its pods are available and of its newest revision."""
    status = stateful_set.get("status") or {}
    available = int(status.get("availableReplicas") or 0) == int(stateful_set["spec"].get("replicas", 1))
    return available and status.get("currentRevision") == status.get("updateRevision")


def compute_status(lws: Object, groups: Sequence[GroupState], replicas: int, now: str) -> StatusStep:
    """`groups` are those whose leader (and workers) exist, surge included; `replicas` is the number of leaders that the
    StatefulSet reports."""
    wanted, partition = replicas_of(lws), partition_of(lws)
    own = [g for g in groups if g.index < wanted]
    to_update = [g for g in own if g.index >= partition]
    done = sum(g.done for g in to_update)
    if sum(g.updated for g in to_update) < len(to_update):
        shown = [UPDATING, PROGRESSING]
    elif sum(g.ready for g in own) == wanted and done == len(to_update):
        shown = [AVAILABLE]
    else:
        shown = [PROGRESSING]
    generation = lws["metadata"].get("generation", 1)
    before = list((lws.get("status") or {}).get("conditions") or ())
    conditions, changed = _conditions(before, shown, generation, now)
    ready = sum(g.ready for g in groups)
    event = None
    if changed:
        reason, message = _SAID[shown[0]]
        event = reason, f"{message}, with {ready} groups ready of total {wanted} groups"
    name = lws["metadata"]["name"]
    status: Object = {
        "conditions": conditions,
        "hpaPodSelector": f"{names.NAME}={name},{names.WORKER_INDEX}=0",
        "observedGeneration": generation,
    }
    counts = {"replicas": replicas, "readyReplicas": ready, "updatedReplicas": sum(g.updated for g in groups)}
    status |= {k: v for k, v in counts.items() if v}
    return StatusStep(status, event, partition == 0 and done == wanted)


def _conditions(before: Sequence[Object], shown: Sequence[str], generation: int, now: str) -> tuple[list[Object], bool]:
    """The conditions with those `shown` true, and whether the truth of any has changed."""
    conditions, changed = [dict(c) for c in before], False
    excluded = (PROGRESSING, UPDATING) if AVAILABLE in shown else (AVAILABLE,)
    for condition in conditions:
        condition["observedGeneration"] = generation
        if condition["type"] in excluded and condition["status"] == "True":
            condition |= {"status": "False", "lastTransitionTime": now}
            changed = True
    for kind in shown:
        reason, message = _SAID[kind]
        said = {"status": "True", "reason": reason, "message": message, "lastTransitionTime": now}
        old = next((c for c in conditions if c["type"] == kind), None)
        if old is None:
            conditions.append({"type": kind, "observedGeneration": generation, **said})
            changed = True
        elif old["status"] != "True":
            old |= said
            changed = True
    return conditions, changed

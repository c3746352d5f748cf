"""How far an update of a LeaderWorkerSet has come and may go: the leaders' partition and number. Pure.

Protocol: the rolling update of kubernetes-sigs/lws (KEP-511). The leaders' StatefulSet replaces pods from the highest
index down to its partition; the partition only ever goes down within one update, by so many groups as may be missing at
once. Surge groups have the highest indices, come with the update and go when the wanted ones are ready.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fairlead.embedded.controllers.leader_worker_sets.spec import (
    max_surge,
    max_unavailable,
    partition_of,
    replicas_of,
)
from fairlead.embedded.controllers.pods import Object


@dataclass(frozen=True, slots=True)
class GroupState:
    """A group is ready when its leader and all its workers are, updated when they are of the wanted revision."""

    index: int
    ready: bool
    updated: bool

    @property
    def done(self) -> bool:
        return self.ready and self.updated


@dataclass(frozen=True, slots=True)
class Leaders:
    """What the leaders' StatefulSet says now. `wanted` is the number of groups that it was last written for."""

    replicas: int
    partition: int
    wanted: int


@dataclass(frozen=True, slots=True)
class LeadersPlan:
    """What it is to say: groups below `partition` keep their revision, `replicas` includes surge."""

    replicas: int
    partition: int


def compute_leaders(
    lws: Object, leaders: Leaders | None, groups: Sequence[GroupState], *, is_new_revision: bool
) -> LeadersPlan:
    """The next step. `leaders` is None before the StatefulSet exists; `groups` has one state per index up to its
    replicas; `is_new_revision` says that the template has just changed."""
    plan = _next(lws, leaders, groups, is_new_revision=is_new_revision)
    return LeadersPlan(plan.replicas, max(plan.partition, partition_of(lws)))


def _next(lws: Object, leaders: Leaders | None, groups: Sequence[GroupState], *, is_new_revision: bool) -> LeadersPlan:
    wanted = replicas_of(lws)
    if leaders is None:
        return LeadersPlan(wanted, 0)
    if is_new_revision:
        # Growing comes first: new groups have the new template anyway.
        partition = min(wanted, leaders.replicas)
        return LeadersPlan(wanted if leaders.replicas < wanted else _with_surge(lws, wanted), partition)
    if leaders.partition == 0 and leaders.replicas == wanted:
        return LeadersPlan(wanted, 0)
    if leaders.replicas < wanted:
        return LeadersPlan(wanted, leaders.partition)
    missing = sum(not (i < len(groups) and groups[i].done) for i in range(wanted))
    replicas = _with_surge(lws, missing)
    burst = wanted + max_surge(lws)
    if leaders.wanted != wanted:
        return LeadersPlan(replicas, min(leaders.partition, burst))
    # Surge that is reclaimed already is not there to stand in for others.
    step = max_unavailable(lws) + max_surge(lws) - (burst - leaders.replicas)
    return LeadersPlan(replicas, compute_partition(groups, step, leaders.partition))


def _with_surge(lws: Object, missing: int) -> int:
    """The number of groups while `missing` of the wanted ones are not there yet: surge stays as long as it makes up for
    more than may be unavailable."""
    wanted, surge = replicas_of(lws), max_surge(lws)
    if missing > surge:
        return wanted + surge
    return wanted + max(0, missing - max_unavailable(lws))


def compute_partition(groups: Sequence[GroupState], step: int, partition: int) -> int:
    """The partition that lets `step` groups beyond those that are done at the tail be replaced, never above
    `partition`.

    Groups below it that are not ready use up the step too. Going on over groups that are not ready or updated already
    costs nothing: an update of broken groups does not wait for itself.
    """
    done_tail = 0
    for group in reversed(groups):
        if not group.done:
            break
        done_tail += 1
    lowest = max(0, len(groups) - done_tail - step)
    reached = lowest + sum(not group.ready for group in groups[:lowest])
    for index in range(min(reached, len(groups) - 1), lowest - 1, -1):
        if groups[index].ready and not groups[index].updated:
            break
        reached = index
    return min(reached, partition)

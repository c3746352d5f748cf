"""Pods that leave anyway: nobody's victims any more, and their room is soon free unless it is held for somebody."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from fairlead.scheduling.eviction.bystanders import Bystander
from fairlead.scheduling.eviction.reservations import is_stand_in
from fairlead.scheduling.fleet.fleet import Fleet, Standing
from fairlead.scheduling.snapshot import PodView

_STUCK_S: Final = 60.0


def staying(candidates: Sequence[Bystander], told: AbstractSet[str]) -> Sequence[Bystander]:
    """What is left to take when pods with these uids have been told to leave."""
    if not told:
        return candidates
    found = []
    for other in candidates:
        gone = sum(1 for pod in other.pods if pod.uid in told)
        if not gone:
            found.append(other)
        elif gone < len(other.pods):
            found.append(other.without(told))
    return found


def leaving_pods(fleet: Fleet, candidates: Iterable[Bystander], told: AbstractSet[str], now_s: float) -> list[PodView]:
    """Pods whose leaving may be of use. Left out are those of nodes that nobody else can leave and where all that they
    give up is held for others: after a reclaim on a large scale that is most of them; and pods that should have been
    gone for a minute (a finalizer, a node that does not answer): nobody knows when they will be."""
    by_row: dict[int, list[PodView]] = {}
    for uid, standing in fleet.pods.items():
        pod = standing.pod
        is_stuck = pod.leaves_by_s is not None and now_s > pod.leaves_by_s + _STUCK_S
        if (pod.is_leaving and not is_stuck) or uid in told:
            by_row.setdefault(standing.row, []).append(pod)
    if not by_row:
        return []
    pods = fleet.pods
    busy = {pods[pod.uid].row for other in candidates for pod in other.pods if pod.uid in pods}
    return [
        pod
        for row, leaving in by_row.items()
        if row in busy or not _is_held(leaving, fleet.on[row].values())
        for pod in leaving
    ]


def _is_held(leaving: Iterable[PodView], on: Iterable[Standing]) -> bool:
    """Whether those that stand in for others take all that is given up."""
    left: dict[str, int] = {}
    for pods, sign in ((leaving, 1), ((each.pod for each in on if is_stand_in(each.pod)), -1)):
        for pod in pods:
            for name, amount in pod.shape.demand.items():
                left[name] = left.get(name, 0) + sign * amount
    return all(amount <= 0 for amount in left.values())

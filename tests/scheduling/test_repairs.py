"""What is remembered of gangs that run, without an API server."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from fairlead.kube.informer import Informer
from fairlead.kube.kinds import NODES, PODS, RESOURCE_CLAIMS, RESOURCE_SLICES
from fairlead.kube.objects import Pod
from fairlead.kube.resources import key_of
from fairlead.scheduling.commit.evictor import Leaving
from fairlead.scheduling.controller import _Membership
from fairlead.scheduling.planner import Planner
from fairlead.scheduling.repairs import Followed, Repairs
from scheduling.planner_objects import gang_of, node, planner_with


class Watched:
    """Repairs that are told of pods as the scheduler tells them."""

    def __init__(self, planner: Planner) -> None:
        client: Any = None
        kinds: Any = (PODS, RESOURCE_CLAIMS, RESOURCE_SLICES, NODES)
        self.planner = planner
        self.evicted: list[str] = []
        followed = Followed(*(Informer(client, kind) for kind in kinds))
        followed.nodes.store.put(key_of(node("a")), node("a"))
        self._store = followed.pods.store
        self.repairs = Repairs(followed, _Membership(planner), self._evict, lambda: None)
        self._known: dict[str, Pod] = {}

    def _evict(self, pods: list[Leaving]) -> None:
        self.evicted += [each.pod.name for each in pods]

    def see(self, pod: Pod) -> None:
        old = self._known.get(pod.metadata.uid)
        self._store.put(key_of(pod), pod)
        self._known[pod.metadata.uid] = pod
        self.repairs.pod_ending(old, pod)
        self.planner.see(pod)
        self.repairs.pod_bound(old, pod)

    def lose(self, pod: Pod) -> None:
        self._store.remove(key_of(pod))
        self.repairs.pod_gone(self._known.pop(pod.metadata.uid))
        self.planner.lose(pod)
        self.repairs.step()


def test_a_gang_that_has_ended_says_nothing_of_the_next_one_of_its_name() -> None:
    watched = Watched(planner_with(node("a")))
    for pod in gang_of("g", 2, bound="a"):
        watched.see(pod)
        watched.repairs.step()
        watched.see(replace(pod, status=replace(pod.status, phase="Succeeded")))
    for pod in gang_of("g", 2, bound="a"):
        watched.lose(pod)
    again = [replace(p, metadata=replace(p.metadata, uid=f"{p.metadata.uid}-2")) for p in gang_of("g", 2, bound="a")]
    for pod in again:
        watched.see(pod)
    watched.repairs.step()
    watched.lose(again[0])
    assert watched.evicted == ["g-1"]

"""Room that was cleared is held: for the gang, against others, until it is placed or its time is over."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from fairlead.kube.objects import Node, Pod
from fairlead.kube.objects.devices import DeviceClass, ResourceClaim, ResourceSlice
from fairlead.kube.selectors import from_labels
from fairlead.scheduling.eviction import (
    Budget,
    Budgets,
    EvictionLimits,
    NoRoom,
    PriorityRights,
    Reservations,
    find_room,
)
from fairlead.scheduling.fleet.fleet import Fleet
from fairlead.scheduling.fleet.options import Outlook
from fairlead.scheduling.gangs.model import Gang
from fairlead.scheduling.gangs.search import place_gang
from fairlead.scheduling.planner import Planner
from fairlead.scheduling.settings import Settings
from fairlead.scheduling.verdict import Cleared, Placed, Refused
from scheduling.eviction.worlds import NOW_S, fleet_of, gang, run, state_of

EVICT = EvictionLimits(moves=False)
CLASS = "gpu.example.com"


def cleared(fleet: Fleet, wanted: Gang, *low: Gang) -> Cleared:
    found = find_room(Outlook(fleet), wanted, run(fleet, *low), PriorityRights(), Budgets(), NOW_S, EVICT)
    assert isinstance(found, Cleared)
    return found


def test_room_is_held_and_let_go() -> None:
    fleet = fleet_of(2)
    wanted = gang("new", 2, priority=5)
    found = cleared(fleet, wanted, gang("low", 2, on=["n0"]))
    before = state_of(fleet)
    rooms = Reservations(fleet)
    rooms.hold(found, until_s=NOW_S + 10)
    assert wanted.key in rooms
    assert set(rooms.told) == {"low-0"}
    fleet.lift("low-0")
    outlook = Outlook(fleet)
    equal = gang("equal", 1, priority=5)
    with fleet.trial(), rooms.opened(equal):
        assert isinstance(place_gang(outlook, equal), Refused)
    with fleet.trial(), rooms.opened(wanted):
        assert isinstance(place_gang(outlook, wanted), Placed)
    assert rooms.drop(wanted.key)
    assert not rooms.drop(wanted.key)
    fleet.put(gang("low", 2, on=["n0"]).bound[0], 0)
    assert state_of(fleet) == before


def test_its_time_ends() -> None:
    fleet = fleet_of(1)
    wanted = gang("new", 1, priority=5)
    rooms = Reservations(fleet)
    rooms.hold(cleared(fleet, wanted, gang("low", 1, on=["n0"])), until_s=NOW_S + 10)
    assert rooms.expire(NOW_S + 9) == ()
    assert rooms.expire(NOW_S + 10) == (wanted.key,)
    assert not rooms.told
    assert sorted(fleet.pods) == ["low-0"]


def test_a_higher_priority_may_take_it() -> None:
    fleet = fleet_of(1, 1)
    first = gang("first", 1, priority=5)
    rooms = Reservations(fleet)
    rooms.hold(cleared(fleet, first, gang("low", 1, on=["n0"]), gang("high", 1, on=["n1"], priority=9)), NOW_S + 10)
    fleet.lift("low-0")
    outlook, urgent = Outlook(fleet), gang("urgent", 1, priority=7)
    with rooms.opened(urgent):
        assert isinstance(place_gang(outlook, urgent), Placed)
    assert first.key not in rooms
    assert sorted(fleet.pods) == ["high-0", "urgent-0"]


def test_a_higher_priority_that_finds_none_leaves_it() -> None:
    fleet = fleet_of(1)
    first = gang("first", 1, priority=5)
    rooms = Reservations(fleet)
    rooms.hold(cleared(fleet, first, gang("low", 1, on=["n0"])), NOW_S + 10)
    urgent = gang("urgent", 2, priority=7)
    with rooms.opened(urgent):
        assert isinstance(place_gang(Outlook(fleet), urgent), Refused)
    assert first.key in rooms
    assert len(fleet.pods) == 2


def test_who_was_told_to_leave_is_not_told_again() -> None:
    fleet = fleet_of(2)
    others = run(fleet, gang("a", 1, on=["n0"]), gang("b", 1, on=["n0"]))
    rooms, victims = Reservations(fleet), []
    for name in ("x", "y"):
        found = find_room(
            Outlook(fleet), gang(name, 1, priority=5), others, PriorityRights(), Budgets(), NOW_S, EVICT, rooms.told
        )
        assert isinstance(found, Cleared)
        rooms.hold(found, NOW_S + 10)
        victims += [pod.name for each in found.victims for pod in each.pods]
    assert sorted(victims) == ["a-0", "b-0"]


def test_budgets_count_who_was_told_to_leave_before_their_status_does() -> None:
    fleet = fleet_of(1, 1)
    low = [gang("a", 1, on=["n0"]), gang("b", 1, on=["n1"])]
    labelled = [
        replace(g, root=replace(g.root, bound=tuple(replace(p, labels={"app": "x"}) for p in g.bound))) for g in low
    ]
    others = run(fleet, *labelled)
    budgets = Budgets([Budget("ns", "keep", from_labels({"app": "x"}), 1)])
    found = [
        find_room(Outlook(fleet), gang("new", 1, priority=5), others, PriorityRights(), budgets, NOW_S, EVICT, told)
        for told in (frozenset[str](), frozenset(["a-0"]))
    ]
    assert isinstance(found[0], Cleared) and found[0].victims
    # The room that the first one leaves is free for it; of the other there is no more to take.
    assert isinstance(found[1], Cleared) and found[1].kind == "leaving"
    two = gang("two", 1, 1, priority=5)
    denied = find_room(Outlook(fleet), two, others, PriorityRights(), budgets, NOW_S, EVICT, frozenset(["a-0"]))
    assert isinstance(denied, NoRoom)


def test_two_moves_do_not_count_on_one_place() -> None:
    fleet = fleet_of(4, 4, 4)
    others = run(
        fleet,
        gang("a", 1, on=["n0"], priority=9),
        gang("b", 1, on=["n1"], priority=9),
        gang("c", 3, on=["n2"], priority=9, is_preemptible=False),
    )
    rooms = Reservations(fleet)

    def ask(name: str) -> Cleared | NoRoom:
        return find_room(
            Outlook(fleet), gang(name, 4, priority=5), others, PriorityRights(), Budgets(), NOW_S,
            told=rooms.told, moving=rooms.moving,
        )  # fmt: skip

    first = ask("x")
    assert isinstance(first, Cleared) and first.kind == "consolidation"
    rooms.hold(first, NOW_S + 10)
    before = state_of(fleet)
    assert isinstance(ask("y"), NoRoom)
    assert state_of(fleet) == before
    rooms.expire(NOW_S + 10)
    assert not rooms.moving


class Cluster:
    """Nodes of two devices each, pods with a claim for one each, as API objects."""

    def __init__(self, nodes: int) -> None:
        self.planner = Planner(Settings())
        self.now_s = NOW_S
        self.objects: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
        selectors = [{"cel": {"expression": f'device.driver == "{CLASS}"'}}]
        self._see(DeviceClass, {"metadata": {"name": CLASS}, "spec": {"selectors": selectors}})
        for i in range(nodes):
            pool = {"name": f"n{i}", "generation": 1, "resourceSliceCount": 1}
            spec = {"driver": CLASS, "nodeName": f"n{i}", "pool": pool, "devices": [{"name": "d0"}, {"name": "d1"}]}
            amounts = {"cpu": "64", "memory": "64Gi", "pods": "100"}
            self._see(Node, {"metadata": {"name": f"n{i}"}, "status": {"allocatable": amounts}})
            self._see(ResourceSlice, {"metadata": {"name": f"n{i}-slice"}, "spec": spec})

    def add(
        self, name: str, size: int, priority: int = 0, on: tuple[tuple[str, str], ...] = (), devices: int = 1
    ) -> None:
        """Pods that wait; or that run on these nodes with these devices."""
        exactly = {"deviceClassName": CLASS, "allocationMode": "ExactCount", "count": devices}
        for k in range(size):
            claim_name = f"{name}-{k}-gpu"
            meta: dict[str, Any] = {"name": f"{name}-{k}", "namespace": "ns", "uid": f"{name}-{k}"}
            if size > 1:
                meta["labels"] = {"fairlead.dev/gang": name}
                meta["annotations"] = {"fairlead.dev/gang-spec": json.dumps({"min": size})}
            statuses = [{"name": "gpu", "resourceClaimName": claim_name}]
            pod: dict[str, Any] = {
                "metadata": {**meta, "ownerReferences": [{"kind": "Job", "name": "j", "uid": "j", "controller": True}]},
                "spec": {
                    "schedulerName": "fairlead",
                    "priority": priority,
                    "containers": [{"name": "c"}],
                    "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "t"}],
                },
                "status": {"resourceClaimStatuses": statuses},
            }
            owner = {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"], "controller": True}
            claim: dict[str, Any] = {
                "metadata": {"name": claim_name, "namespace": "ns", "uid": claim_name, "ownerReferences": [owner]},
                "spec": {"devices": {"requests": [{"name": "r", "exactly": exactly}]}},
            }
            if on:
                node, device = on[k]
                result = {"request": "r", "driver": CLASS, "pool": node, "device": device}
                claim["status"] = {"allocation": {"devices": {"results": [result]}}}
                pod["spec"]["nodeName"] = node
            self._see(ResourceClaim, claim)
            self._see(Pod, pod)
            self.objects[meta["name"]] = pod, claim

    def end(self, name: str) -> None:
        """A pod is gone, and its claim."""
        pod, claim = self.objects.pop(name)
        self.planner.lose(msgspec.convert(pod, Pod))
        self.planner.lose(msgspec.convert(claim, ResourceClaim))
        self.now_s += 20

    def decide(self) -> list[Placed | Cleared | Refused]:
        found = []
        while (verdict := self.planner.decide(self.now_s)) is not None:
            found.append(verdict)
        return found

    def _see(self, model: Any, body: dict[str, Any]) -> None:
        self.planner.see(msgspec.convert(body, model))


@pytest.mark.parametrize("rival", [0, 5])
def test_devices_that_victims_leave_behind_go_to_nobody_else(rival: int) -> None:
    cluster = Cluster(1)
    cluster.add("a", 1, on=(("n0", "d0"),))
    cluster.add("b", 1, on=(("n0", "d1"),))
    cluster.add("new", 2, priority=5)
    (found,) = cluster.decide()
    assert isinstance(found, Cleared)
    assert sorted(pod.name for each in found.victims for pod in each.pods) == ["a-0", "b-0"]
    cluster.end("a-0")
    cluster.add("rival", 1, priority=rival)
    assert not any(isinstance(verdict, Placed) for verdict in cluster.decide())
    cluster.end("b-0")
    placed = [verdict for verdict in cluster.decide() if isinstance(verdict, Placed)]
    assert [verdict.gang.name for verdict in placed] == ["new"]
    devices = {
        result.device
        for each in placed[0].assignments
        for allocation in each.allocations.values()
        if allocation.devices is not None
        for result in allocation.devices.results
    }
    assert devices == {"d0", "d1"}


def test_small_jobs_with_devices_are_put_together_for_a_larger_one() -> None:
    cluster = Cluster(2)
    cluster.add("a", 1, priority=9, on=(("n0", "d0"),))
    cluster.add("b", 1, priority=9, on=(("n1", "d1"),))
    cluster.add("large", 1, priority=1, devices=2)
    (found,) = cluster.decide()
    assert isinstance(found, Cleared) and found.kind == "consolidation"
    (move,) = found.moves
    (allocation,) = move.allocations.values()
    assert allocation.devices is not None
    assert [(r.pool, r.device) for r in allocation.devices.results] in ([("n0", "d1")], [("n1", "d0")])
    assert set(found.nominations.values()) == {"n0", "n1"} - {move.node}
    cluster.end(move.pod.name)
    placed = [verdict for verdict in cluster.decide() if isinstance(verdict, Placed)]
    assert [verdict.gang.name for verdict in placed] == ["large-0"]

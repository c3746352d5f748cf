"""Options of a shape: the best row, the reasons, the room, and what makes them look again."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from fairlead.kube.objects import ResourceClaim
from fairlead.kube.selectors import Requirement, Selector
from fairlead.scheduling.fleet import fleet as fleet_module
from fairlead.scheduling.fleet.fleet import Fleet
from fairlead.scheduling.fleet.options import NOWHERE, Options, Outlook
from fairlead.scheduling.observe import amounts
from fairlead.scheduling.snapshot import PodTerm, PodView, Shape, Taint, Term
from scheduling.allocator.allocator_objects import DRIVER, request
from scheduling.fleet.device_objects import claim_of, device_class, gpus, halves, node_slice
from scheduling.fleet.fleet_objects import fleet_of, node, pod, shape

HOST = "kubernetes.io/hostname"


def options_of(fleet: Fleet, of: Shape) -> Options:
    options = Options(fleet, of)
    options.refresh()
    return options


def gpu_fleet(**devices: int) -> Fleet:
    fleet = fleet_of(*map(node, devices))
    for name, count in devices.items():
        fleet.devices.set_slice(node_slice(name, gpus(count)))
    return fleet


def gpu_shape(count: int = 1, cls: str = "any") -> Shape:
    claim = claim_of("template", request(count=count, deviceClassName=cls))
    return shape(own_claims=(claim,), devices={"any.deviceclass.resource.k8s.io/devices": count})


def gpu_pod(fleet: Fleet, of: Shape) -> PodView:
    """A pod of the shape, whose claim the fleet knows."""
    view = pod(of)
    claim = msgspec.structs.replace(
        of.own_claims[0],
        metadata=msgspec.structs.replace(of.own_claims[0].metadata, name=view.name, namespace="d", uid=f"c-{view.uid}"),
    )
    fleet.set_claim(claim)
    return pod(of, own_claims=(view.name,), claims=(view.name,))


def test_the_emptiest_node_is_best_and_ties_go_to_the_first() -> None:
    fleet = fleet_of(node("a"), node("b"), node("c"))
    small = shape(cpu=100, memory=1 << 20)
    options = options_of(fleet, small)
    assert options.best() == 0
    fleet.put(pod(small), 0)
    options.refresh()
    assert options.best() == 1
    assert options.best(np.array([True, False, True])) == 2
    assert options.best(np.zeros(3, np.bool_)) is None


def test_the_node_that_was_cleared_comes_first_where_it_fits() -> None:
    fleet = fleet_of(node("a"), node("b"), node("c", unschedulable=True))
    options = options_of(fleet, shape())
    assert options.best(nominated="b") == 1
    assert options.best(nominated="c") == options.best(nominated="gone") == 0
    assert options.best(np.array([True, False, True]), nominated="b") == 0


def test_nothing_fits_where_there_is_nothing() -> None:
    fleet = fleet_of()
    options = options_of(fleet, shape())
    assert options.best() is None and len(options.scores) == 0
    row = fleet.set_node(node("a"))
    options.refresh()
    assert options.best() == row
    fleet.remove_node("a")
    options.refresh()
    assert options.best() is None and options.room(row, 3) == 0
    assert options.reason(row) == "there is no node"


def test_an_undone_trial_is_as_if_it_had_not_been() -> None:
    fleet = fleet_of(node("a"), node("b", allocatable={"cpu": 1000}))
    half = shape(cpu=2000)
    options = options_of(fleet, half)
    before = options.scores.tolist()
    with fleet.trial():
        fleet.put(pod(half), 0)
        fleet.put(pod(half), 0)
        options.refresh()
        assert options.reason(0) == "Insufficient cpu" and options.best() is None
    options.refresh()
    assert options.scores.tolist() == before


def test_amounts_beyond_all_measure_do_not_wrap_around() -> None:
    most = amounts({"memory": "1e40"})
    fleet = fleet_of(node("a", allocatable={**most, "pods": 5000}), node("b", allocatable={"pods": 5000}))
    huge = shape(memory=most["memory"])
    options = options_of(fleet, huge)
    assert options.fits(0) and options.reason(1) == "Insufficient memory"
    for _ in range(2000):
        fleet.put(pod(huge), 0)
        fleet.put(pod(huge), 1)
    options.refresh()
    assert options.reason(0) == options.reason(1) == "Insufficient memory"
    assert options.best() is None


def test_a_pod_that_asks_for_nothing_fits_where_too_much_is_taken() -> None:
    fleet = fleet_of(node("a"))
    fleet.put(pod(shape(cpu=9000)), 0)
    assert options_of(fleet, shape()).fits(0)
    assert options_of(fleet, shape(cpu=1)).reason(0) == "Insufficient cpu"


def test_all_resources_that_lack_are_reasons() -> None:
    fleet = fleet_of(node("a", allocatable={"pods": 0}), node("b", unschedulable=True), node("c"))
    options = options_of(fleet, shape(cpu=9000, memory=99 << 30, requests={"x.io/b": 1, "x.io/a": 1}))
    lacking = ("Insufficient cpu", "Insufficient memory", "Insufficient x.io/a", "Insufficient x.io/b")
    assert options.reasons(0) == ("Too many pods", *lacking) and options.reason(0) == "Too many pods"
    assert options.reasons(1) == ("node(s) were unschedulable",)
    assert options.reasons(2) == lacking
    assert options_of(fleet, shape()).reasons(2) == ()


def test_room_is_what_fits_together() -> None:
    fleet = fleet_of(node("a"))
    assert options_of(fleet, shape(cpu=1500)).room(0, 9) == 2
    assert options_of(fleet, shape(cpu=1500)).room(0, 1) == 1
    assert options_of(fleet, shape(cpu=5000)).room(0, 9) == 0
    assert options_of(fleet, shape(host_ports=frozenset([("0.0.0.0", "TCP", 80)]))).room(0, 9) == 1
    alone = Selector((Requirement("app", "exists"),))
    shy = shape(labels={"app": "x"}, far=(PodTerm(alone, frozenset(["d"]), HOST),))
    assert options_of(fleet, shy).room(0, 9) == 1
    assert options_of(fleet, shape()).rooms([0, 0], 99).tolist() == [10, 10]


def test_devices_decide_and_say_what_lacks() -> None:
    fleet = gpu_fleet(a=1, b=4)
    pair = gpu_shape(2)
    outlook = Outlook(fleet)
    options = outlook.of(pair)
    assert options.best() == 1 and options.room(1, 9) == 2
    assert options.reason(0).startswith("cannot allocate all claims: ")
    refusal = options.refusal(0)
    assert refusal is not None and str(refusal) == options.reason(0) and options.refusal(1) is None
    for _ in range(2):
        fleet.place(gpu_pod(fleet, pair), 1)
    assert outlook.of(pair).best() is None
    fleet.lift(next(iter(fleet.pods)), frees_claims=True)
    assert outlook.of(pair).best() == 1
    fleet.devices.set_slice(node_slice("a", gpus(2)))
    assert outlook.of(pair).room(0, 9) == 1 and outlook.of(pair).refusal(0) is None


def test_the_least_waste_decides_before_packing() -> None:
    fleet = fleet_of(node("a"), node("b"))
    for name, cards in (("a", 1), ("b", 3)):
        for each in halves(name, cards):
            fleet.devices.set_slice(each)
    for kind in ("card", "half"):
        fleet.devices.set_class(device_class(kind, f"device.attributes['{DRIVER}'].kind == '{kind}'"))
    card, half = gpu_shape(cls="card"), gpu_shape(cls="half")
    for _ in range(2):
        fleet.place(gpu_pod(fleet, card), 1)
    fleet.place(gpu_pod(fleet, half), 0)
    options = options_of(fleet, half)
    assert options.fits(1) and options.best() == 0, "the other half of a card that is broken already"
    assert options_of(fleet, card).best() == 1


def test_a_constraint_that_comes_before_the_devices_is_no_refusal_of_devices() -> None:
    fleet = gpu_fleet(a=0)
    fleet.set_node(node("a", taints=(Taint("k", "NoSchedule"),)))
    options = options_of(fleet, gpu_shape())
    assert options.reason(0) == "node(s) had untolerated taint {k: }" and options.refusal(0) is None


def test_a_class_that_comes_later_is_noticed() -> None:
    fleet = gpu_fleet(a=1)
    fleet.devices.remove_class("any")
    outlook = Outlook(fleet)
    wanted = gpu_shape()
    assert outlook.of(wanted).best() is None
    fleet.devices.set_class(device_class())
    assert outlook.of(wanted).best() == 0


def test_pods_with_devices_are_packed_and_others_keep_away() -> None:
    fleet = gpu_fleet(a=4, b=4, c=0)
    one = gpu_shape()
    fleet.place(gpu_pod(fleet, one), 1)
    outlook = Outlook(fleet)
    assert outlook.of(one).best() == 1
    assert outlook.of(shape(cpu=100, memory=1 << 20)).best() == 2


def shared(name: str, node_name: str = "") -> ResourceClaim:
    raw: dict[str, Any] = {"metadata": {"name": name, "namespace": "d", "uid": name}}
    raw["spec"] = {"devices": {"requests": [request()]}}
    if node_name:
        term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node_name]}]}
        raw["status"] = {"allocation": {"devices": {}, "nodeSelector": {"nodeSelectorTerms": [term]}}}
    return msgspec.convert(raw, ResourceClaim)


def test_a_shared_claim_binds_to_where_its_devices_are() -> None:
    fleet = gpu_fleet(a=1, b=1)
    fleet.set_claim(shared("s"))
    both = shape(shared_claims=(("d", "s"),))
    outlook = Outlook(fleet)
    assert outlook.of(both).room(0, 5) == 5, "all of them use the same devices"
    mark = fleet.mark()
    fleet.place(pod(both, claims=("s",)), 1)
    assert outlook.of(both).reason(0) == "resourceclaim not available on the node"
    assert outlook.of(both).best() == 1
    fleet.undo(mark)
    assert outlook.of(both).best() == 0
    fleet.set_claim(shared("s", "b"))
    assert outlook.of(both).best() == 1


def test_a_claim_has_only_so_many_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairlead.scheduling.filters.claims.MOST_USERS", 2)
    monkeypatch.setattr("fairlead.scheduling.fleet.options.MOST_USERS", 2)
    fleet = gpu_fleet(a=1)
    fleet.set_claim(shared("s", "a"))
    user = shape(shared_claims=(("d", "s"),))
    outlook = Outlook(fleet)
    assert outlook.of(user).room(0, 9) == 2
    for _ in range(2):
        fleet.put(pod(user, claims=("s",)), 0)
    assert outlook.of(user).reason(0) == "resourceclaim not available on the node"


def test_who_has_not_read_for_long_starts_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_module, "_LOG_LIMIT", 4)
    fleet = fleet_of(node("a"), node("b"))
    outlook = Outlook(fleet)
    big = shape(cpu=4000)
    assert outlook.of(big).best() == 0
    for _ in range(3):
        view = pod(shape())
        fleet.put(view, 1)
        fleet.lift(view.uid)
    fleet.put(pod(big), 0)
    assert outlook.of(big).best() == 1
    fresh = options_of(fleet, big)
    assert outlook.of(big).scores.tolist() == fresh.scores.tolist()


def test_a_change_of_labels_moves_pods_to_another_domain() -> None:
    fleet = fleet_of(node("a", labels={"zone": "x"}), node("b", labels={"zone": "y"}))
    web = Selector((Requirement("app", "exists"),))
    shy = shape(labels={"app": "x"}, far=(PodTerm(web, frozenset(["d"]), "zone"),))
    outlook = Outlook(fleet)
    fleet.put(pod(shy), 0)
    assert outlook.of(shy).best() == 1
    fleet.set_node(node("b", labels={"zone": "x"}))
    assert outlook.of(shy).reason(1) == "node(s) didn't match pod anti-affinity rules"
    fleet.set_node(node("a", labels={"zone": "z"}))
    assert outlook.of(shy).best() == 1


def test_the_shape_that_was_not_asked_for_longest_is_forgotten() -> None:
    outlook = Outlook(fleet_of(node("a")), most=2)
    first, second, third = shape(), shape(), shape()
    known = outlook.of(first)
    outlook.of(second)
    assert outlook.of(first) is known
    outlook.of(third)
    assert outlook.of(first) is known
    assert outlook.of(second).best() == 0


def test_preferences_outweigh_room() -> None:
    fleet = fleet_of(node("a"), node("b", labels={"disk": "x"}), node("c", taints=(Taint("k", "PreferNoSchedule"),)))
    wish = Term((Requirement("disk", "exists"),))
    fleet.put(pod(shape(cpu=1000)), 1)
    options = options_of(fleet, shape(cpu=100, memory=1, preferred_terms=((1, wish),)))
    assert options.best() == 1
    plain = options_of(fleet, shape(cpu=100, memory=1)).scores
    assert plain[0] > plain[1] > plain[2] > NOWHERE

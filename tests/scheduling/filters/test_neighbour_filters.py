"""Filters that look at what stands on nodes: the cases that random fleets come across too seldom."""

from __future__ import annotations

import pytest

from fairlead.kube.selectors import Requirement, Selector
from fairlead.scheduling.fleet.fleet import Fleet
from fairlead.scheduling.fleet.options import Outlook
from fairlead.scheduling.snapshot import NodeView, PodTerm, Shape, SpreadConstraint, Taint
from scheduling.fleet.fleet_objects import fleet_of, node, pod, shape

ZONE = "zone"
WEB = Selector((Requirement("app", "in", ("web",)),))
HERE = frozenset(["d"])
LABELS = {"app": "web"}
NEAR = PodTerm(WEB, HERE, ZONE)


def in_zone(name: str, zone: str = "", **fields: object) -> NodeView:
    return node(name, labels={ZONE: zone, "name": name} if zone else {"name": name}, **fields)


def reasons(fleet: Fleet, of: Shape) -> list[str]:
    options = Outlook(fleet).of(of)
    return [options.reason(row) for row in range(len(fleet.nodes))]


def test_the_first_of_pods_that_want_to_be_together_goes_anywhere_that_has_a_zone() -> None:
    fleet = fleet_of(in_zone("a", "x"), in_zone("b", "y"), in_zone("c"))
    together = shape(labels=LABELS, near=(NEAR,))
    apart = "node(s) didn't match pod affinity rules"
    assert reasons(fleet, together) == ["", "", apart]
    assert reasons(fleet, shape(near=(NEAR,))) == [apart] * 3, "it is not what it wants to be near"
    fleet.put(pod(together), 1)
    assert reasons(fleet, together) == [apart, "", apart]


def test_pods_that_satisfy_only_some_terms_do_not_count() -> None:
    fleet = fleet_of(in_zone("a", "x"), in_zone("b", "y"))
    fleet.put(pod(shape(labels=LABELS)), 0)
    both = shape(near=(NEAR, PodTerm(Selector((Requirement("tier", "exists"),)), HERE, ZONE)))
    assert not any(reason == "" for reason in reasons(fleet, both))
    fleet.put(pod(shape(labels=LABELS | {"tier": "1"})), 1)
    assert reasons(fleet, both)[1] == ""


@pytest.mark.parametrize(("taken", "wanted"), [("0.0.0.0", "10.0.0.1"), ("10.0.0.1", "0.0.0.0"), ("h", "h")])
def test_a_port_on_all_addresses_conflicts_with_any(taken: str, wanted: str) -> None:
    fleet = fleet_of(node("a"))
    standing = pod(shape(host_ports=frozenset([(taken, "TCP", 80)])))
    fleet.put(standing, 0)
    asks = shape(host_ports=frozenset([(wanted, "TCP", 80)]))
    assert reasons(fleet, asks) == ["node(s) didn't have free ports for the requested pod ports"]
    for other in (("10.0.0.2", "UDP", 80), ("10.0.0.2", "TCP", 81)):
        assert reasons(fleet, shape(host_ports=frozenset([other]))) == [""]
    fleet.lift(standing.uid)
    assert reasons(fleet, asks) == [""]


def spreading(**fields: object) -> Shape:
    constraint = SpreadConstraint(**{"level": ZONE, "max_skew": 1, "is_required": True, "selector": WEB} | fields)  # type: ignore[arg-type]
    return shape(labels=LABELS, spread=(constraint,))


SKEW = "node(s) didn't match pod topology spread constraints"


def test_a_zone_that_is_not_tolerated_may_count_or_not() -> None:
    fleet = fleet_of(in_zone("a", "x"), in_zone("b", "y", taints=(Taint("k", "NoSchedule"),)))
    fleet.put(pod(spreading()), 0)
    assert reasons(fleet, spreading())[0] == SKEW
    assert reasons(fleet, spreading(honours_taints=True))[0] == ""


def test_a_node_that_is_selected_no_longer_counts_no_longer() -> None:
    fleet = fleet_of(in_zone("a", "x"), in_zone("b", "y"))
    outlook = Outlook(fleet)
    picky = Shape("d", {"pods": 1}, LABELS, {"pool": "p"}, spread=spreading().spread)
    for name, zone in (("a", "x"), ("b", "y")):
        fleet.set_node(node(name, labels={ZONE: zone, "pool": "p"}))
    fleet.put(pod(picky), 0)
    assert outlook.of(picky).reason(0) == SKEW
    fleet.set_node(node("b", labels={ZONE: "y"}))
    assert outlook.of(picky).best() == 0


def test_an_empty_selector_of_a_constraint_counts_nothing() -> None:
    fleet = fleet_of(in_zone("a", "x"), in_zone("b", "y"))
    every = spreading(selector=Selector())
    for _ in range(3):
        fleet.put(pod(every), 0)
    assert reasons(fleet, every) == ["", ""]


def test_the_room_of_a_zone_ends_with_the_skew() -> None:
    fleet = fleet_of(in_zone("a", "x"), in_zone("b", "y"), in_zone("c", "z"))
    two = spreading(max_skew=2)
    fleet.put(pod(two), 1)
    fleet.put(pod(two), 2)
    outlook = Outlook(fleet)
    # Others have 1: x may rise to 3, the others to 2 as long as x has none.
    assert outlook.of(two).rooms([0, 1, 2], 9).tolist() == [3, 1, 1]
    assert outlook.of(spreading(max_skew=2, min_domains=4)).rooms([0, 1, 2], 9).tolist() == [2, 1, 1]
    alone = fleet_of(in_zone("a", "x"))
    assert Outlook(alone).of(two).room(0, 9) == 9

"""Scores, with the figures worked out by hand from the formulas of kube-scheduler's plugins."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fairlead.kube.selectors import Requirement, Selector
from fairlead.scheduling.allocator.cost import Cost
from fairlead.scheduling.neighbours import Neighbours
from fairlead.scheduling.scores.allocation import balanced_allocation, least_allocated
from fairlead.scheduling.scores.devices import device_cost, device_packing, devices_spared
from fairlead.scheduling.scores.image_locality import image_locality
from fairlead.scheduling.scores.inter_pod import inter_pod_affinity
from fairlead.scheduling.scores.preferences import avoided_taints, less_is_better, more_is_better, preference
from fairlead.scheduling.scores.spread import topology_spread
from fairlead.scheduling.snapshot import PodTerm, SpreadConstraint, Taint, Term, Toleration
from scheduling.fleet.fleet_objects import GIBI, columns_of, fleet_of, node, pod, shape

ALL = np.arange
MEBI = 1 << 20
WEB = Selector((Requirement("app", "in", ("web",)),))
WEB_LABELS = {"app": "web"}


def test_least_allocated_is_the_mean_free_share() -> None:
    fleet = fleet_of(node("a"), node("b"), node("none", allocatable={"cpu": 0, "memory": 0}))
    fleet.put(pod(shape(cpu=1000, memory=2 * GIBI)), 0)
    wanted = shape(cpu=1000)
    found = least_allocated(wanted, columns_of(fleet), ALL(3))
    # The newcomer asks for no memory and counts for 200Mi of 8Gi.
    unstated = 200 / 8192
    assert found == pytest.approx([50 * (0.5 + 0.75 - unstated), 50 * (0.75 + 1 - unstated), 0.0])


def test_pods_without_requests_count_for_something() -> None:
    fleet = fleet_of(node("a"), node("b"))
    for _ in range(2):
        fleet.put(pod(shape()), 0)
    found = least_allocated(shape(), columns_of(fleet), ALL(2))
    assert found[0] < found[1]


def test_what_does_not_fit_any_more_is_not_less_than_nothing() -> None:
    fleet = fleet_of(node("a"))
    fleet.put(pod(shape(cpu=9000, memory=GIBI)), 0)
    assert least_allocated(shape(cpu=1, memory=GIBI), columns_of(fleet), ALL(1)) == pytest.approx([50 * 0.75])


def test_a_pod_that_evens_out_the_shares_is_welcome() -> None:
    fleet = fleet_of(node("a"), node("b"), node("c", allocatable={"memory": 0}))
    fleet.put(pod(shape(cpu=2000)), 0)
    columns = columns_of(fleet)
    # Shares before: 1/2 and 0, after: 1/2 and 1/4; where nothing is, from 0 to 1/4; without memory nothing to even out.
    assert balanced_allocation(shape(memory=2 * GIBI), columns, ALL(3)) == pytest.approx([81.25, 68.75, 75.0])
    assert balanced_allocation(shape(cpu=2000, memory=4 * GIBI), columns, ALL(2)) == pytest.approx([75.0, 75.0])
    assert balanced_allocation(shape(cpu=9000), columns, ALL(1)) == pytest.approx([62.5]), "a share is at most 1"
    assert not balanced_allocation(shape(), columns_of(fleet), ALL(2)).any()


def test_images_count_between_thresholds_and_by_how_many_have_them() -> None:
    big = {"vllm:1": 2000 * MEBI}
    fleet = fleet_of(node("a", images=big), node("b", images={"small:1": 10 * MEBI}), node("c"), node("d", images=big))
    columns = columns_of(fleet)
    found = image_locality(shape(images=("vllm:1",)), columns, ALL(4))
    assert found == pytest.approx([100.0, 0, 0, 100.0]), "half of the nodes have 2000 MiB, which counts for 1000"
    two = image_locality(shape(images=("vllm:1", "small:1")), columns, ALL(4))
    assert two[0] == pytest.approx(100 * (1000 - 23) / (2000 - 23)) and two[1] == 0
    fleet.set_node(node("d"))
    columns.refresh()
    assert image_locality(shape(images=("vllm:1",)), columns, ALL(1)) == pytest.approx([100 * (500 - 23) / (1000 - 23)])
    assert not image_locality(shape(images=("none:1",)), columns, ALL(4)).any()


def test_preferences_are_in_proportion_to_the_most_that_fits() -> None:
    here = Term((Requirement("zone", "in", ("a",)),))
    there = Term((Requirement("disk", "exists"),))
    wanted = shape(preferred_terms=((10, here), (30, there)))
    assert preference(wanted, node(labels={"zone": "a"})) == 10
    assert preference(wanted, node(labels={"zone": "a", "disk": "x"})) == 40
    raw, fits = np.array([10.0, 20.0, 40.0]), np.array([True, True, False])
    assert more_is_better(raw, fits)[:2].tolist() == [50.0, 100.0]
    assert less_is_better(raw, fits)[:2].tolist() == [50.0, 0.0]
    nothing = np.zeros(3)
    assert more_is_better(nothing, fits).tolist() == [0.0] * 3
    assert less_is_better(nothing, fits).tolist() == [100.0] * 3


def test_only_soft_taints_are_avoided() -> None:
    marked = node(taints=(Taint("a", "PreferNoSchedule"), Taint("b", "PreferNoSchedule"), Taint("c", "NoSchedule")))
    assert avoided_taints(shape(), marked) == 2
    assert avoided_taints(shape(tolerations=(Toleration("a", "Exists"),)), marked) == 1


def test_wishes_about_neighbours_go_both_ways() -> None:
    fleet = fleet_of(*(node(name, labels={"zone": name[0]}) for name in ("a1", "a2", "b1", "c1")))
    like = PodTerm(WEB, frozenset(["d"]), "zone", 10)
    fleet.put(pod(shape(labels=WEB_LABELS)), 0)
    # It wants to be where web is (required: worth 1), and one would rather be away from web.
    fleet.put(pod(shape(near=(PodTerm(WEB, frozenset(), "zone"),))), 2)
    fleet.put(pod(shape(far=(PodTerm(WEB, frozenset(["d"]), "zone", 5),))), 3)
    columns = columns_of(fleet)
    found = inter_pod_affinity(Neighbours(shape(labels=WEB_LABELS, near=(like,)), columns), columns, np.ones(4, bool))
    assert found == pytest.approx([100.0, 100.0, 100 * 6 / 15, 0.0])
    stranger = inter_pod_affinity(Neighbours(shape(), columns), columns, np.ones(4, bool))
    assert not stranger.any()
    assert not inter_pod_affinity(Neighbours(shape(near=(like,)), columns), columns, np.zeros(4, bool)).any()


def test_spreading_prefers_domains_with_fewer_pods() -> None:
    names = ("a1", "a2", "b1", "x")
    fleet = fleet_of(*(node(name, labels={"zone": name[0]} if name != "x" else {}) for name in names))
    web = shape(labels=WEB_LABELS, spread=(SpreadConstraint("zone", 1, False, WEB),))
    for _ in range(3):
        fleet.put(pod(web), 0)
    fleet.put(pod(web), 2)
    columns = columns_of(fleet)
    every = np.ones(4, bool)
    found = topology_spread(Neighbours(web, columns), columns, every, every, every)
    # Two domains: weight log 4. Raw: 3 and 1 pods, rounded: 4 and 1; 100 x (4 + 1 - raw) / 4. No zone: nothing.
    assert (round(3 * math.log(4)), round(math.log(4))) == (4, 1)
    assert found.tolist() == [25.0, 25.0, 100.0, 0.0]
    empty = columns_of(fleet_of(node("a1", labels={"zone": "a"})))
    one = np.ones(1, bool)
    assert topology_spread(Neighbours(web, empty), empty, one, one, one).tolist() == [100.0]


def test_hosts_are_counted_one_by_one() -> None:
    fleet = fleet_of(node("a"), node("b"))
    web = shape(labels=WEB_LABELS, spread=(SpreadConstraint("kubernetes.io/hostname", 1, False, WEB),))
    fleet.put(pod(web), 0)
    columns = columns_of(fleet)
    every = np.ones(2, bool)
    assert topology_spread(Neighbours(web, columns), columns, every, every, every).tolist() == [0.0, 100.0]


def test_the_cheapest_devices_come_first_in_equal_steps() -> None:
    costs = [Cost(0, 0, 7), Cost(0, 0, 1), Cost(1, 0, 0), Cost(0, 0, 3)]
    assert device_cost(costs, np.ones(4, bool)) == pytest.approx([100 / 3, 100, 0, 200 / 3])
    assert device_cost(costs, np.array([True, False, True, False])).tolist() == [100.0, 100.0, 0.0, 100.0]
    assert device_cost(costs[:1], np.ones(1, bool)).tolist() == [100.0]


def test_nodes_whose_devices_are_in_use_are_filled_and_others_spared() -> None:
    plugin = {"example.com/gpu": 8}
    fleet = fleet_of(node("a", allocatable=plugin), node("b", allocatable=plugin), node("c"))
    gpu = shape(requests={"example.com/gpu": 4})
    fleet.put(pod(gpu), 1)
    columns = columns_of(fleet)
    assert device_packing(gpu, columns, ALL(3)).tolist() == [0.0, 50.0, 0.0]
    assert devices_spared(shape(), columns, ALL(3)).tolist() == [0.0, 0.0, 100.0]

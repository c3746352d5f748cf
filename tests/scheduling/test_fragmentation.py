"""Fragmentation: counts against the book of devices, the index by its definition."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from fairlead.kube.objects import Node, ResourceSlice
from fairlead.scheduling.fragmentation import SIZES, NodeDevices, class_report, class_reports, fragmentation_index
from fairlead.scheduling.planner import Planner
from scheduling.planner_objects import DRIVER, claim, decide_all, gpu_class, gpus, node, planner_with, pod

RACK = "rack"
UNHEALTHY = [{"key": "unhealthy", "effect": "NoExecute"}]


def with_held(*held: int, devices: int = 8) -> Planner:
    """Nodes n0, n1 …, of whose devices so many are held; two nodes to a rack."""
    planner = planner_with(gpu_class())
    for number, count in enumerate(held):
        planner.see(node(f"n{number}", labels={RACK: f"r{number // 2}"}))
        planner.see(gpus(f"n{number}", devices))
        if count:
            planner.see(claim(f"p{number}", count))
            selector = {"kubernetes.io/hostname": f"n{number}"}
            planner.see(pod(f"p{number}", devices=True, nodeSelector=selector))
    decide_all(planner)
    return planner


def test_counts_of_nodes_and_racks() -> None:
    report = class_report(with_held(0, 6, 1, 8).fleet, DRIVER, RACK)
    assert (report.total, report.held, report.free, report.unhealthy, report.blocked) == (32, 15, 17, 0, 0)
    assert [each.free for each in report.nodes] == [8, 2, 7, 0]
    assert report.domains == {"r0": 10, "r1": 7}
    assert report.largest is not None and (report.largest.node, report.largest.largest) == ("n0", 8)
    assert report.largest_domain == ("r0", 10)
    # Sets of 4: two on n0, none on n1, one on n2; of 8: one on n0.
    assert [report.stranded(size) for size in SIZES] == [0, 1, 2 + 3, 2 + 7]


def test_index_is_the_stranded_share_over_all_sizes() -> None:
    assert class_report(with_held(0, 0).fleet, DRIVER, RACK).index == 0.0
    report = class_report(with_held(6).fleet, DRIVER, RACK)
    # 2 free: none stranded for sizes 1 and 2, both for 4 and 8.
    assert report.index == 4 / 8
    assert class_report(with_held(8).fleet, DRIVER, RACK).index is None


def test_small_idle_nodes_are_no_fragmentation() -> None:
    report = class_report(with_held(0, devices=4).fleet, DRIVER, RACK)
    assert report.index == 0.0
    assert report.stranded(8) == 4


def test_sizes_that_no_claim_could_get_are_no_fragmentation() -> None:
    """A device that may be shared eight times is one device to a claim."""
    shared = msgspec.to_builtins(gpus("n0", 1))
    shared["spec"]["devices"][0] |= {
        "allowMultipleAllocations": True,
        "capacity": {"slots": {"value": "8", "requestPolicy": {"default": "1", "validValues": ["1"]}}},
    }
    planner = planner_with(gpu_class(), node("n0"), msgspec.convert(shared, ResourceSlice))
    report = class_report(planner.fleet, DRIVER, RACK)
    assert (report.free, report.stranded(8), report.index) == (8, 8, 0.0)


def test_unhealthy_devices_are_neither_free_nor_held() -> None:
    planner = planner_with(gpu_class(), node("n0"), gpus("n0", 4, taints={"gpu-0": UNHEALTHY}))
    report = class_report(planner.fleet, DRIVER, RACK)
    assert (report.total, report.free, report.held, report.unhealthy) == (3, 3, 0, 1)


def test_free_devices_of_a_cordoned_node_are_blocked_and_stranded() -> None:
    cordoned = Node(
        metadata=node("n0").metadata, status=node("n0").status, spec=Node().spec.__class__(unschedulable=True)
    )
    report = class_report(planner_with(gpu_class(), cordoned, gpus("n0", 4)).fleet, DRIVER, RACK)
    assert (report.free, report.blocked, report.stranded(1)) == (4, 4, 4)
    assert report.largest is None and report.index == 1.0


def test_classes_without_devices_are_left_out() -> None:
    fleet = with_held(0).fleet
    assert [each.name for each in class_reports(fleet, ["nothing.example.com", DRIVER], RACK)] == [DRIVER]


@given(st.lists(st.integers(0, 8), min_size=1, max_size=4))
def test_report_agrees_with_plain_counting(held: list[int]) -> None:
    report = class_report(with_held(*held).fleet, DRIVER, RACK)
    free = [8 - count for count in held]
    assert report.free == sum(free) and report.held == sum(held)
    for size in SIZES:
        assert report.stranded(size) == sum(each % size if each >= size else each for each in free)
    if any(free):
        assert report.largest is not None and report.largest.largest == max(free)


@given(st.lists(st.tuples(st.integers(1, 16), st.integers(0, 16)), max_size=6))
def test_index_is_a_share(counts: list[tuple[int, int]]) -> None:
    nodes = [
        NodeDevices(
            f"n{i}",
            total,
            min(free, total),
            sets={size: min(free, total) // size for size in SIZES},
            serves=frozenset(size for size in SIZES if size <= total),
        )
        for i, (total, free) in enumerate(counts)
    ]
    index = fragmentation_index(nodes)
    assert index is None or 0.0 <= index <= 1.0
    assert (index is None) == (not any(node.free for node in nodes))

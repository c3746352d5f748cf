"""The view of a node: what is published, what is tainted, what leaves and what comes back."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from fairlead.devices.driver.damping import DampingSettings
from fairlead.devices.driver.state import NodeView, compute_view, label_value
from fairlead.devices.errors import InventoryError, ProbeError
from fairlead.devices.health import HEALTHY, Health, unhealthy, unknown
from fairlead.devices.inventory import Device, Inventory, Link
from fairlead.devices.slices.rules import check_inventory

DRIVER = "npu.example.com"
SETTINGS = DampingSettings()
ALL = Inventory(
    (
        Device("npu-0", consumes={"card-0": {"pe": "8"}}),
        Device("npu-0-a", consumes={"card-0": {"pe": "4"}}, parent="npu-0"),
        Device("npu-1", consumes={"card-1": {"pe": "8"}}),
    ),
    {"card-0": {"pe": "8"}, "card-1": {"pe": "8"}},
    (Link("npu-0", "npu-1", "bridge", 30),),
)
XID = unhealthy("XidError", "XID 79")


class Node:
    """Views one after the other, as a watch makes them."""

    def __init__(self) -> None:
        self.view: NodeView | None = None
        self.now_s = 0.0

    def look(
        self,
        probed: Inventory | ProbeError = ALL,
        health: Mapping[str, Health] | None = None,
        held: tuple[str, ...] = (),
        after_s: float = 1.0,
    ) -> NodeView:
        self.now_s += after_s
        if health is None:
            health = {d.name: HEALTHY for d in probed.devices} if isinstance(probed, Inventory) else {}
        self.view = compute_view(self.view, probed, health, frozenset(held), self.now_s, SETTINGS, driver=DRIVER)
        check_inventory(self.view.inventory, self.view.taints, driver=DRIVER)
        return self.view


def without(*names: str) -> Inventory:
    devices = tuple(d for d in ALL.devices if d.name not in names)
    sets = {s for d in devices for s in d.consumes}
    links = tuple(link for link in ALL.links if not {link.a, link.b} & set(names))
    return Inventory(devices, {s: c for s, c in ALL.counters.items() if s in sets}, links)


def names(view: NodeView) -> list[str]:
    return [d.name for d in view.inventory.devices]


def taints(view: NodeView) -> dict[str, list[tuple[str, str, str]]]:
    return {name: [(t.key, t.value, t.effect) for t in found] for name, found in view.taints.items()}


def test_healthy_devices_are_published_as_probed() -> None:
    view = Node().look()
    assert view.inventory is ALL
    assert (taints(view), view.problem, view.is_probed) == ({}, "", True)


def test_an_unhealthy_device_is_tainted_at_once_and_until_health_lasted() -> None:
    node = Node()
    node.look()
    sick = {d.name: HEALTHY for d in ALL.devices} | {"npu-1": XID}
    expected = {"npu-1": [(f"{DRIVER}/unhealthy", "XidError", "NoExecute")]}
    assert taints(node.look(health=sick)) == expected
    assert taints(node.look()) == expected
    assert taints(node.look(after_s=10)) == {}


def test_a_partition_that_is_not_reported_has_the_health_of_its_device() -> None:
    view = Node().look(health={"npu-0": XID, "npu-1": HEALTHY})
    assert set(view.taints) == {"npu-0", "npu-0-a"}


def test_unknown_is_no_taint_and_no_health() -> None:
    view = Node().look(health={"npu-0": HEALTHY})
    assert view.health("npu-1") == unknown("NotReported", 'the vendor said nothing about device "npu-1"')
    assert view.taints == {}
    assert view.health("npu-9").state == "unknown"


def test_a_vanished_device_leaves_at_once() -> None:
    node = Node()
    node.look()
    view = node.look(without("npu-1"))
    assert names(view) == ["npu-0", "npu-0-a"]
    assert view.health("npu-1").reason == "Vanished"


def test_a_vanished_device_that_is_held_stays_tainted_until_it_is_let_go() -> None:
    node = Node()
    node.look()
    for _ in range(3):
        view = node.look(without("npu-1"), held=("npu-1",), after_s=400)
        assert names(view) == ["npu-0", "npu-0-a", "npu-1"]
        assert view.inventory.counters["card-1"] == {"pe": "8"}
        assert taints(view) == {"npu-1": [(f"{DRIVER}/vanished", "", "NoExecute")]}
    assert names(node.look(without("npu-1"))) == ["npu-0", "npu-0-a"]


def test_a_held_device_vanishes_at_once_though_it_was_sick() -> None:
    node = Node()
    node.look(health={d.name: XID for d in ALL.devices})
    assert taints(node.look(without("npu-1"), held=("npu-1",)))["npu-1"][0][0] == f"{DRIVER}/vanished"


def test_a_device_that_comes_back_is_published_when_it_has_stayed() -> None:
    node = Node()
    node.look()
    node.look(without("npu-1"))
    assert names(node.look()) == ["npu-0", "npu-0-a"]
    assert names(node.look(after_s=9)) == ["npu-0", "npu-0-a"]
    assert node.look(after_s=1).inventory is ALL
    # Once more within the window: it takes twice as long.
    node.look(without("npu-1"))
    node.look()
    assert names(node.look(after_s=15)) == ["npu-0", "npu-0-a"]
    assert node.look(after_s=5).inventory is ALL


def test_a_device_that_was_never_seen_is_published_at_once() -> None:
    node = Node()
    node.look(without("npu-1"))
    assert node.look().inventory is ALL


def test_a_failed_probe_keeps_the_devices_and_knows_nothing_of_them() -> None:
    node = Node()
    node.look(health={"npu-0": HEALTHY, "npu-1": XID})
    view = node.look(ProbeError("/sys/class/npu: cannot be read"))
    assert view.inventory is ALL
    assert view.problem == "/sys/class/npu: cannot be read"
    assert view.health("npu-0") == unknown("ProbeFailed", "/sys/class/npu: cannot be read")
    # Not knowing ends no fault.
    assert set(view.taints) == {"npu-1"}
    assert node.look().problem == ""


def test_a_first_probe_that_fails_says_that_nothing_is_known() -> None:
    view = Node().look(ProbeError("no"))
    assert (names(view), view.is_probed, view.problem) == ([], False, "no")


def test_links_stay_with_their_devices() -> None:
    node = Node()
    node.look()
    assert node.look(without("npu-1"), held=("npu-1",)).inventory.links == ALL.links
    assert node.look(without("npu-1")).inventory.links == ()


def test_time_alone_is_no_news() -> None:
    node = Node()
    first = node.look()
    assert first.is_news_to(None)
    second = node.look()
    assert not second.is_news_to(first)
    assert node.look(health={"npu-0": HEALTHY}).is_news_to(second)


def test_it_prints_for_people() -> None:
    node = Node()
    node.look()
    text = str(node.look(without("npu-1"), health={"npu-0": XID}))
    assert text.splitlines() == [
        "2 devices",
        "  npu-0: unhealthy (XidError, NoExecute) since 2.0 s  [npu.example.com/unhealthy=XidError:NoExecute]",
        "  npu-0-a: unhealthy (XidError, NoExecute) since 2.0 s  [npu.example.com/unhealthy=XidError:NoExecute]",
        "  npu-1: not published: unhealthy (Vanished, NoExecute) since 2.0 s",
    ]


def test_reasons_become_values_of_labels() -> None:
    assert label_value("XidError") == "XidError"
    assert label_value("ECC: row 4!") == "ECC-row-4"
    assert label_value("é" * 80) == ""
    assert len(label_value("x" * 80)) == 63


@given(
    st.lists(
        st.tuples(
            st.sets(st.sampled_from(["npu-0", "npu-0-a", "npu-1"])),
            st.sets(st.sampled_from(["npu-0", "npu-0-a", "npu-1"])),
            st.dictionaries(
                st.sampled_from(["npu-0", "npu-0-a", "npu-1", "npu-7"]),
                st.sampled_from([HEALTHY, XID, unknown("No", "idea"), unhealthy("Hot", "!", "NoSchedule")]),
            ),
            st.booleans(),
            st.floats(0.1, 400),
        ),
        max_size=30,
    )
)
def test_whatever_happens_the_view_is_valid_and_loses_no_held_device(steps: list) -> None:
    node, known = Node(), set()
    for gone, held, health, fails, after_s in steps:
        before = set(names(node.view)) if node.view else set()
        try:
            view = node.look(ProbeError("no") if fails else without(*gone), health, tuple(held), after_s)
        except InventoryError as error:
            raise AssertionError(f"an invalid view: {error}") from error
        assert before & held <= set(names(view))
        for name in names(view):
            assert name in view.conditions
        for name in view.taints:
            assert view.health(name).state == "unhealthy"
        known |= set(names(view))
        assert set(names(view)) <= {"npu-0", "npu-0-a", "npu-1"}

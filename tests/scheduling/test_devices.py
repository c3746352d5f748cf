"""A scheduler's devices between two looks at the API: nothing is given twice, nothing is kept for nobody."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from fairlead.kube.objects.devices import AllocationResult, DeviceClass, ResourceClaim, ResourceSlice
from fairlead.scheduling.allocator import Allocated
from fairlead.scheduling.devices import Devices, Wish
from fairlead.scheduling.snapshot import NodeView

DRIVER = "npu.example.com"
NODES = {name: NodeView(name, {}) for name in ("a", "b")}


def slices(node: str, cards: int = 2) -> list[ResourceSlice]:
    """Cards of two halves each over shared counters: the counters in one slice, the devices in another."""
    pool = {"name": node, "generation": 1, "resourceSliceCount": 2}
    names = [f"card{i}" for i in range(cards)]

    def device(name: str, kind: str, card: str, pes: str) -> dict[str, Any]:
        consumed = [{"counterSet": card, "counters": {"pes": {"value": pes}}}]
        return {"name": name, "attributes": {"kind": {"string": kind}}, "consumesCounters": consumed}

    devices = [device(card, "card", card, "2") for card in names]
    devices += [device(f"{card}-{half}", "half", card, "1") for card in names for half in (0, 1)]
    counters = [{"name": card, "counters": {"pes": {"value": "2"}}} for card in names]
    made = [
        {"metadata": {"name": f"{node}-counters"}, "spec": {"sharedCounters": counters}},
        {"metadata": {"name": f"{node}-devices"}, "spec": {"devices": devices}},
    ]
    for each in made:
        each["metadata"] |= {"uid": each["metadata"]["name"], "resourceVersion": "1"}
        each["spec"] |= {"driver": DRIVER, "nodeName": node, "pool": pool}
    return msgspec.convert(made, list[ResourceSlice])


def claim(name: str, kind: str, count: int = 1) -> ResourceClaim:
    exactly = {"deviceClassName": kind, "allocationMode": "ExactCount", "count": count}
    spec = {"devices": {"requests": [{"name": "r", "exactly": exactly}]}}
    return msgspec.convert(
        {"metadata": {"name": name, "namespace": "default", "uid": name}, "spec": spec}, ResourceClaim
    )


def device_class(kind: str) -> DeviceClass:
    expression = f'device.attributes["{DRIVER}"].kind == "{kind}"'
    spec = {"selectors": [{"cel": {"expression": expression}}]}
    return msgspec.convert({"metadata": {"name": kind}, "spec": spec}, DeviceClass)


CLASSES = [device_class("card"), device_class("half")]


def take(devices: Devices, wanted: ResourceClaim, node: str) -> dict[str, AllocationResult]:
    wish = devices.wish([wanted])
    assert isinstance(wish, Wish)
    decision = devices.decide(wish, NODES[node])
    return devices.assume(wish, decision) if isinstance(decision, Allocated) else {}


def ids(given: dict[str, AllocationResult]) -> list[tuple[str, str]]:
    return [(r.pool, r.device) for a in given.values() for r in (a.devices.results if a.devices else ())]


def test_a_node_gets_devices_of_its_own_though_counters_lie_in_slices_apart() -> None:
    claims = [claim("one", "card", 2), claim("two", "card", 2)]
    devices = Devices([*slices("a"), *slices("b")], CLASSES, (), claims)
    devices.refresh()
    assert {pool for pool, _ in ids(take(devices, claims[0], "a"))} == {"a"}
    assert {pool for pool, _ in ids(take(devices, claims[1], "b"))} == {"b"}


def test_what_was_decided_is_held_until_the_api_shows_it_or_it_is_forgotten() -> None:
    claims = [claim("one", "card", 2), claim("two", "half")]
    devices = Devices(slices("a"), CLASSES, (), claims)
    devices.refresh()
    given = take(devices, claims[0], "a")
    assert given and not take(devices, claims[1], "a")
    assert devices.with_decided(claims[0]).status.allocation == given["one"]
    devices.refresh()
    assert not take(devices, claims[1], "a"), "the API does not show it yet: it is still held"
    devices.forget(["one"])
    assert take(devices, claims[1], "a")
    devices.forget(["two"])
    status = msgspec.structs.replace(claims[0].status, allocation=given["one"])
    claims[0] = msgspec.structs.replace(claims[0], status=status)
    devices.refresh()
    devices.forget(["one"])
    assert not take(devices, claims[1], "a"), "what the API shows is held, whatever was decided"
    del claims[0]
    devices.refresh()
    assert take(devices, claims[0], "a")


def test_slices_that_change_are_read_anew() -> None:
    offered, claims = slices("a", cards=1), [claim("one", "card", 2)]
    devices = Devices(offered, CLASSES, (), claims)
    devices.refresh()
    assert not take(devices, claims[0], "a")
    offered[:] = [
        msgspec.structs.replace(each, metadata=msgspec.structs.replace(each.metadata, resource_version="2"))
        for each in slices("a", cards=2)
    ]
    devices.refresh()
    assert take(devices, claims[0], "a")


@given(st.lists(st.tuples(st.sampled_from(["card", "half"]), st.sampled_from("ab"), st.booleans()), max_size=12))
def test_no_counter_is_spent_twice_whatever_comes_and_goes(steps: list[tuple[str, str, bool]]) -> None:
    claims: list[ResourceClaim] = []
    devices = Devices([*slices("a"), *slices("b")], CLASSES, (), claims)
    held: dict[str, list[tuple[str, str]]] = {}
    for number, (kind, node, leaves) in enumerate(steps):
        claims.append(claim(f"c{number}", kind))
        devices.refresh()
        given = take(devices, claims[-1], node)
        if given:
            held[f"c{number}"] = ids(given)
        if leaves and held:
            name = next(iter(held))
            del held[name]
            devices.forget([name])
        spent: dict[tuple[str, str], int] = {}
        for pool, device in (found for each in held.values() for found in each):
            card = (pool, device.partition("-")[0])
            spent[card] = spent.get(card, 0) + (1 if "-" in device else 2)
        assert all(amount <= 2 for amount in spent.values())

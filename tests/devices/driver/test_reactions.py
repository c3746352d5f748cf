"""A fault becomes a taint in the slice, Events on node, claim and pod, and a DeviceTaintRule; recovery clears it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest

from fairlead.devices.cdi.spec import NO_EDITS, ContainerEdits
from fairlead.devices.driver.calls import VendorCalls
from fairlead.devices.driver.damping import DampingSettings, DeviceCondition
from fairlead.devices.driver.holders import ClaimLookup, holders_of
from fairlead.devices.driver.reactions import HealthReactions
from fairlead.devices.driver.state import NodeView
from fairlead.devices.driver.taint_rules import (
    DRIVER_LABEL,
    NODE_LABEL,
    TaintRuleHub,
    label_of,
    own_taints,
    wanted_rules,
)
from fairlead.devices.driver.transitions import compute_transitions
from fairlead.devices.driver.watch import NodeWatch, WatchSettings
from fairlead.devices.health import HEALTHY, Health, unhealthy, unknown
from fairlead.devices.inventory import Device, Inventory
from fairlead.devices.slices.hub import SlicePublisherHub
from fairlead.devices.slices.plan import Pool
from fairlead.devices.vendor import Vendor
from fairlead.kube import Client, EventRecorder
from fairlead.kube.errors import AlreadyExists, NotFound
from fairlead.kube.kinds import (
    DEVICE_TAINT_RULES,
    EVENTS,
    NODES,
    PODS,
    RESOURCE_CLAIMS,
    RESOURCE_SLICES,
    SERVICE_ACCOUNTS,
)
from fairlead.kube.objects import DeviceTaint, DeviceTaintRule, Event, Node, ObjectMeta, ServiceAccount

WAIT_S = 30.0
DAMPING = DampingSettings(recovery_s=0.3, max_recovery_s=2.0, flap_window_s=60)
XID = unhealthy("XidError", "XID 79: the GPU has fallen off the bus")


class Hardware(Vendor):
    """Devices and their states as the test sets them; calls touch nothing that could block."""

    name = "test"
    cdi_kind = "example.com/npu"
    is_quick = True

    def __init__(self, driver: str, count: int = 4) -> None:
        self.driver = driver
        self.inventory = Inventory(tuple(Device(f"npu-{n}", {"index": n}) for n in range(count)))
        self.states: dict[str, Health] = {}

    def probe(self) -> Inventory:
        return self.inventory

    def health(self) -> Mapping[str, Health]:
        return {d.name: self.states.get(d.name, HEALTHY) for d in self.inventory.devices}

    def edits(self, device: Device) -> ContainerEdits:
        return NO_EDITS


@dataclass
class Driver:
    """The parts of a driver that a fault goes through, running."""

    vendor: Hardware
    node: str
    watch: NodeWatch
    held: set[str]


@asynccontextmanager
async def running(client: Client, vendor: Hardware, node: str) -> AsyncIterator[Driver]:
    slices, rules = SlicePublisherHub(client, node=node), TaintRuleHub(client, node=node)
    held: set[str] = set()
    async with EventRecorder(client, "test-driver") as recorder:
        publisher = slices.add(vendor.driver, node)
        reactions = HealthReactions(
            client, driver=vendor.driver, node=node, recorder=recorder, claims=ClaimLookup(client),
            rules=rules.add(vendor.driver, node), settings=DAMPING,
        )  # fmt: skip
        settings = WatchSettings(probe_period_s=0.2, health_period_s=0.02, damping=DAMPING)
        watch = NodeWatch(vendor, VendorCalls("test"), held=lambda: frozenset(held), settings=settings)

        def tell(view: NodeView) -> None:
            publisher.want(view.inventory, view.taints)
            reactions.note(view)

        tasks = [asyncio.create_task(c) for c in (slices.run(), rules.run(), reactions.run(), watch.run(tell))]
        try:
            await watch.looked()
            await publisher.settled(WAIT_S)
            yield Driver(vendor, node, watch, held)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: Callable[[], Awaitable[Any]], what: str) -> Any:
    last: Any = None
    try:
        async with asyncio.timeout(WAIT_S):
            while True:
                last = await condition()
                if last:
                    return last
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"never: {what}; last {last!r}") from None


@pytest.fixture
def vendor() -> Hardware:
    return Hardware(f"npu-{secrets.token_hex(4)}.example.com")


@pytest.fixture
async def node(dra_client: Client) -> AsyncIterator[str]:
    name = f"reactions-{secrets.token_hex(4)}"
    await dra_client.create(NODES, Node(metadata=ObjectMeta(name=name)))
    yield name
    with suppress(NotFound):
        await dra_client.delete(NODES, name)


async def taints(client: Client, driver: str) -> dict[str, list[tuple[str, str, str]]]:
    found = (await client.list(RESOURCE_SLICES, field_selector=f"spec.driver={driver}")).items
    return {
        device.name: [(t.key, t.value, t.effect) for t in device.taints]
        for s in found
        for device in s.spec.devices
        if device.taints
    }


async def rules(client: Client, driver: str) -> list[DeviceTaintRule]:
    return (await client.list(DEVICE_TAINT_RULES, label_selector=f"{DRIVER_LABEL}={driver}")).items


async def events(client: Client, kind: str, name: str, namespace: str = "default") -> list[Event]:
    selector = f"involvedObject.kind={kind},involvedObject.name={name}"
    return (await client.list(EVENTS, namespace, field_selector=selector)).items


async def held_by_a_pod(client: Client, namespace: str, driver: str, node: str, device: str) -> tuple[str, str]:
    """Names of a claim that has the device and of the pod that it is reserved for."""
    with suppress(AlreadyExists):
        account = ServiceAccount(metadata=ObjectMeta(name="default", namespace=namespace))
        await client.create(SERVICE_ACCOUNTS, account)
    pods, claims = PODS.as_unstructured(), RESOURCE_CLAIMS.as_unstructured()
    metadata = {"name": f"user-{secrets.token_hex(3)}", "namespace": namespace}
    containers = [{"name": "main", "image": "example.com/engine"}]
    pod = await client.create(pods, {"metadata": metadata, "spec": {"containers": containers}})
    request = {"name": "main", "exactly": {"deviceClassName": "any"}}
    claim = await client.create(claims, {"metadata": metadata, "spec": {"devices": {"requests": [request]}}})
    result = {"request": "main", "driver": driver, "pool": node, "device": device}
    reserved = {"resource": "pods", "name": metadata["name"], "uid": pod["metadata"]["uid"]}
    claim["status"] = {"allocation": {"devices": {"results": [result]}}, "reservedFor": [reserved]}
    await client.replace(claims, claim, subresource="status")
    return metadata["name"], metadata["name"]


async def test_a_fault_is_told_everywhere_and_its_end_as_well(
    dra_client: Client, dra_namespace: str, vendor: Hardware, node: str
) -> None:
    client, driver = dra_client, vendor.driver
    claim, pod = await held_by_a_pod(client, dra_namespace, driver, node, "npu-2")
    async with running(client, vendor, node):
        vendor.states["npu-2"] = XID
        expected = {"npu-2": [(f"{driver}/unhealthy", "XidError", "NoExecute")]}

        async def is_tainted() -> bool:
            return await taints(client, driver) == expected

        await until(is_tainted, "the taint in the slice")
        (rule,) = await until(lambda: rules(client, driver), "a DeviceTaintRule")
        selector = rule.spec.device_selector
        assert (selector.driver, selector.pool, selector.device) == (driver, node, "npu-2")
        assert (rule.spec.taint.key, rule.spec.taint.effect) == (f"{driver}/unhealthy", "NoExecute")
        assert rule.metadata.labels == {DRIVER_LABEL: driver, NODE_LABEL: node}
        assert rule.metadata.owner_references[0].name == node
        (event,) = await until(lambda: events(client, "Node", node), "an Event on the node")
        assert (event.reason, event.type) == ("DeviceUnhealthy", "Warning")
        assert event.involved_object.uid == (await client.get(NODES, node)).metadata.uid
        assert f"device npu-2 of {driver} is unhealthy (pods that hold it are to end): XidError" in event.message
        for kind, name in (("ResourceClaim", claim), ("Pod", pod)):
            (told,) = await until(lambda k=kind, n=name: events(client, k, n, dra_namespace), f"an Event on the {kind}")
            assert told.reason == "DeviceUnhealthy"

        vendor.states.clear()

        async def is_cleared() -> bool:
            return not await taints(client, driver) and not await rules(client, driver)

        async def is_told_to_the_pod() -> bool:
            return "DeviceRecovered" in {e.reason for e in await events(client, "Pod", pod, dra_namespace)}

        await until(is_cleared, "the taint and the rule to go")
        await until(is_told_to_the_pod, "the recovery on the pod")
        assert "DeviceRecovered" in {e.reason for e in await events(client, "Node", node)}


async def test_a_device_that_vanishes_under_a_claim(dra_client: Client, vendor: Hardware, node: str) -> None:
    async with running(dra_client, vendor, node) as running_:
        running_.held.add("npu-1")
        vendor.inventory = Inventory(tuple(d for d in vendor.inventory.devices if d.name != "npu-1"))

        async def is_vanished() -> bool:
            return await taints(dra_client, vendor.driver) == {
                "npu-1": [(f"{vendor.driver}/vanished", "", "NoExecute")]
            }

        await until(is_vanished, "the taint of a vanished device")
        running_.held.clear()

        async def is_gone() -> bool:
            found = (await dra_client.list(RESOURCE_SLICES, field_selector=f"spec.driver={vendor.driver}")).items
            names = [d.name for s in found for d in s.spec.devices]
            return names == ["npu-0", "npu-2", "npu-3"] and not await rules(dra_client, vendor.driver)

        await until(is_gone, "the device to leave the slice")
        told = await until(lambda: events(dra_client, "Node", node), "an Event on the node")
        assert {e.reason for e in told} == {"DeviceVanished"}


async def test_a_flapping_device_is_called_so_and_stays_tainted(
    dra_client: Client, vendor: Hardware, node: str
) -> None:
    async with running(dra_client, vendor, node) as running_:
        for _ in range(4):
            vendor.states["npu-0"] = XID
            await running_.watch.looked()
            vendor.states.clear()
            view = await running_.watch.looked()
            assert "npu-0" in view.taints
        reasons: set[str] = set()

        async def is_called_flapping() -> bool:
            reasons.update(e.reason for e in await events(dra_client, "Node", node))
            return "DeviceFlapping" in reasons

        await until(is_called_flapping, "an Event that says it flaps")


async def test_rules_of_a_former_process_are_taken_over_and_cleared(
    dra_client: Client, vendor: Hardware, node: str
) -> None:
    vendor.states["npu-0"] = vendor.states["npu-1"] = XID
    async with running(dra_client, vendor, node):

        async def are_two() -> bool:
            return len(await rules(dra_client, vendor.driver)) == 2

        await until(are_two, "two rules")
    before = {r.metadata.name: r.metadata.uid for r in await rules(dra_client, vendor.driver)}
    del vendor.states["npu-1"]
    async with running(dra_client, vendor, node):

        async def is_one() -> bool:
            return len(await rules(dra_client, vendor.driver)) == 1

        await until(is_one, "the rule of the device that is well to go")
        (left,) = await rules(dra_client, vendor.driver)
        assert left.metadata.uid == before[left.metadata.name]


async def test_a_rule_that_others_change_or_delete_comes_back(dra_client: Client, vendor: Hardware, node: str) -> None:
    vendor.states["npu-0"] = XID
    async with running(dra_client, vendor, node):
        (rule,) = await until(lambda: rules(dra_client, vendor.driver), "a rule")
        await dra_client.delete(DEVICE_TAINT_RULES, rule.metadata.name)

        async def is_new() -> bool:
            return [r.metadata.uid != rule.metadata.uid for r in await rules(dra_client, vendor.driver)] == [True]

        await until(is_new, "the rule to come back")
        patch = {"spec": {"taint": {"effect": "None"}}}
        await dra_client.patch(DEVICE_TAINT_RULES, rule.metadata.name, patch)

        async def is_right() -> bool:
            return [r.spec.taint.effect for r in await rules(dra_client, vendor.driver)] == ["NoExecute"]

        await until(is_right, "the effect to be put right")


def condition(health: Health, flaps: int = 1) -> DeviceCondition:
    return DeviceCondition(health, health, 0.0, tuple(float(n) for n in range(flaps)))


def told(before: Health | None, after: Health, *, flaps: tuple[int, int] = (1, 1)) -> list[str]:
    first = None if before is None else NodeView(conditions={"a": condition(before, flaps[0])})
    second = NodeView(conditions={"a": condition(after, flaps[1])})
    return [t.reason for t in compute_transitions(first, second, driver="d", settings=DampingSettings())]


def test_what_is_worth_telling() -> None:
    gone, hot = unhealthy("Vanished", "not there"), unhealthy("Hot", "91 degrees", "NoSchedule")
    assert told(None, HEALTHY) == []
    assert told(None, XID) == ["DeviceUnhealthy"]
    assert told(HEALTHY, XID) == told(unknown("x", "y"), XID) == ["DeviceUnhealthy"]
    assert told(XID, XID) == told(HEALTHY, HEALTHY) == []
    assert told(XID, hot) == ["DeviceUnhealthy"]
    assert told(XID, unhealthy("XidError", "another sentence")) == []
    assert told(XID, gone) == ["DeviceVanished"]
    assert told(XID, HEALTHY) == told(gone, HEALTHY) == ["DeviceRecovered"]
    assert told(HEALTHY, unknown("x", "y")) == told(unknown("x", "y"), HEALTHY) == []
    assert told(XID, XID, flaps=(2, 3)) == ["DeviceFlapping"]
    assert told(XID, XID, flaps=(3, 4)) == []


CARD: Inventory = Inventory(tuple(Device(name, parent=of) for name, of in (("c", ""), ("c0", "c"), ("c1", "c"))))


def of_card(inventory: Inventory = CARD, **states: Health) -> NodeView:
    conditions = {name: condition(states.get(name, HEALTHY), 0) for name in ("c", "c0", "c1")}
    return NodeView(inventory=inventory, conditions=conditions)


def news_of(before: NodeView | None, after: NodeView) -> list[tuple[str, str, str]]:
    found = compute_transitions(before, after, driver="d", settings=DampingSettings())
    return [(t.device, t.told_with, t.message.split(" is ")[0].split(" vanished")[0]) for t in found]


def test_a_card_speaks_for_the_partitions_that_share_its_fate() -> None:
    failed = of_card(c=XID, c0=XID, c1=XID)
    both = [
        ("c", "", "device c of d, and its 2 partitions,"),
        ("c0", "c", "device c0 of d"),
        ("c1", "c", "device c1 of d"),
    ]
    assert news_of(of_card(), failed) == news_of(None, failed) == news_of(failed, of_card()) == both
    gone = unhealthy("Vanished", "not there")
    assert news_of(of_card(), of_card(Inventory(), c=gone, c0=gone, c1=gone)) == both

    assert news_of(of_card(), of_card(c0=XID)) == [("c0", "", "device c0 of d")]
    assert news_of(of_card(c0=XID), failed) == [
        ("c", "", "device c of d, and its 1 partition,"), ("c1", "c", "device c1 of d")
    ]  # fmt: skip
    assert news_of(failed, of_card(c0=XID)) == [
        ("c", "", "device c of d, and its 1 partition,"), ("c1", "c", "device c1 of d")
    ]  # fmt: skip


def test_partitions_have_rules_only_for_taints_of_their_own() -> None:
    shared, own = DeviceTaint(key="d/unhealthy", effect="NoExecute"), DeviceTaint(key="d/hot", effect="NoSchedule")
    assert own_taints(CARD, {"c": (shared,), "c0": (shared,), "c1": (shared, own)}) == {"c": (shared,), "c1": (own,)}
    assert own_taints(CARD, {"c0": (shared,)}) == {"c0": (shared,)}
    assert own_taints(CARD, {}) == {}


async def test_a_card_with_partitions_fails_once(
    dra_client: Client, dra_namespace: str, vendor: Hardware, node: str
) -> None:
    client, driver = dra_client, vendor.driver
    vendor.inventory = CARD
    _, pod = await held_by_a_pod(client, dra_namespace, driver, node, "c1")
    async with running(client, vendor, node):
        vendor.states |= dict.fromkeys(("c", "c0", "c1"), XID)

        async def told_to_the_pod() -> list[Event]:
            return await events(client, "Pod", pod, dra_namespace)

        (told_pod,) = await until(told_to_the_pod, "the Event on the pod that holds a partition")
        assert f"device c1 of {driver} is unhealthy" in told_pod.message
        (told_node,) = await until(lambda: events(client, "Node", node), "an Event on the node")
        assert f"device c of {driver}, and its 2 partitions, is unhealthy" in told_node.message

        async def all_tainted() -> bool:
            return set(await taints(client, driver)) == {"c", "c0", "c1"}

        await until(all_tainted, "taints of the card and its partitions")
        (rule,) = await until(lambda: rules(client, driver), "a DeviceTaintRule")
        assert rule.spec.device_selector.device == "c"


def test_a_failed_probe_is_told_once() -> None:
    views = [NodeView(), NodeView(problem="no"), NodeView(problem="no"), NodeView(problem="other"), NodeView()]
    found = [len(compute_transitions(a, b, driver="d", settings=DampingSettings())) for a, b in pairwise(views)]
    assert found == [1, 0, 1, 0]


def test_names_and_labels_of_rules_fit() -> None:
    pool = Pool("d" * 63, "n." * 126 + "n", "n." * 126 + "n")
    taint = DeviceTaint(key="a/b", effect="None")
    found = wanted_rules(pool, {"x" * 63: (taint, DeviceTaint(key="a/c", effect="None")), "y": (taint,)})
    assert len(found) == 3
    for name, rule in found.items():
        assert len(name) <= 253
        assert all(len(value) <= 63 for value in rule.metadata.labels.values())
    assert label_of("node-1") == "node-1"
    assert label_of("n" * 70) != label_of("n" * 71)
    assert holders_of([], "d", "p", "x") == ()

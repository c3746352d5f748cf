"""What rules.py lets pass, a real API server takes; what it refuses, is refused by name and rule."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from devices.slices.slice_inventories import DRIVER, tainted
from devices.slices.slice_model import POOL
from fairlead.devices.errors import InventoryError
from fairlead.devices.inventory import Capacity, Device, Inventory, RequestPolicy, Version
from fairlead.devices.slices.features import reduced
from fairlead.devices.slices.hub import SlicePublisherHub
from fairlead.devices.slices.layout import compute_layout
from fairlead.devices.slices.plan import compute_plan
from fairlead.devices.slices.rules import check_inventory, check_pool
from fairlead.kube.client import Client
from fairlead.kube.errors import Invalid
from fairlead.kube.kinds import RESOURCE_SLICES
from fairlead.kube.objects import DeviceTaint

WHOLE = Inventory(
    (
        Device(
            "npu-0",
            {"model": "rngd", "driverVersion": Version("2026.1.0")},
            {"memory": Capacity("48Gi", RequestPolicy("1Gi", min="1Gi", max="48Gi", step="1Gi"))},
            {"card-0": {"pe-0": "1", "pe-1": "1"}},
            shareable=True,
            binding_conditions=("a",),
            binding_failure_conditions=("b",),
        ),
        Device("npu-1", consumes={"card-0": {"pe-1": "1"}}),
    ),
    {"card-0": {"pe-0": "1", "pe-1": "2"}},
)


def with_device(**changes: object) -> Inventory:
    first, *rest = WHOLE.devices
    return replace(WHOLE, devices=(replace(first, **changes), *rest))


def with_policy(policy: RequestPolicy, value: str = "48Gi") -> Inventory:
    return with_device(capacity={"memory": Capacity(value, policy)})


@dataclass(frozen=True)
class Broken:
    """An inventory that breaks a rule; `server` says whether a server that sees the slices refuses them, too."""

    rule: str
    inventory: Inventory
    device: str = "npu-0"
    server: bool = True
    said: str = ""


def many(count: int) -> dict[str, int]:
    return {f"a{n}": n for n in range(count)}


THREE_SETS = {name: {"c": "1"} for name in "abc"}
BROKEN = [
    Broken("name", with_device(name="NPU_0"), "NPU_0"),
    Broken("name", with_device(name="a.b"), "a.b"),
    Broken("name", with_device(name=""), ""),
    Broken("name", with_device(name="x" * 64), "x" * 64),
    Broken("duplicate-name", with_device(name="npu-1"), "npu-1"),
    Broken("parent", with_device(parent="npu-0"), server=False),
    Broken("attribute-count", with_device(attributes=many(32))),
    Broken("value-count", with_device(attributes={"l": tuple(range(49))}), server=False, said="49 values"),
    Broken("duplicate-attribute", with_device(attributes={"a": 1, f"{DRIVER}/a": 2}), server=False),
    Broken("duplicate-capacity", with_device(capacity={n: Capacity("1") for n in ("a", f"{DRIVER}/a")}), server=False),
    Broken("attribute-name", with_device(attributes={"a-b": 1})),
    Broken("attribute-name", with_device(attributes={"": 1})),
    Broken("attribute-name", with_device(attributes={"a" * 33: 1})),
    Broken("attribute-name", with_device(attributes={"a.b/": 1})),
    Broken("attribute-name", with_device(attributes={"a/b/c": 1}), server=False),
    Broken("attribute-domain", with_device(attributes={"/b": 1})),
    Broken("attribute-domain", with_device(attributes={f"{'d' * 64}/b": 1})),
    Broken("attribute-domain", with_device(attributes={"a_b/c": 1})),
    Broken("attribute-value", with_device(attributes={"a": "x" * 65}), said="65 bytes"),
    Broken("attribute-value", with_device(attributes={"a": "é" * 33}), said="66 bytes"),
    Broken("attribute-value", with_device(attributes={"a": 2**63}), server=False),
    Broken("attribute-value", with_device(attributes={"a": ()}), server=False),
    Broken("attribute-value", with_device(attributes={"a": (1, "b")}), server=False),
    Broken("attribute-value", with_device(attributes={"a": "\ud800"}), server=False),
    Broken("attribute-version", with_device(attributes={"a": Version("1.2")})),
    Broken("attribute-version", with_device(attributes={"a": Version("01.2.3")})),
    Broken("attribute-version", with_device(attributes={"a": Version("1.2.3-01")})),
    Broken("capacity-name", with_device(capacity={"m m": Capacity("1")})),
    Broken("capacity-domain", with_device(capacity={"A_/m": Capacity("1")})),
    Broken("capacity-value", with_device(capacity={"m": Capacity("80GB")}), server=False),
    Broken("capacity-value", with_device(capacity={"m": Capacity("-1")}), server=False),
    Broken("capacity-value", with_device(capacity={"m": Capacity("1e30")}), server=False),
    Broken("policy", replace(with_device(shareable=False))),
    Broken("policy", with_policy(RequestPolicy("")), server=False),
    Broken("policy", with_policy(RequestPolicy("1", ("1",), min="1"))),
    Broken("policy", with_policy(RequestPolicy("3", ("1", "2")))),
    Broken("policy", with_policy(RequestPolicy("1", ("2", "1")))),
    Broken("policy", with_policy(RequestPolicy("1", ("1", "1")))),
    Broken("policy", with_policy(RequestPolicy("1", tuple(map(str, range(11)))))),
    Broken("policy", with_policy(RequestPolicy("1", ("1", "49Gi")))),
    Broken("policy", with_policy(RequestPolicy("1", max="2"))),
    Broken("policy", with_policy(RequestPolicy("1", min="2"))),
    Broken("policy", with_policy(RequestPolicy("5", min="2", max="4"))),
    Broken("policy", with_policy(RequestPolicy("5", min="5", max="4"))),
    Broken("policy", with_policy(RequestPolicy("5", min="5", max="49Gi"))),
    Broken("policy", with_policy(RequestPolicy("50Gi", min="49Gi"))),
    Broken("policy", with_policy(RequestPolicy("2", min="1", step="2"))),
    Broken("policy", with_policy(RequestPolicy("3", min="1", max="4", step="2"))),
    Broken("policy", with_policy(RequestPolicy("1", min="1", step="48Gi"))),
    Broken("policy", with_policy(RequestPolicy("1", min="1", step="0")), server=False),
    Broken("policy", with_policy(RequestPolicy("?", min="1")), server=False),
    Broken("consumed-sets", replace(with_device(consumes=THREE_SETS), counters=THREE_SETS)),
    Broken("unknown-counter-set", with_device(consumes={"card-1": {"pe-0": "1"}}), server=False),
    Broken("unknown-counter", with_device(consumes={"card-0": {"pe-7": "1"}}), server=False),
    Broken("counter-exceeded", with_device(consumes={"card-0": {"pe-1": "3"}}), server=False),
    Broken("counter-count", with_device(consumes={"card-0": {}})),
    Broken("counter-name", with_device(consumes={"card-0": {"PE": "1"}})),
    Broken("counter-value", with_device(consumes={"card-0": {"pe-0": "one"}}), server=False),
    Broken("counter-set-name", replace(WHOLE, counters={**WHOLE.counters, "Card": {"a": "1"}}), ""),
    Broken("counter-count", replace(WHOLE, counters={**WHOLE.counters, "x": {}}), ""),
    Broken("counter-count", replace(WHOLE, counters={**WHOLE.counters, "x": {f"c{n}": "1" for n in range(33)}}), ""),
    Broken("counter-name", replace(WHOLE, counters={**WHOLE.counters, "x": {"C": "1"}}), ""),
    Broken("binding-conditions", with_device(binding_failure_conditions=())),
    Broken("binding-conditions", with_device(binding_conditions=("a", "a"))),
    Broken("binding-conditions", with_device(binding_conditions=("a", "b"))),
    Broken("binding-conditions", with_device(binding_conditions=tuple("abcde"))),
    Broken("binding-conditions", with_device(binding_conditions=("no good",))),
]  # fmt: skip


async def _send(kubeconfig: Path, inventory: Inventory, taints: dict) -> None:
    """What a publisher would send, in a dry run. Raises what the server answers."""
    async with Client.load(kubeconfig) as client:
        hub = SlicePublisherHub(client)
        held, kept = reduced(inventory, taints, await hub.features(POOL))
        plan = compute_plan(POOL, [], compute_layout(held, kept), mark="test")
        await asyncio.gather(*(client.create(RESOURCE_SLICES, w.slice, dry_run=True) for w in plan.writes))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(tainted(max_devices=8, lists=True))
def test_a_real_server_takes_every_valid_inventory(kubeconfig: Path, given_: tuple) -> None:
    inventory, taints = given_
    check_inventory(inventory, taints, driver=DRIVER)
    asyncio.run(_send(kubeconfig, inventory, taints))


def test_the_inventory_that_is_broken_below_is_valid() -> None:
    check_inventory(WHOLE, {"npu-0": (DeviceTaint(key="a/b", value="c", effect="None"),)}, driver=DRIVER)


@pytest.mark.parametrize("case", BROKEN, ids=lambda case: case.rule)
def test_a_broken_rule_is_named(case: Broken) -> None:
    with pytest.raises(InventoryError) as raised:
        check_inventory(case.inventory, driver=DRIVER)
    assert raised.value.rule == case.rule
    assert raised.value.device == case.device
    assert case.said in str(raised.value)
    if case.device:
        assert f'device "{case.device}"' in str(raised.value)


def test_a_real_server_refuses_what_it_can_see(kubeconfig: Path) -> None:
    for case in BROKEN:
        if case.server:
            with pytest.raises(Invalid):
                asyncio.run(_send(kubeconfig, case.inventory, {}))


@pytest.mark.parametrize(
    ("rule", "taint"),
    [
        ("taint-key", DeviceTaint(key="", effect="None")),
        ("taint-key", DeviceTaint(key="a b", effect="None")),
        ("taint-value", DeviceTaint(key="a", value="no good", effect="None")),
        ("taint-effect", DeviceTaint(key="a")),
        ("taint-effect", DeviceTaint(key="a", effect="PreferNoSchedule")),
    ],
)
def test_a_wrong_taint_is_named(kubeconfig: Path, rule: str, taint: DeviceTaint) -> None:
    with pytest.raises(InventoryError) as raised:
        check_inventory(WHOLE, {"npu-1": (taint,)}, driver=DRIVER)
    assert (raised.value.rule, raised.value.device) == (rule, "npu-1")
    with pytest.raises(Invalid):
        asyncio.run(_send(kubeconfig, WHOLE, {"npu-1": (taint,)}))


def test_taints_are_counted_and_belong_to_a_device() -> None:
    seventeen = tuple(DeviceTaint(key=f"k{n}", effect="None") for n in range(17))
    for rule, taints in (("taint-count", {"npu-0": seventeen}), ("unknown-device", {"npu-9": seventeen[:1]})):
        with pytest.raises(InventoryError) as raised:
            check_inventory(WHOLE, taints, driver=DRIVER)
        assert raised.value.rule == rule


@pytest.mark.parametrize(
    ("driver", "pool", "rule"),
    [
        ("", "n", "driver-name"),
        ("a_b", "n", "driver-name"),
        ("d" * 64, "n", "driver-name"),
        ("d", "", "pool-name"),
        ("d", "a//b", "pool-name"),
        ("d", "N", "pool-name"),
        ("d", "n" * 254, "pool-name"),
    ],
)
def test_names_of_drivers_and_pools(driver: str, pool: str, rule: str) -> None:
    with pytest.raises(InventoryError) as raised:
        check_pool(driver, pool)
    assert raised.value.rule == rule

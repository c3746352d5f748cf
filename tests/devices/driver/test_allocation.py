"""What a claim's allocation means to this driver on this node."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from devices.driver.driver_rig import DRIVER, Result, config, widgets
from fairlead.devices.driver.allocation import grants_of, parameters_for
from fairlead.devices.errors import ClaimError
from fairlead.devices.inventory import Device, Inventory
from fairlead.devices.vendor import ClaimReference, Grant
from fairlead.kube.objects import DeviceAllocationConfiguration, OpaqueDeviceConfiguration, ResourceClaim

WANTED = ClaimReference("team", "claim", "uid-1")


def claim(
    results: list[Result] | None, configs: list[dict[str, Any]] | None = None, uid: str = "uid-1"
) -> ResourceClaim:
    status: dict[str, Any] = {}
    if results is not None:
        status = {"allocation": {"devices": {"results": [r.wire() for r in results], "config": configs or []}}}
    wire = {"metadata": {"name": "claim", "namespace": "team", "uid": uid}, "status": status}
    return msgspec.convert(wire, ResourceClaim)


def grants(found: ResourceClaim) -> tuple[Grant, ...]:
    return grants_of(found, WANTED, driver=DRIVER, pool="node-a", inventory=widgets())


def test_results_of_others_are_theirs() -> None:
    found = grants(
        claim([Result("gpu-0", driver="gpu.other.com", pool="elsewhere"), Result("widget-1"), Result("widget-0")])
    )
    assert [g.device.name for g in found] == ["widget-1", "widget-0"], "in the order of the allocation"


def test_shares_and_admin_access() -> None:
    (share, admin) = grants(
        claim([Result("hub-0", share_id="s-1", consumed={"lanes": "2"}), Result("widget-0", admin=True)])
    )
    assert (share.share_id, dict(share.consumed), share.admin_access) == ("s-1", {"lanes": "2"}, False)
    assert admin.admin_access


@pytest.mark.parametrize(
    ("found", "says", "retry"),
    [
        (claim(None), "is not allocated", True),
        (claim([Result("widget-0")], uid="uid-2"), "asks for UID uid-1, the API has uid-2", False),
        (claim([Result("x", driver="a.b")]), "its devices are of a.b", False),
        (claim([]), "its devices are of nobody", False),
        (claim([Result("widget-0", pool="node-b")]), 'in pool "node-b", this node\'s pool is "node-a"', False),
        (claim([Result("widget-7"), Result("widget-8")]), '"widget-7", "widget-8" on node node-a now', True),
    ],
)
def test_what_cannot_be_prepared_says_why(found: ResourceClaim, says: str, retry: bool) -> None:
    with pytest.raises(ClaimError, match=says) as raised:
        grants(found)
    assert raised.value.retry is retry
    assert "team/claim" in str(raised.value)


def test_of_devices_with_one_name_none_is_given() -> None:
    doubled = Inventory((*widgets().devices, Device("widget-0", attributes={"index": 9})))
    found = claim([Result("widget-1"), Result("widget-0")])
    with pytest.raises(ClaimError, match='2 devices on node node-a have the name "widget-0"'):
        grants_of(found, WANTED, driver=DRIVER, pool="node-a", inventory=doubled)
    assert grants_of(claim([Result("widget-1")]), WANTED, driver=DRIVER, pool="node-a", inventory=doubled)


def test_classes_come_first_whatever_the_order_in_the_allocation() -> None:
    configs = [
        config(DRIVER, {"n": 3}, source="FromClaim"),
        config(DRIVER, {"n": 1}, source="FromClass"),
        config("a.b", {"n": 9}, source="FromClass"),
        config(DRIVER, {"n": 2}, source="FromClass"),
        config(DRIVER, {"n": 4}, source="FromClaim"),
    ]
    (grant,) = grants(claim([Result("widget-0")], configs))
    assert [c["n"] for c in grant.config] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("requests", "result", "applies"),
    [
        ([], "gpu", True),
        (["gpu"], "gpu", True),
        (["gpu"], "gpu/large", True),
        (["gpu/large"], "gpu/large", True),
        (["gpu/large"], "gpu/small", False),
        (["gpu/large"], "gpu", False),
        (["gpus"], "gpu", False),
        (["nic", "gpu"], "gpu/large", True),
    ],
)
def test_which_requests_a_configuration_is_for(requests: list[str], result: str, applies: bool) -> None:
    opaque = OpaqueDeviceConfiguration(driver=DRIVER, parameters={"n": 1})
    configs = [DeviceAllocationConfiguration(opaque=opaque, requests=requests, source="FromClaim")]
    assert bool(parameters_for(configs, result)) is applies

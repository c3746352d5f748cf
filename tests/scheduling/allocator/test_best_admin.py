"""Admin access in `best` mode: it takes nothing, and a claim has no device twice."""

from __future__ import annotations

from typing import Any

import msgspec

from fairlead.kube.objects.devices import ResourceClaim, ResourceSlice
from fairlead.scheduling.allocator import (
    EVERY_FEATURE,
    Allocated,
    Decision,
    DoesNotFit,
    allocate_best,
    build_catalogue,
    plan_claims,
    prepare_slice,
)
from scheduling.allocator.allocator_objects import (
    CLASSES,
    NODE,
    claim,
    consumes,
    counters_of,
    device,
    request,
    slice_of,
)


def _decide(devices: list[dict[str, Any]], *claims: dict[str, Any]) -> Decision:
    slices = msgspec.convert([slice_of(devices, count=2), counters_of({"cores": "2"}, count=2)], list[ResourceSlice])
    view = build_catalogue(map(prepare_slice, slices), EVERY_FEATURE).view(NODE)
    plan = plan_claims(msgspec.convert(list(claims), list[ResourceClaim]), CLASSES, EVERY_FEATURE, exact=True)
    return allocate_best(plan, view)


def _names(decision: Decision) -> list[str]:
    assert isinstance(decision, Allocated), decision
    return [pick.device.device for pick in decision.picks]


def test_a_request_with_admin_access_does_not_get_a_device_that_its_claim_has() -> None:
    devices = [device("a"), device("b")]
    assert sorted(_names(_decide(devices, claim(request("use"), request("watch", adminAccess=True))))) == ["a", "b"]
    alone = _decide(devices[:1], claim(request("use"), request("watch", adminAccess=True)))
    assert isinstance(alone, DoesNotFit)


def test_the_devices_of_other_claims_can_be_watched() -> None:
    claims = claim(request("use"), name="user"), claim(request("watch", adminAccess=True), name="admin")
    assert _names(_decide([device("a")], *claims)) == ["a", "a"]


def test_a_claim_that_gave_a_device_back_in_the_search_may_watch_it() -> None:
    # "use" has to go on from a to b before "other" fits; then a is "watch"'s only one.
    small = {"selectors": [{"cel": {"expression": "device.attributes[device.driver].size == 1"}}]}
    devices = [
        device("a", attributes={"size": 1}, consumesCounters=consumes(cores="1")),
        device("b", attributes={"size": 2}, consumesCounters=consumes(cores="1")),
    ]
    decision = _decide(
        devices,
        claim(request("use"), request("watch", adminAccess=True, **small), name="one"),
        claim(request("other", **small), name="two"),
    )
    assert _names(decision) == ["b", "a", "a"]

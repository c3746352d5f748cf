"""The allocator as programs outside call it, and best devices beside it, on random cases with every feature."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.kube.objects.devices import AllocationResult, DeviceClass, ResourceClaim, ResourceSlice
from fairlead.scheduling.allocator import EVERY_FEATURE
from fairlead.scheduling.conformance import allocate, select
from fairlead.scheduling.fleet.device_book import DeviceBook, Refusal
from scheduling.conformance_cases import CaseMaker, Json, breaches


def _case(seed: int) -> Json:
    return CaseMaker(Random(seed)).make()


def _best(case: Json) -> list[Json] | Refusal:
    """The case asked of a fleet's books."""
    book = DeviceBook(EVERY_FEATURE, "best")
    book.set_node("n1", case["node"]["metadata"]["labels"])
    for kind in msgspec.convert(case["classes"], list[DeviceClass]):
        book.set_class(kind)
    for each in msgspec.convert(case["slices"], list[ResourceSlice]):
        book.set_slice(each)
    shared = {_name(each): each["consumedCapacity"] for each in case["allocatedCapacity"]}
    for i, entry in enumerate((*case["allocatedDevices"], *case["allocatedSharedDeviceIDs"])):
        result = {"request": "r", **entry, "consumedCapacity": shared.get(_name(entry), {})}
        book.hold(f"held-{i}", msgspec.convert({"devices": {"results": [result]}}, AllocationResult))
    claims = msgspec.convert(case["claims"], list[ResourceClaim])
    wants = book.wants(claims)
    offer = book.offer(wants, "n1")
    if isinstance(offer, Refusal):
        return offer
    made = book.take(wants, "n1", offer, claims)
    return [json.loads(msgspec.json.encode(made[claim.metadata.uid])) for claim in claims]


def _name(entry: Json) -> tuple[str, str, str]:
    return entry["driver"], entry["pool"], entry["device"]


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 1 << 32))
def test_no_rule_of_the_api_is_broken_as_upstream_allocates(seed: int) -> None:
    case = _case(seed)
    answer = allocate(case)
    assert json.loads(json.dumps(answer)) == answer
    if answer["allocated"]:
        assert not list(breaches(case, answer["results"], exact=False))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 1 << 32))
def test_no_rule_of_the_api_is_broken_by_the_best_devices(seed: int) -> None:
    case = _case(seed)
    answer = _best(case)
    if not isinstance(answer, Refusal):
        assert not list(breaches(case, answer, exact=True))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 1 << 32))
def test_the_best_devices_are_found_wherever_upstream_finds_any_that_keep_the_rules(seed: int) -> None:
    case = _case(seed)
    answer = allocate(case)
    if answer["allocated"] and not list(breaches(case, answer["results"], exact=True)):
        best = _best(case)
        assert not isinstance(best, Refusal), best


def test_what_is_missing_or_null_is_off_or_empty() -> None:
    assert allocate({}) == {"allocated": False, "results": [], "error": None}
    nothing: dict[str, Any] = dict.fromkeys(("features", "node", "classes", "slices", "claims", "allocatedDevices"))
    assert allocate(nothing) == {"allocated": False, "results": [], "error": None}


def test_what_is_wrong_with_a_claim_is_its_error() -> None:
    asked = {"requests": [{"name": "r", "exactly": {"deviceClassName": "none", "allocationMode": "All"}}]}
    answer = allocate({"claims": [{"metadata": {"name": "c", "namespace": "ns"}, "spec": {"devices": asked}}]})
    assert not answer["allocated"] and answer["results"] == []
    assert answer["error"].startswith("claim ns/c, request r: could not retrieve device class none")


def test_a_selector_says_whether_it_matches_or_why_it_cannot() -> None:
    case = {"expression": 'device.driver == "a"', "envType": "NewExpressions", "driver": "a"}
    assert select(case) | {"cost": 0} == {"match": True, "compileError": None, "matchError": None, "cost": 0}
    assert select(case | {"expression": "nonsense("})["compileError"]
    failing = select(case | {"expression": "device.attributes[device.driver].gone == 1"})
    assert failing["matchError"] and not failing["match"]

"""One behaviour a test: what the allocator gives out, and what it says when it does not."""

from __future__ import annotations

import msgspec
import pytest

from fairlead.kube.objects.devices import AllocationResult, DeviceClass
from fairlead.kube.quantity import Quantity
from fairlead.scheduling.allocator import (
    Allocated,
    Decision,
    DeviceId,
    DoesNotFit,
    Failed,
    Fault,
    InUse,
    NodePlace,
    Reason,
    tally_allocations,
)
from scheduling.allocator.allocator_objects import (
    CLASSES,
    DRIVER,
    claim,
    consumes,
    counters_of,
    decide,
    device,
    request,
    slice_of,
    subrequest,
)


def names(decision: Decision) -> list[str]:
    assert isinstance(decision, Allocated), decision
    return [pick.device.device for pick in decision.picks]


def obstacle_reasons(decision: Decision) -> dict[str, Reason | None]:
    assert isinstance(decision, DoesNotFit), decision
    return {obstacle.request: obstacle.reason for obstacle in decision.obstacles}


def held(*devices: str, pool: str = "pool") -> InUse:
    return InUse(frozenset(DeviceId(DRIVER, pool, name) for name in devices))


def gpus(count: int) -> list[dict[str, object]]:
    return [device(f"gpu-{i}") for i in range(count)]


def test_devices_are_taken_by_driver_pool_slice_and_place() -> None:
    slices = [
        slice_of([device("z"), device("a")], name="s2", pool="p2"),
        slice_of([device("late")], name="b", pool="p1", count=2),
        slice_of([device("first")], name="a", pool="p1", count=2),
    ]
    assert names(decide(slices, claim(request(count=4)))) == ["first", "late", "z", "a"]


def test_pools_with_binding_conditions_come_last() -> None:
    slices = [
        slice_of([device("fabric", bindingConditions=["ready"])], pool="a"),
        slice_of([device("local")], pool="b"),
    ]
    assert names(decide(slices, claim(request()))) == ["local"]


def test_an_older_complete_generation_stays_in_use_until_the_new_one_reaches_the_node() -> None:
    old = slice_of([device("old")], name="old", generation=1)
    new = slice_of([device("new")], name="new", generation=2, nodeName="n2")
    assert names(decide([old, new], claim(request()))) == ["old"]
    assert names(decide([old, {**new, "spec": {**new["spec"], "nodeName": "n1"}}], claim(request()))) == ["new"]


def test_an_incomplete_pool_gives_nothing_and_stops_a_request_for_all() -> None:
    slices = [slice_of(gpus(2), count=2)]
    assert isinstance(decide(slices, claim(request())), DoesNotFit)
    decision = decide(slices, claim(request(count=0)))
    assert isinstance(decision, Failed)
    assert "asks for all devices, but resource pool gpu.example.com/pool is currently being updated" in str(decision)


@pytest.mark.parametrize(
    ("slices", "defect"),
    [
        ([slice_of([device("a"), device("a")])], "duplicate device name a"),
        ([slice_of([device("a", consumesCounters=consumes(x="1"))])], "counter set set not found"),
        (
            [slice_of([device("a", consumesCounters=consumes(y="1"))], count=2), counters_of({"x": "1"}, count=2)],
            "counter y not found in counter set set",
        ),
        ([slice_of([device("a", capacity={"memory": "lots"})])], "device a has a capacity that is no quantity"),
    ],
)
def test_an_invalid_pool_is_an_error_of_the_node_only_when_nothing_else_fits(
    slices: list[dict[str, object]], defect: str
) -> None:
    decision = decide(slices, claim(request()))
    assert isinstance(decision, Failed)
    assert decision.fault is Fault.POOL
    assert decision.on_this_node
    assert defect in decision.message
    assert names(decide([*slices, slice_of([device("good")], pool="other")], claim(request()))) == ["good"]


def test_a_request_names_what_is_in_use_and_what_its_selectors_refuse() -> None:
    slices = [slice_of([device("a", attributes={"model": "x"}), device("b", attributes={"model": "y"}), *gpus(1)])]
    selector = f'device.attributes["{DRIVER}"].?model.orValue("") == "x"'
    asked = claim(request(selectors=[{"cel": {"expression": selector}}]), name="wants-x")
    assert names(decide(slices, asked)) == ["a"]
    decision = decide(slices, asked, in_use=held("a"))
    assert isinstance(decision, DoesNotFit)
    (obstacle,) = decision.obstacles
    assert obstacle.reason is Reason.SELECTOR
    assert obstacle.passed_over == {Reason.IN_USE: 1, Reason.SELECTOR: 2}
    assert str(decision) == ("claim wants-x, request r: found 0 of 1 devices; 1 in use, 2 not chosen by the selectors")


def test_a_selector_that_fails_on_a_device_ends_the_attempt_only_if_the_search_comes_to_it() -> None:
    slices = [slice_of([device("a", attributes={"model": "x"}), device("b")])]
    asked = {"selectors": [{"cel": {"expression": f'device.attributes["{DRIVER}"].model == "x"'}}]}
    assert names(decide(slices, claim(request(**asked)))) == ["a"]
    decision = decide(slices, claim(request(count=2, **asked)))
    assert isinstance(decision, Failed)
    assert decision.fault is Fault.SELECTOR
    assert "claim claim: selector #0: CEL runtime error on device gpu.example.com/pool/b" in decision.message


def test_match_attribute_keeps_devices_together_and_says_so_when_it_cannot() -> None:
    devices = [device(name, attributes={"root": root}) for name, root in (("a", "r1"), ("b", "r2"), ("c", "r2"))]
    constraint = {"matchAttribute": f"{DRIVER}/root"}
    pair = claim(request(count=2), constraints=[constraint])
    assert names(decide([slice_of(devices)], pair)) == ["b", "c"]
    decision = decide([slice_of(devices)], pair, in_use=held("c"))
    assert isinstance(decision, DoesNotFit)
    assert decision.obstacles[0].reason is Reason.CONSTRAINT
    assert f"matchAttribute {DRIVER}/root" in str(decision)


def test_match_attribute_of_lists_needs_a_value_that_all_share() -> None:
    devices = [
        device("a", attributes={"numa": [0, 1]}),
        device("b", attributes={"numa": [1, 2]}),
        device("c", attributes={"numa": [2, 0]}),
        device("d", attributes={"numa": 1}),
    ]
    three = claim(request(count=3), constraints=[{"matchAttribute": f"{DRIVER}/numa"}])
    assert names(decide([slice_of(devices)], three)) == ["a", "b", "d"]


def test_distinct_attribute_remembers_every_device_only_in_exact_mode() -> None:
    devices = [device(name, attributes={"port": port}) for name, port in (("a", 0), ("b", 1), ("c", 0))]
    three = claim(request(count=3), constraints=[{"distinctAttribute": f"{DRIVER}/port"}])
    assert names(decide([slice_of(devices)], three)) == ["a", "b", "c"]
    assert isinstance(decide([slice_of(devices)], three, exact=True), DoesNotFit)


def test_a_narrowed_intersection_stays_narrow_only_in_upstream_mode() -> None:
    first, narrow, wide = [1, 2], [1], [2]
    slices = [
        slice_of([device("first", attributes={"n": first})], name="s0", pool="p0"),
        slice_of([device("narrow", attributes={"n": narrow}), device("wide", attributes={"n": wide})], pool="p1"),
        slice_of([device("last", attributes={"n": wide})], pool="p2"),
    ]
    asked = claim(request(count=3), constraints=[{"matchAttribute": f"{DRIVER}/n"}])
    assert isinstance(decide(slices, asked), DoesNotFit)
    assert names(decide(slices, asked, exact=True)) == ["first", "wide", "last"]


def test_all_takes_every_device_and_nothing_less() -> None:
    slices = [slice_of(gpus(3))]
    assert names(decide(slices, claim(request(count=0)))) == ["gpu-0", "gpu-1", "gpu-2"]
    assert obstacle_reasons(decide(slices, claim(request(count=0)), in_use=held("gpu-1"))) == {"r": Reason.IN_USE}
    nothing = decide([], claim(request(count=0)))
    assert str(nothing) == "claim claim, request r: asks for all devices and there are none"


def test_all_under_a_constraint_that_fails_is_an_error_even_where_a_share_leaves_too_little_of_a_device() -> None:
    shared = device("d0", allowMultipleAllocations=True, capacity={"bandwidth": "4"})
    decision = decide(
        [slice_of([shared])],
        claim(
            request("first", capacity={"requests": {"bandwidth": "1"}}),
            request("all", 0, capacity={"requests": {"bandwidth": "4"}}),
            constraints=[{"requests": ["all"], "distinctAttribute": f"{DRIVER}/root"}],
        ),
    )
    assert isinstance(decision, Failed) and "cannot add device" in str(decision)


def test_all_that_finds_too_little_left_of_a_shared_device_leaves_the_constraints_as_they_were() -> None:
    devices = [
        device("d0", allowMultipleAllocations=True, capacity={"bandwidth": "4"}, attributes={"root": 0}),
        device("d1", allowMultipleAllocations=True, capacity={"bandwidth": "4"}, attributes={"root": 1}),
    ]
    everything = subrequest("all", 0, capacity={"requests": {"bandwidth": "4"}})
    one = subrequest(
        "one",
        1,
        capacity={"requests": {"bandwidth": "1"}},
        selectors=[{"cel": {"expression": "device.attributes[device.driver].root == 1"}}],
    )
    decision = decide(
        [slice_of(devices)],
        claim(request("r", capacity={"requests": {"bandwidth": "1"}}), name="before"),
        claim({"name": "r", "firstAvailable": [everything, one]}, constraints=[{"matchAttribute": f"{DRIVER}/root"}]),
    )
    assert names(decision) == ["d0", "d1"]


def test_first_available_takes_the_first_that_fits_and_names_it() -> None:
    wish = {"name": "r", "firstAvailable": [subrequest("many", 3), subrequest("two", 2), subrequest("one", 1)]}
    decision = decide([slice_of(gpus(2))], claim(wish, config=[{"requests": ["r/two"], "opaque": {"driver": DRIVER}}]))
    assert isinstance(decision, Allocated)
    assert [pick.request for pick in decision.picks] == ["r/two", "r/two"]
    devices = decision.allocations[0].devices
    assert devices is not None
    assert [(config.source, config.requests) for config in devices.config] == [("FromClaim", ("r/two",))]


def test_first_available_goes_back_when_a_later_request_needs_the_device() -> None:
    wish = {"name": "r", "firstAvailable": [subrequest("two", 2), subrequest("one", 1)]}
    decision = decide([slice_of(gpus(2))], claim(wish, request("other")))
    assert isinstance(decision, Allocated)
    assert [(pick.request, pick.device.device) for pick in decision.picks] == [("r/one", "gpu-0"), ("other", "gpu-1")]


def test_a_claim_holds_at_most_32_devices() -> None:
    slices = [slice_of(gpus(40))]
    assert len(names(decide(slices, claim(request(count=32))))) == 32
    too_many = decide(slices, claim(request(count=33)))
    assert isinstance(too_many, Failed)
    assert "number of requested devices 33 exceeds the claim limit of 32" in too_many.message
    wish = {"name": "r", "firstAvailable": [subrequest("many", 30), subrequest("few", 2)]}
    assert len(names(decide(slices, claim(wish, request("other", 3))))) == 5


def test_admin_access_ignores_use_and_blocks_others_only_in_upstream_mode() -> None:
    slices = [slice_of(gpus(1))]
    admin, user = claim(request(adminAccess=True), name="admin"), claim(request(), name="user")
    assert names(decide(slices, admin, in_use=held("gpu-0"))) == ["gpu-0"]
    assert obstacle_reasons(decide(slices, admin, user)) == {"r": Reason.TAKEN}
    assert names(decide(slices, admin, user, exact=True)) == ["gpu-0", "gpu-0"]


def test_counters_limit_partitions_and_belong_to_driver_and_pool() -> None:
    halves = [device(f"half-{i}", consumesCounters=consumes(slices="2")) for i in range(3)]
    slices = [counters_of({"slices": "4"}, count=2), slice_of(halves, count=2)]
    assert names(decide(slices, claim(request(count=2)))) == ["half-0", "half-1"]
    assert obstacle_reasons(decide(slices, claim(request(count=3)))) == {"r": Reason.COUNTERS}
    assert obstacle_reasons(decide(slices, claim(request(count=2)), in_use=held("half-2"))) == {"r": Reason.COUNTERS}
    other = [
        counters_of({"slices": "2"}, count=2, driver="b.example.com"),
        slice_of(halves[:1], count=2, driver="b.example.com"),
    ]
    three = decide([*slices, *other], claim(request(count=3)))
    assert isinstance(three, Allocated)
    assert [pick.device.driver for pick in three.picks] == ["b.example.com", DRIVER, DRIVER]


def test_counters_of_devices_on_other_nodes_count() -> None:
    slices = [
        counters_of({"slices": "2"}, count=3),
        slice_of([device("here", consumesCounters=consumes(slices="2"))], count=3),
        slice_of([device("there", consumesCounters=consumes(slices="1"))], count=3, name="there", nodeName="n2"),
    ]
    assert names(decide(slices, claim(request()))) == ["here"]
    assert obstacle_reasons(decide(slices, claim(request()), in_use=held("there"))) == {"r": Reason.COUNTERS}


def test_a_device_refused_for_its_taint_gives_its_counters_back() -> None:
    taint = {"key": "broken", "effect": "NoSchedule"}
    devices = [
        device("tainted", consumesCounters=consumes(slices="2"), taints=[taint]),
        device("good", consumesCounters=consumes(slices="2")),
    ]
    slices = [counters_of({"slices": "2"}, count=2), slice_of(devices, count=2)]
    assert names(decide(slices, claim(request()))) == ["good"]


def shared(name: str = "nic", **policy: object) -> dict[str, object]:
    capacity = {"bandwidth": {"value": "10", **({"requestPolicy": policy} if policy else {})}}
    return device(name, allowMultipleAllocations=True, capacity=capacity)


def share(amount: str, name: str) -> dict[str, object]:
    return claim(request(capacity={"requests": {"bandwidth": amount}}), name=name)


def test_shares_of_a_device_have_ids_of_their_own_and_add_up_to_what_it_has() -> None:
    slices = [slice_of([shared()])]
    decision = decide(slices, share("4", "one"), share("6", "two"))
    assert isinstance(decision, Allocated)
    results = [allocation.devices.results[0] for allocation in decision.allocations if allocation.devices]
    assert [result.consumed_capacity for result in results] == [{"bandwidth": "4"}, {"bandwidth": "6"}]
    assert len({result.share_id for result in results}) == 2 and all(result.share_id for result in results)
    assert obstacle_reasons(decide(slices, share("4", "one"), share("7", "two"))) == {"r": Reason.CAPACITY}
    in_use = tally_allocations(decision.allocations)
    assert obstacle_reasons(decide(slices, share("1", "three"), in_use=in_use)) == {"r": Reason.CAPACITY}


def test_one_request_never_gets_two_shares_of_one_device() -> None:
    assert isinstance(decide([slice_of([shared()])], claim(request(count=2))), DoesNotFit)


@pytest.mark.parametrize(
    ("policy", "asked", "consumed"),
    [
        ({"default": "2"}, None, "2"),
        ({}, None, "10"),
        ({"default": "1", "validValues": ["1", "4", "8"]}, "3", "4"),
        ({"default": "2", "validRange": {"min": "2", "step": "3"}}, "1", "2"),
        ({"default": "2", "validRange": {"min": "2", "step": "3"}}, "3", "5"),
        ({"default": "2", "validRange": {"min": "2"}}, "3", "3"),
        ({"default": "1", "validValues": ["1", "4", "8"]}, "9", None),
        ({"default": "2", "validRange": {"min": "2", "max": "6"}}, "7", None),
    ],
)
def test_request_policies_round_up_or_refuse(
    policy: dict[str, object], asked: str | None, consumed: str | None
) -> None:
    wanted = claim(request(**({"capacity": {"requests": {"bandwidth": asked}}} if asked else {})))
    decision = decide([slice_of([shared(**policy)])], wanted)
    if consumed is None:
        assert obstacle_reasons(decision) == {"r": Reason.CAPACITY}
    else:
        assert isinstance(decision, Allocated)
        devices = decision.allocations[0].devices
        assert devices is not None
        assert devices.results[0].consumed_capacity == {"bandwidth": consumed}


def test_a_rolled_back_share_gives_its_counters_back() -> None:
    part = {**shared("part"), "consumesCounters": consumes(slices="2")}
    whole = device("whole", consumesCounters=consumes(slices="2"))
    slices = [counters_of({"slices": "2"}, count=2), slice_of([part, whole], count=2)]
    asked = claim(
        {"name": "r", "firstAvailable": [subrequest("all", 2), subrequest("one", selectors=[_named("whole")])]}
    )
    assert isinstance(decide(slices, asked), DoesNotFit)
    tagged = slice_of([{**part, "attributes": {"id": {"string": "part"}}},
                       {**whole, "attributes": {"id": {"string": "whole"}}}], count=2)  # fmt: skip
    assert names(decide([slices[0], tagged], asked)) == ["whole"]


def _named(name: str) -> dict[str, object]:
    return {"cel": {"expression": f'device.attributes["{DRIVER}"].?id.orValue("") == "{name}"'}}


def test_taints_keep_away_unless_tolerated_and_rules_taint_too() -> None:
    slices = [slice_of([device("a", taints=[{"key": "k", "value": "v", "effect": "NoExecute"}]), device("b")])]
    assert names(decide(slices, claim(request()))) == ["b"]
    tolerant = {"tolerations": [{"key": "k", "operator": "Exists"}]}
    assert names(decide(slices, claim(request(**tolerant)))) == ["a"]
    rule = {
        "spec": {"deviceSelector": {"driver": DRIVER, "device": "b"}, "taint": {"key": "x", "effect": "NoSchedule"}}
    }
    assert obstacle_reasons(decide(slices, claim(request()), rules=[rule])) == {"r": Reason.TAINT}
    assert names(decide(slices, claim(request()), rules=[{"spec": {"taint": rule["spec"]["taint"]}}])) == ["b"]


def test_network_attached_devices_are_bound_to_the_nodes_that_reach_them() -> None:
    def selector(key: str, value: str) -> dict[str, object]:
        requirement = {"key": key, "operator": "In", "values": [value]}
        return {"nodeSelectorTerms": [{"matchExpressions": [requirement]}]}

    slices = [
        slice_of([device("a")], pool="p1", nodeSelector=selector("zone", "a")),
        slice_of([device("b")], pool="p2", nodeSelector=selector("rack", "7")),
        slice_of([device("c")], pool="p3", allNodes=True),
    ]
    node = NodePlace("n1", {"zone": "a", "rack": "7"})
    decision = decide(slices, claim(request(count=3)), node=node)
    assert isinstance(decision, Allocated)
    terms = msgspec.to_builtins(decision.allocations[0].node_selector)["nodeSelectorTerms"]
    assert [requirement["key"] for requirement in terms[0]["matchExpressions"]] == ["zone", "rack"]
    assert isinstance(decide(slices, claim(request(count=3)), node=NodePlace("n1", {"zone": "b"})), DoesNotFit)
    local = decide([*slices, slice_of([device("d")])], claim(request(count=4)), node=node)
    assert isinstance(local, Allocated)
    field = msgspec.to_builtins(local.allocations[0].node_selector)["nodeSelectorTerms"][0]["matchFields"][0]
    assert field == {"key": "metadata.name", "operator": "In", "values": ("n1",)}


def test_class_configuration_comes_once_with_all_its_requests() -> None:
    described = {"metadata": {"name": "tuned"}, "spec": {"config": [{"opaque": {"driver": DRIVER}}]}}
    classes = {**CLASSES, "tuned": msgspec.convert(described, DeviceClass)}
    asked = claim(request("x", deviceClassName="tuned"), request("y"), request("z", deviceClassName="tuned"))
    decision = decide([slice_of(gpus(3))], asked, classes=classes)
    assert isinstance(decision, Allocated)
    devices = decision.allocations[0].devices
    assert devices is not None
    assert [(config.source, config.requests) for config in devices.config] == [("FromClass", ("x", "z"))]


def test_an_unknown_class_is_named() -> None:
    decision = decide([slice_of(gpus(1))], claim(request(deviceClassName="nowhere")))
    assert isinstance(decision, Failed)
    assert decision.fault is Fault.CLASS
    assert "could not retrieve device class nowhere" in decision.message


def test_use_is_tallied_from_allocations_without_admin_access() -> None:
    described = {
        "devices": {
            "results": [
                {"driver": "d", "pool": "p", "device": "whole"},
                {"driver": "d", "pool": "p", "device": "seen", "adminAccess": True},
                {"driver": "d", "pool": "p", "device": "part", "shareID": "1", "consumedCapacity": {"m": "1"}},
                {"driver": "d", "pool": "p", "device": "part", "shareID": "2", "consumedCapacity": {"m": "2"}},
            ]
        }
    }
    in_use = tally_allocations([msgspec.convert(described, AllocationResult)])
    part = DeviceId("d", "p", "part")
    assert in_use.devices == {DeviceId("d", "p", "whole")}
    assert in_use.shares == {part: {"1", "2"}}
    assert in_use.capacity == {part: {"m": Quantity.parse("3")}}


def test_the_same_share_has_the_same_id_again() -> None:
    first, again = (decide([slice_of([shared()])], share("1", "one")) for _ in range(2))
    assert first == again


def test_a_request_beyond_all_numbers_is_more_than_the_device_has() -> None:
    for asked in ("1e2000000000", "9E", "1e40"):
        decision = decide([slice_of([shared()])], share("1", "one"), share(asked, "two"))
        assert obstacle_reasons(decision) == {"r": Reason.CAPACITY}


def test_a_selector_that_does_not_compile_is_named_with_its_place() -> None:
    decision = decide([slice_of(gpus(1))], claim(request(selectors=[{"cel": {"expression": "device.drivr == 1"}}])))
    assert isinstance(decision, Failed)
    assert decision.fault is Fault.SELECTOR
    assert decision.message.startswith("claim claim: selector #0: CEL compile error: ")
    assert "<input>:1:7" in decision.message


def test_what_a_search_granted_does_not_touch_the_next_one() -> None:
    slices = [
        counters_of({"slices": "2"}, count=2),
        slice_of([device("a", consumesCounters=consumes(slices="2"))], count=2),
    ]
    assert [names(decide(slices, claim(request()))) for _ in range(2)] == [["a"], ["a"]]

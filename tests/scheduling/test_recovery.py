"""What a loss costs: pure decisions about gangs, pools and taints."""

from __future__ import annotations

import dataclasses

import pytest

from fairlead.kube.objects import Node, ObjectMeta, Pod
from fairlead.kube.objects.devices import (
    AllocationResult,
    Device,
    DeviceAllocationResult,
    DeviceRequestAllocationResult,
    DeviceTaint,
    DeviceTaintRule,
    DeviceTaintRuleSpec,
    DeviceTaintSelector,
    DeviceToleration,
    ResourceClaim,
    ResourceClaimStatus,
    ResourcePool,
    ResourceSlice,
    ResourceSliceSpec,
)
from fairlead.kube.objects.nodes import NodeSpec, Taint
from fairlead.kube.objects.placement import Toleration
from fairlead.kube.objects.pods import PodSpec
from fairlead.scheduling.gangs.model import Gang, Group, gang_of_one
from fairlead.scheduling.losses import Loss, Pools, device_losses, node_losses
from fairlead.scheduling.recovery import Members, is_partial, recover
from fairlead.scheduling.snapshot import PodView, Shape

LOSS = Loss("DeviceTainted", "device d/p/0 has the taint fault=xid:NoExecute")


def pod(name: str, *, node: str = "n", is_leaving: bool = False) -> PodView:
    return PodView("ns", name, f"uid-{name}", Shape("ns", {"pods": 1}), node=node, is_leaving=is_leaving)


def gang(*pods: PodView, minimum: int, recovery: str = "gang") -> Gang:
    bound = tuple(p for p in pods if p.node)
    waiting = tuple(p for p in pods if not p.node)
    root = Group("g", waiting, minimum=minimum, bound=bound)
    return Gang("ns", "g", root, kind="Annotations", recovery=recovery)  # type: ignore[arg-type]


NOTHING = Members()
A, B, C = pod("a"), pod("b"), pod("c")


def evicted(
    found: Gang,
    *lost: str,
    members: Members = NOTHING,
    absent: str = "",
) -> tuple[str, list[str]] | None:
    recovery = recover(found, {f"uid-{name}": LOSS for name in lost}, members, absent)
    return None if recovery is None else (recovery.kind, [p.name for p in recovery.evict])


@pytest.mark.parametrize(
    ("found", "lost", "expected"),
    [
        pytest.param(gang(A, B, C, minimum=3), ["b"], ("gang", ["a", "b", "c"]), id="all are needed"),
        pytest.param(gang(A, B, C, minimum=2), ["b"], ("member", ["b"]), id="the rest is enough"),
        pytest.param(gang(A, B, C, minimum=2), ["a", "b"], ("gang", ["a", "b", "c"]), id="two are too many"),
        pytest.param(gang(A, B, minimum=2, recovery="member"), ["b"], ("member", ["b"]), id="the engine replaces one"),
        pytest.param(gang(A, B, minimum=2), [], None, id="nothing lost"),
        pytest.param(gang_of_one(A), ["a"], ("member", ["a"]), id="alone"),
        pytest.param(
            gang(pod("a", is_leaving=True), B, minimum=2), ["b"], ("gang", ["b"]), id="who leaves is not told twice"
        ),
    ],
)  # fmt: skip
def test_who_leaves(found: Gang, lost: list[str], expected: tuple[str, list[str]] | None) -> None:
    assert evicted(found, *lost) == expected


def test_a_member_that_is_gone_costs_the_gang_its_minimum() -> None:
    rest = gang(A, B, pod("new", node=""), minimum=3)
    assert evicted(rest, absent="pod ns/c was deleted") == ("gang", ["a", "b"])
    assert evicted(dataclasses.replace(rest, recovery="member"), absent="pod ns/c was deleted") is None
    assert evicted(gang(A, B, minimum=2), absent="pod ns/c was deleted") is None


def test_members_that_have_done_their_work_count_and_stay() -> None:
    found = gang(A, B, C, minimum=3)
    done = Members(succeeded={"uid-c"})
    assert not is_partial(found, done)
    assert evicted(found, "a", members=done) == ("gang", ["a", "b"])
    assert evicted(found, "c", members=done) is None
    assert is_partial(found, Members(failed={"uid-c"}))


def test_the_sentence_names_loss_members_and_those_that_do_not_come_back() -> None:
    found = recover(gang(A, B, minimum=2), {"uid-b": LOSS}, Members(bare={"uid-a"}))
    assert found is not None
    assert found.sentence == (
        "device d/p/0 has the taint fault=xid:NoExecute: gang ns/g is placed anew, a, b evicted; "
        "a will not come back: no controller makes such pods anew"
    )


# Losses


def slice_(name: str, *devices: Device, generation: int = 1, count: int = 1) -> ResourceSlice:
    pool = ResourcePool(generation, "p", count)
    return ResourceSlice(metadata=ObjectMeta(name=name), spec=ResourceSliceSpec(driver="d", pool=pool, devices=devices))


def claim(*tolerations: DeviceToleration) -> ResourceClaim:
    result = DeviceRequestAllocationResult(driver="d", pool="p", device="0", tolerations=tolerations)
    allocation = AllocationResult(devices=DeviceAllocationResult(results=(result,)))
    return ResourceClaim(status=ResourceClaimStatus(allocation=allocation))


def pools(*slices: ResourceSlice) -> Pools:
    found = Pools()
    for each in slices:
        found.set(each)
    return found


FAULT = DeviceTaint("NoExecute", "fault", "2023-11-14T22:13:20Z", "xid")


def test_a_taint_lets_pods_stay_for_as_long_as_all_its_tolerations_say() -> None:
    tainted = pools(slice_("s", Device(name="0", taints=(FAULT,))))
    forever = DeviceToleration("NoExecute", "fault", "Exists")
    minute = DeviceToleration("NoExecute", "fault", "Exists", 60)
    short = DeviceToleration("", "", "Exists", 5)
    other = DeviceToleration("NoExecute", "heat", "Exists")
    stays = {name: [loss.stays_s for loss in device_losses(claim(*given), tainted, ())] for name, given in {
        "none": (), "forever": (forever,), "minute": (minute,), "both": (forever, minute), "shortest": (minute, short),
        "other": (other,),
    }.items()}  # fmt: skip
    assert stays == {
        "none": [0.0], "forever": [], "minute": [60.0], "both": [60.0], "shortest": [5.0], "other": [0.0]
    }  # fmt: skip
    (loss,) = device_losses(claim(), tainted, ())
    assert (loss.what, loss.since_s) == ("device d/p/0 has the taint fault=xid:NoExecute", 1_700_000_000.0)


def test_rules_taint_and_weaker_effects_evict_nobody() -> None:
    plain = pools(slice_("s", Device(name="0", taints=(DeviceTaint("NoSchedule", "fault"),))))
    assert device_losses(claim(), plain, ()) == []
    spec = DeviceTaintRuleSpec(DeviceTaintSelector(pool="p"), DeviceTaint("NoExecute", "recall"))
    (loss,) = device_losses(claim(), plain, [DeviceTaintRule(spec=spec)])
    assert loss.what == "device d/p/0 has the taint recall:NoExecute"


def test_only_a_complete_pool_says_that_a_device_is_gone() -> None:
    there = pools(slice_("s", Device(name="0")))
    assert device_losses(claim(), there, ()) == []
    there.set(slice_("s", Device(name="1"), generation=2, count=2))
    assert device_losses(claim(), there, ()) == [], "the second slice may have it"
    there.set(slice_("t", Device(name="2"), generation=2, count=2))
    assert [loss.reason for loss in device_losses(claim(), there, ())] == ["DeviceGone"]
    there.set(slice_("t", Device(name="0"), generation=2, count=2))
    assert device_losses(claim(), there, ()) == []
    for name in ("s", "t"):
        there.remove(slice_(name, generation=2, count=2))
    assert device_losses(claim(), there, ()) == [], "a pool without slices says nothing"
    assert there.tainted == {}


def test_nodes_are_lost_by_taints_and_by_going() -> None:
    on = Pod(spec=PodSpec(node_name="n", tolerations=(Toleration("NoExecute", "slow", "Exists", 30),)))
    assert [loss.reason for loss in node_losses(on, None)] == ["NodeGone"]
    tainted = Node(
        spec=NodeSpec(taints=(Taint("NoExecute", "slow"), Taint("NoSchedule", "x"), Taint("NoExecute", "y")))
    )
    assert [(loss.what, loss.stays_s) for loss in node_losses(on, tainted)] == [
        ("node n has the taint slow:NoExecute", 30.0),
        ("node n has the taint y:NoExecute", 0.0),
    ]

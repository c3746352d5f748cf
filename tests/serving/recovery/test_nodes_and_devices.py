"""What nodes, slices, rules, claims and kubelets say of what replicas run on, in the API's own form."""

import msgspec
import pytest

from fairlead.clock import format_time
from fairlead.kube.objects import DeviceTaintRule, Node, Pod, ResourceClaim, ResourceSlice
from fairlead.serving.observed import DeviceTrouble
from fairlead.serving.recovery.devices import DeviceBook, claim_troubles, pod_troubles
from fairlead.serving.recovery.nodes import GRACE_S, LEAVING_TAINTS, node_gist, node_state
from serving.recovery.fleet import fleet, look, outcome_of, replica

NOW_S = 1_700_000_000.0
KEY = ("gpu.example.com", "n1", "gpu-0")


def node(status="True", ago_s=10.0, taints=(), **spec):
    condition = {
        "type": "Ready",
        "status": status,
        "message": "said so",
        "lastTransitionTime": format_time(NOW_S - ago_s),
    }
    body = {
        "metadata": {"name": "n1"},
        "spec": {**spec, "taints": [{"key": t, "effect": "NoSchedule"} for t in taints]},
        "status": {"conditions": [condition] if status else []},
    }
    return msgspec.convert(body, Node)


def test_a_node_that_is_well():
    state = node_state(node(), NOW_S)
    assert state.ready and not (state.cordoned or state.gone or state.silent_s or state.unready_s)


def test_silence_counts_from_the_last_sign_of_life_and_unreadiness_from_its_begin():
    assert node_state(node("Unknown", 5), NOW_S).silent_s == GRACE_S + 5
    state = node_state(node("False", 25), NOW_S)
    assert (state.ready, state.unready_s, state.silent_s, state.reason) == (False, 25, 0.0, "said so")
    # A clock that is behind the API server's does not make the node well.
    assert node_state(node("Unknown", -300), NOW_S).silent_s > GRACE_S
    joining = node_state(node(""), NOW_S)
    assert not (joining.ready or joining.silent_s or joining.unready_s or joining.gone)


@pytest.mark.parametrize("taint", sorted(LEAVING_TAINTS))
def test_whoever_drains_a_node_says_so(taint):
    state = node_state(node(taints=[taint]), NOW_S)
    assert state.cordoned and state.reason == f"taint {taint}"


def test_cordoned_and_out_of_service():
    assert node_state(node(unschedulable=True), NOW_S).reason == "spec.unschedulable"
    assert node_state(node("Unknown", taints=["node.kubernetes.io/out-of-service"]), NOW_S).gone


def test_a_heartbeat_is_no_news():
    assert node_gist(node()) == node_gist(node())
    assert node_gist(node()) != node_gist(node("False")) != node_gist(node(unschedulable=True))


def slice_(name="s1", devices=None, generation=1, of=1, pool="n1"):
    devices = {"gpu-0": []} if devices is None else devices
    body = {
        "metadata": {"name": name},
        "spec": {
            "driver": "gpu.example.com", "nodeName": "n1",
            "pool": {"name": pool, "generation": generation, "resourceSliceCount": of},
            "devices": [
                {"name": n, "taints": [{"key": "ill", "value": "xid", "effect": e} for e in effects]}
                for n, effects in devices.items()
            ],
        },
    }  # fmt: skip
    return msgspec.convert(body, ResourceSlice)


def claim(tolerations=(), conditions=()):
    results = [{"request": "r", "driver": KEY[0], "pool": KEY[1], "device": KEY[2], "tolerations": list(tolerations)}]
    body = {
        "status": {
            "allocation": {"devices": {"results": results}},
            "devices": [{"driver": KEY[0], "pool": KEY[1], "device": KEY[2], "conditions": list(conditions)}],
        }
    }
    return msgspec.convert(body, ResourceClaim)


def rule(effect="NoExecute", **selector):
    spec = (
        {"deviceSelector": selector, "taint": {"key": "repair", "effect": effect}}
        if selector
        else {"taint": {"key": "x", "effect": effect}}
    )
    return msgspec.convert({"spec": spec}, DeviceTaintRule)


def book(*slices):
    made = DeviceBook()
    for each in slices:
        made.put(each)
    return made


def troubles(of=None, slices=(), rules=()):
    return [(t.effect, t.reason) for t in claim_troubles("a-0", of or claim(), book(*slices), rules)]


def test_taints_of_slices_come_and_go():
    tainted, well = slice_(devices={"gpu-0": ["NoSchedule", "NoExecute", "None"], "gpu-1": ["NoExecute"]}), slice_()
    made = book(tainted)
    assert [t.effect for t in claim_troubles("a-0", claim(), made, ())] == ["NoSchedule", "NoExecute"]
    made.put(well)
    assert not list(claim_troubles("a-0", claim(), made, ()))
    made.put(tainted)
    made.drop(tainted)
    assert not list(claim_troubles("a-0", claim(), made, ()))


@pytest.mark.parametrize(
    "toleration, tolerates",
    [
        ({"operator": "Exists"}, True),
        ({"key": "ill", "operator": "Exists", "effect": "NoExecute"}, True),
        ({"key": "ill", "value": "xid"}, True),
        ({"key": "ill", "value": "other", "operator": "Equal"}, False),
        ({"key": "other", "operator": "Exists"}, False),
        ({"operator": "Exists", "effect": "NoSchedule"}, False),
        ({"key": "ill", "operator": "Sometimes", "value": "xid"}, False),
    ],
)
def test_what_a_claim_tolerates_is_no_trouble(toleration, tolerates):
    found = troubles(claim([toleration]), [slice_(devices={"gpu-0": ["NoExecute"]})])
    assert found == ([] if tolerates else [("NoExecute", "taint ill=xid")])


@pytest.mark.parametrize(
    "selector, meant",
    [
        ({"driver": KEY[0]}, True),
        ({"pool": KEY[1], "device": KEY[2]}, True),
        ({"driver": KEY[0], "device": "gpu-1"}, False),
        ({}, False),
    ],
)
def test_rules_mean_what_their_selectors_match(selector, meant):
    assert troubles(slices=[slice_()], rules=[rule(**selector)]) == ([("NoExecute", "taint repair")] if meant else [])
    assert not troubles(slices=[slice_()], rules=[rule("None", **selector)])


def test_only_a_complete_pool_says_that_a_device_is_no_more():
    without = {"gpu-1": []}
    gone = [("", "it is not offered any more")]
    assert troubles(slices=[slice_(devices=without)]) == gone
    assert not troubles(slices=[])
    assert not troubles(slices=[slice_(devices=without, of=2)])
    assert not troubles(slices=[slice_("s1", {}, 2, 2), slice_("s2", {"gpu-0": []}, 2, 2)])
    # The old generation's slices are outdated, and do not count.
    assert troubles(slices=[slice_("s1", {"gpu-0": []}, 1), slice_("s2", without, 2)]) == gone


def test_a_drivers_report_has_to_last():
    def reported(ago_s, status="False", kind="Ready"):
        at = format_time(NOW_S - ago_s)
        of = claim(conditions=[{"type": kind, "status": status, "message": "link down", "lastTransitionTime": at}])
        return look(fleet(4, replica()), devices=list(claim_troubles("a-0", of, book(slice_()), ())))

    early = reported(10)
    assert not early.findings and early.step.again_s == pytest.approx(20)
    assert outcome_of(reported(31)).deed == "Draining"
    assert not reported(31, "True").findings
    assert not reported(31, kind="NetworkReady").findings


def test_what_kubelets_say_of_devices():
    body = {
        "status": {
            "containerStatuses": [
                {
                    "name": "engine", "image": "", "imageID": "", "ready": True, "restartCount": 0,
                    "allocatedResourcesStatus": [
                        {
                            "name": "claim:npus",
                            "resources": [
                                {"resourceID": "furiosa.ai/npu=npu3", "health": "Unhealthy", "message": "DeadCard"},
                                {"resourceID": "furiosa.ai/npu=npu4", "health": "Unknown"},
                                {"resourceID": "furiosa.ai/npu=npu5", "health": "Healthy"},
                            ],
                        }
                    ],
                }
            ]
        }
    }  # fmt: skip
    found = list(pod_troubles("a-0", msgspec.convert(body, Pod)))
    assert found == [DeviceTrouble("a-0", "furiosa.ai/npu=npu3", "", "health Unhealthy: DeadCard")]


def test_the_taint_is_graver_than_the_report():
    both = [
        DeviceTrouble("a-0", "d/n/0", "", "health Unhealthy"),
        DeviceTrouble("a-0", "d/n/0", "NoExecute", "taint x"),
    ]
    assert look(fleet(4, replica()), devices=both).records[0].cause == "DeviceFailed"

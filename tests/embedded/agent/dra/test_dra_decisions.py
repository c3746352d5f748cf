"""The pure parts of the node's side of DRA: records, services, health, selection, metrics; and the record on disk."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from agent_builders import container, pod
from hypothesis import given
from hypothesis import strategies as st

from fairlead.embedded.agent.agent import NodeAgent
from fairlead.embedded.agent.dra import state
from fairlead.embedded.agent.dra.absence import Absences
from fairlead.embedded.agent.dra.answers import ClaimAnswer, judge_prepared, judge_unprepared
from fairlead.embedded.agent.dra.checkpoint import Checkpoint, CheckpointError
from fairlead.embedded.agent.dra.health import DEFAULT_TIMEOUT_S, DeviceHealth, HealthTable
from fairlead.embedded.agent.dra.metrics import BUCKETS_S, DraMetrics
from fairlead.embedded.agent.dra.plugins import Plugins
from fairlead.embedded.agent.dra.preparer import ClaimPreparer, PrepareError
from fairlead.embedded.agent.dra.selection import MissingClaim, allocated_resources, cdi_ids
from fairlead.embedded.agent.dra.services import HEALTH_VERSIONS, PluginInfo, RegistrationError, choose
from fairlead.embedded.agent.dra.state import ClaimRecord, PreparedDevice, WantedClaim

GPU = "gpu.example.com"
PODS = ("pod-1", "pod-2", "pod-3")
DRIVERS = ("a.test", "b.test")


def wanted(uid: str, *drivers: str) -> WantedClaim:
    return WantedClaim(uid, "default", f"claim-{uid}", {driver: frozenset({("p", "d")}) for driver in drivers})


def info(**fields: Any) -> PluginInfo:
    values = {"type": "DRAPlugin", "name": GPU, "endpoint": "/run/gpu.sock", "versions": ("v1.DRAPlugin",)}
    return PluginInfo(**(values | fields))


steps = st.one_of(
    st.tuples(st.just("hold"), st.sampled_from(PODS), st.sampled_from("xyz"), st.sets(st.sampled_from(DRIVERS))),
    st.tuples(st.just("answer"), st.sampled_from("xyz"), st.sampled_from(DRIVERS)),
    st.tuples(st.just("release"), st.sampled_from(PODS), st.sets(st.sampled_from(DRIVERS))),
)


@given(st.lists(steps, max_size=30))
def test_a_driver_that_was_asked_stays_on_record_until_it_gave_back(sequence: list[tuple[Any, ...]]):
    claims: state.Claims = {}
    owed: set[tuple[str, str]] = set()
    users: dict[str, set[str]] = {}
    for step in sequence:
        if step[0] == "hold":
            _, user, uid, drivers = step
            claims = state.hold(claims, user, [wanted(uid, *sorted(drivers))])
            owed |= {(uid, driver) for driver in drivers}
            users.setdefault(uid, set()).add(user)
        elif step[0] == "answer":
            _, uid, driver = step
            if uid in claims and driver in claims[uid].drivers:
                claims = state.answer(claims, driver, {uid: (PreparedDevice("p", "d"),)})
        else:
            _, user, willing = step
            alone = [uid for uid, record in claims.items() if record.pods == (user,)]
            for driver in sorted(willing):
                uids = [uid for uid in alone if driver in claims[uid].drivers]
                claims = state.give_back(claims, driver, uids)
                owed -= {(uid, driver) for uid in uids}
            claims = state.forget_empty(state.leave(claims, user), alone)
            for uid, known in users.items():
                if uid not in alone or uid not in claims:
                    known.discard(user)
        assert {(uid, driver) for uid, record in claims.items() for driver in record.drivers} == owed
        assert {uid: set(record.pods) for uid, record in claims.items()} == {u: p for u, p in users.items() if p}
        assert all(record.pods for record in claims.values())


def test_the_newest_version_that_both_know_is_chosen():
    chosen = choose(info(versions=("v9.DRAPlugin", "v1beta1.DRAPlugin", "v1.DRAPlugin", HEALTH_VERSIONS[1])), "/s")
    assert (chosen.dra, chosen.health) == ("v1.DRAPlugin", (HEALTH_VERSIONS[1],))
    assert choose(info(endpoint="", versions=("v1beta1.DRAPlugin",)), "/s").endpoint == "/s"
    assert choose(info(), "/s").health == HEALTH_VERSIONS


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"type": "CSIPlugin"}, "plugin type 'CSIPlugin' at /s is not known here"),
        ({"name": ""}, "driver name '' at /s is not a DNS subdomain"),
        ({"name": "a" * 64}, "at most 63 characters"),
        ({"versions": ()}, "offers services [none], of which none is known here"),
        ({"endpoint": "relative.sock"}, "is not an absolute path"),
        ({"endpoint": "/" + "x" * 107}, "is longer than the 107 bytes"),
    ],
)
def test_a_plugin_that_cannot_be_used_is_told_why(fields: dict[str, Any], expected: str):
    with pytest.raises(RegistrationError) as refused:
        choose(info(**fields), "/s")
    assert expected in str(refused.value)


def test_one_bad_claim_does_not_spoil_the_others():
    device = PreparedDevice("p", "d", ("r",), ("v.test/c=d",))
    answers = {"x": ClaimAnswer(devices=(device,)), "y": ClaimAnswer("no power")}
    verdict = judge_prepared(DRIVERS[0], [wanted("x", DRIVERS[0]), wanted("y", DRIVERS[0]), wanted("z")], answers)
    assert verdict.devices == {"x": (device,)}
    assert [problem.partition("driver a.test ")[2] for problem in verdict.problems] == [
        "failed for ResourceClaim claim-y: no power",
        "skipped ResourceClaim claim-z",
    ]
    given_back, problems = judge_unprepared(DRIVERS[0], {"x": "cx", "y": "cy", "z": "cz"}, {"x": "", "y": "busy"})
    assert given_back == ["x"]
    assert len(problems) == 2


def test_health_holds_for_its_time_and_ends_with_its_stream():
    table, key = HealthTable(), (GPU, "p", "d")
    well, ill = DeviceHealth("Healthy"), DeviceHealth("Unhealthy", "hot")
    assert table.report(GPU, "old", [("p", "d", well, 0.0)], 10.0) == {key}
    assert table.report(GPU, "old", [("p", "d", well, 0.0)], 11.0) == set()
    assert table.health(key, 11.0 + DEFAULT_TIMEOUT_S - 0.1) == well
    assert table.health(key, 11.0 + DEFAULT_TIMEOUT_S).health == "Unknown"
    assert table.expired(20.0, 11.0 + DEFAULT_TIMEOUT_S) == {key}
    assert table.report(GPU, "new", [("p", "d", ill, 5.0)], 12.0) == {key}
    assert table.forget("new", 13.0) == {key}
    assert table.health(key, 13.0) == well
    assert table.forget("old", 13.0) == {key}
    long = DeviceHealth("Unhealthy", "\u00e4" * 1000)
    table.report(GPU, "old", [("p", "d", long, 0.0)], 14.0)
    assert len(table.health(key, 14.0).message.encode()) <= 1024


RECORD = ClaimRecord(
    "u",
    "default",
    "real",
    ("uid-1",),
    {
        GPU: (
            PreparedDevice("p", "d0", ("gpu",), ("v.test/c=d0", "v.test/c=extra")),
            PreparedDevice("p", "d1", ("nic/fast",), ("v.test/c=d1",)),
            PreparedDevice("p", "all", (), ("v.test/c=all",)),
            PreparedDevice("p", "plain", ("gpu",), ()),
        )
    },
)


@pytest.mark.parametrize(
    ("request_name", "expected"),
    [
        ("", ["d0", "extra", "d1", "all"]),
        ("gpu", ["d0", "extra", "all"]),
        ("nic", ["d1", "all"]),
        ("nic/slow", ["d1", "all"]),
        ("other", ["all"]),
    ],
)
def test_a_container_gets_the_devices_of_its_requests(request_name: str, expected: list[str]):
    use = {"name": "c"} | ({"request": request_name} if request_name else {})
    a_pod = pod(
        container(resources={"claims": [use]}),
        container("bare"),
        resourceClaims=[{"name": "c", "resourceClaimName": "real"}],
    )
    with_claim, bare = a_pod.spec.containers
    assert cdi_ids(a_pod, with_claim, {"real": RECORD}) == [f"v.test/c={name}" for name in expected]
    assert cdi_ids(a_pod, bare, {"real": RECORD}) == []
    shown = allocated_resources(a_pod, with_claim, {"real": RECORD}, lambda key: DeviceHealth("Healthy"))
    assert shown[0]["name"] == (f"claim:c/{request_name}" if request_name else "claim:c")
    ids = [entry["resourceID"] for entry in shown[0]["resources"]]
    assert ("v.test/c=d0" in ids) == (f"{GPU}/p/plain" in ids) == (request_name in ("", "gpu"))
    assert "v.test/c=extra" not in ids


def test_a_claim_that_is_not_prepared_is_named():
    a_pod = pod(
        container(resources={"claims": [{"name": "c"}]}), resourceClaims=[{"name": "c", "resourceClaimName": "real"}]
    )
    pending = ClaimRecord("u", "default", "real", ("uid-1",), {GPU: None})
    for records in ({}, {"real": pending}):
        with pytest.raises(MissingClaim, match="ResourceClaim real of container app is not prepared"):
            cdi_ids(a_pod, a_pod.spec.containers[0], records)
    unneeded = pod(
        container(resources={"claims": [{"name": "c"}]}),
        resourceClaims=[{"name": "c", "resourceClaimTemplateName": "t"}],
        status={"resourceClaimStatuses": [{"name": "c"}]},
    )
    assert cdi_ids(unneeded, unneeded.spec.containers[0], {}) == []


def test_the_record_on_disk_is_whole_or_refused(tmp_path: Path):
    checkpoint = Checkpoint(tmp_path)
    assert checkpoint.load() == {}
    checkpoint.save({"u": RECORD})
    assert checkpoint.load() == {"u": RECORD}
    written = checkpoint.path.read_text()
    content = json.loads(written)
    changed = json.dumps(content | {"data": content["data"].replace("d0", "d9")})
    for damaged in (written[: len(written) // 2], "", "[]", changed, written.replace('"v1"', '"v9"')):
        checkpoint.path.write_text(damaged)
        with pytest.raises(CheckpointError) as refused:
            checkpoint.load()
        assert str(checkpoint.path) in str(refused.value)
    assert checkpoint.replace_damaged({"u": RECORD}).read_text() == written.replace('"v1"', '"v9"')
    assert checkpoint.load() == {"u": RECORD}


def test_metrics_have_the_kubelets_names():
    metrics = DraMetrics()
    metrics.observe_operation("PrepareResources", False, 0.2)
    metrics.observe_call(GPU, "/k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin/NodePrepareResources", "OK", 99.0)
    text = metrics.render([RECORD, ClaimRecord("v", "default", "pending", ("p",), {GPU: None})])
    assert (
        'dra_operations_duration_seconds_bucket{is_error="false",operation_name="PrepareResources",le="40"} 1' in text
    )
    assert f'dra_resource_claims_in_use{{driver_name="{GPU}"}} 1' in text
    assert 'dra_resource_claims_in_use{driver_name="<any>"} 1' in text
    assert 'method_name="/k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin/NodePrepareResources",le="40"} 0' in text
    assert (len(BUCKETS_S), BUCKETS_S[0], round(BUCKETS_S[-1], 9)) == (15, 0.1, 40.0)


def test_a_driver_is_away_after_its_time_and_once():
    absences = Absences(30.0)
    absences.seen("a")
    assert absences.look({"a": True}, 0.0) == []
    assert absences.look({"a": False}, 10.0) == []
    assert absences.look({"a": True}, 39.0) == []
    assert absences.look({"a": False}, 41.0) == []
    assert absences.look({"a": False}, 71.0) == ["a"]
    absences.settled("a")
    assert absences.look({"a": False}, 200.0) == []


@pytest.mark.parametrize("registers", [True, False])
def test_a_driver_that_came_back_counts_again(registers: bool):
    absences = Absences(30.0)
    absences.seen("a")
    for now_s in (0.0, 30.0):
        overdue = absences.look({"a": False}, now_s)
    assert overdue == ["a"]
    absences.settled("a")
    if registers:
        absences.seen("a")
    else:
        # It hung, and was never out of the registry.
        assert absences.look({"a": True}, 40.0) == []
    assert absences.look({"a": False}, 50.0) == []
    assert absences.look({"a": False}, 80.0) == ["a"]


def test_a_pod_is_there_until_the_files_of_its_containers_are_gone(tmp_path: Path):
    agent = cast(NodeAgent, SimpleNamespace(workers={"runs": None}, context=SimpleNamespace(folder=tmp_path)))
    (tmp_path / "pods" / "deleted-but-running").mkdir(parents=True)
    active = {uid: NodeAgent.is_active(agent, uid) for uid in ("runs", "deleted-but-running", "gone")}
    assert active == {"runs": True, "deleted-but-running": True, "gone": False}


async def test_a_claim_waits_for_an_older_one_of_its_name(tmp_path: Path):
    older = state.hold({}, "pod-1", [WantedClaim("old", "default", "one", {GPU: frozenset({("p", "d")})})])
    preparer = ClaimPreparer(Checkpoint(tmp_path), older, Plugins(lambda driver: None), DraMetrics())
    newer = {"metadata": {"uid": "new", "namespace": "default", "name": "one"}, "status": {"allocation": {}}}
    with pytest.raises(PrepareError, match=r"an older ResourceClaim one \(UID old\) is not unprepared yet"):
        await preparer.prepare("pod-2", [newer])
    assert dict(preparer.claims) == dict(older)
    elsewhere = {**newer, "metadata": {**newer["metadata"], "namespace": "other"}}
    await preparer.prepare("pod-2", [elsewhere])
    assert preparer.holds("pod-2")

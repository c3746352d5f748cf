"""Endpoints of Services: who is in them, under which ports, and that slices keep their names."""

import copy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.embedded.controllers.endpoints import CHANGED_AT, compute_endpoints, compute_slices, match_slices

Object = dict[str, Any]
BORN = "2026-01-01T00:00:00Z"


def service(*ports: Object, **spec: Any) -> Object:
    meta = {"name": "web", "namespace": "default", "uid": "s", "labels": {"team": "x"}, "creationTimestamp": BORN}
    return {
        "metadata": meta,
        "spec": {"selector": {"app": "web"}, "ports": list(ports), "clusterIP": "10.0.0.1"} | spec,
    }


def pod(number: int, ready: bool = True, port: int = 8080, **fields: Any) -> Object:
    since = f"2026-01-01T00:{number % 60:02}:00Z"
    meta = {"name": f"p{number:03}", "namespace": "default", "uid": f"u{number}"} | fields.pop("meta", {})
    status = {
        "phase": "Running",
        "podIP": f"10.1.{number // 250}.{number % 250 + 1}",
        "conditions": [{"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": since}],
    }
    containers = [{"name": "c", "ports": [{"name": "http", "containerPort": port}]}]
    return {"metadata": meta, "spec": {"containers": containers, "nodeName": "n1"} | fields, "status": status}


NODES = {"n1": {"metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "z1"}}}}
HTTP = {"name": "http", "port": 80, "targetPort": "http"}


def test_named_ports_are_those_of_each_pod() -> None:
    pods = [pod(0), pod(1, port=9090), pod(2, containers=[{"name": "c"}])]
    slices = compute_slices(service(HTTP), pods, NODES)
    assert [(s["ports"][0]["port"], len(s["endpoints"])) for s in slices] == [(8080, 1), (9090, 1)]
    assert slices[0]["endpoints"][0]["zone"] == "z1"
    subsets = compute_endpoints(service(HTTP), pods)["subsets"]
    assert [s["ports"] for s in subsets] == [
        [{"port": 8080, "protocol": "TCP", "name": "http"}], [{"port": 9090, "protocol": "TCP", "name": "http"}]
    ]  # fmt: skip


def test_readiness_and_leaving_are_told_apart() -> None:
    leaving = pod(2, meta={"deletionTimestamp": BORN})
    ended = pod(3)
    ended["status"]["phase"] = "Succeeded"
    pods = [pod(0), pod(1, ready=False), leaving, ended]
    (found,) = compute_slices(service(HTTP), pods, NODES)
    conditions = {e["targetRef"]["name"]: tuple(e["conditions"].values()) for e in found["endpoints"]}
    assert conditions == {"p000": (True, True, False), "p001": (False, False, False), "p002": (False, True, True)}
    (subset,) = compute_endpoints(service(HTTP), pods)["subsets"]
    assert [a["targetRef"]["name"] for a in subset["addresses"]] == ["p000"]
    assert [a["targetRef"]["name"] for a in subset["notReadyAddresses"]] == ["p001"]
    (published,) = compute_slices(service(HTTP, publishNotReadyAddresses=True), pods, NODES)
    assert all(e["conditions"]["ready"] for e in published["endpoints"])


def test_a_headless_service_without_ports_has_endpoints_and_host_names() -> None:
    named = pod(0, hostname="web-0", subdomain="web")
    (found,) = compute_slices(service(clusterIP="None"), [named], NODES)
    assert found["ports"] is None and found["endpoints"][0]["hostname"] == "web-0"
    assert found["metadata"]["labels"]["service.kubernetes.io/headless"] == ""


def test_a_service_without_pods_has_one_empty_slice_and_no_subsets() -> None:
    (found,) = compute_slices(service(HTTP), [], NODES)
    assert (found["endpoints"], found["ports"]) == (None, None)
    assert "subsets" not in compute_endpoints(service(HTTP), [])


def test_writes_carry_the_time_of_the_change_that_they_follow() -> None:
    (found,) = compute_slices(service(HTTP), [pod(7), pod(3)], NODES)
    assert found["metadata"]["annotations"] == {CHANGED_AT: "2026-01-01T00:07:00Z"}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sets(st.integers(0, 320), max_size=320), min_size=1, max_size=4))
def test_slices_hold_everyone_once_in_hundreds_and_settle(rounds: list[set[int]]) -> None:
    stored: dict[str, Object] = {}
    names = 0
    for numbers in rounds:
        wanted = compute_slices(service(HTTP), [pod(n) for n in numbers], NODES)
        step = match_slices(wanted, list(stored.values()))
        for obj in step.create:
            names += 1
            made = copy.deepcopy(obj)
            made["metadata"]["name"] = f"web-{names}"
            stored[f"web-{names}"] = made
        for obj in step.update:
            stored[obj["metadata"]["name"]] = obj
        for name in step.delete:
            del stored[name]
        found = [e["targetRef"]["uid"] for s in stored.values() for e in s["endpoints"] or ()]
        assert sorted(found) == sorted(f"u{n}" for n in numbers)
        assert all(len(s["endpoints"] or ()) <= 100 for s in stored.values())
        again = match_slices(wanted, list(stored.values()))
        assert not (again.create or again.update or again.delete)


def test_labels_of_the_service_reach_slices_that_exist() -> None:
    (first,) = compute_slices(service(HTTP), [pod(0)], NODES)
    first["metadata"]["name"] = "web-1"
    renamed = service(HTTP)
    renamed["metadata"]["labels"] = {"team": "y"}
    step = match_slices(compute_slices(renamed, [pod(0)], NODES), [first])
    assert [o["metadata"]["labels"]["team"] for o in step.update] == ["y"]

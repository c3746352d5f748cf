"""The kinds of resource.k8s.io over HTTPS: ownership, metadata, versions, deletion."""

from __future__ import annotations

from typing import Any

RULES = "/apis/resource.k8s.io/v1beta2/devicetaintrules"
SLICES = "/apis/resource.k8s.io/v1/resourceslices"
CLASSES = "/apis/resource.k8s.io/v1/deviceclasses"


def _rule(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"taint": {"key": "k", "effect": "NoExecute"}}}


def _slice(name: str) -> dict[str, Any]:
    devices = [{"name": "d", "taints": [{"key": "k", "effect": "NoSchedule"}]}]
    pool = {"name": "p", "generation": 1, "resourceSliceCount": 1}
    return {"metadata": {"name": name}, "spec": {"driver": "a.b", "pool": pool, "allNodes": True, "devices": devices}}


async def test_the_time_of_a_taint_belongs_to_who_wrote_the_rule(client: Any) -> None:
    status, created = await client("POST", RULES, _rule("r"))
    assert status == 201
    (entry,) = created["metadata"]["managedFields"]
    assert entry["fieldsV1"]["f:spec"]["f:taint"] == {"f:effect": {}, "f:key": {}, "f:timeAdded": {}}


async def test_writing_a_slice_again_leaves_its_owner(client: Any) -> None:
    _, created = await client("POST", SLICES, _slice("s"))
    times = created["spec"]["devices"][0]["taints"][0]["timeAdded"]
    again = _slice("s")
    again["spec"]["devices"][0]["taints"][0]["timeAdded"] = times
    _, updated = await client("PUT", f"{SLICES}/s", again, fieldManager="other")
    assert updated["metadata"]["resourceVersion"] == created["metadata"]["resourceVersion"]


async def test_the_alpha_version_of_taint_rules_is_deprecated(client: Any) -> None:
    response = await client.raw("POST", RULES.replace("v1beta2", "v1alpha3"), _rule("alpha"))
    assert response.status == 201
    warning = "resource.k8s.io/v1alpha3 DeviceTaintRule is deprecated in v1.36+, unavailable in v1.39+"
    assert response.headers["Warning"] == f'299 - "{warning}"'


async def test_the_deletion_of_a_taint_rule_answers_with_the_rule(client: Any) -> None:
    await client("POST", RULES, _rule("gone"))
    status, answer = await client("DELETE", f"{RULES}/gone")
    assert (status, answer["kind"], answer["metadata"]["name"]) == (200, "DeviceTaintRule", "gone")


async def test_metadata_of_an_update_is_checked_as_often_as_upstream(client: Any) -> None:
    await client("POST", CLASSES, {"metadata": {"name": "c"}})
    status, answer = await client("PUT", f"{CLASSES}/c", {"metadata": {"name": "c", "finalizers": ["-"]}})
    assert status == 422
    found = [cause["field"] for cause in answer["details"]["causes"]]
    assert found == ["metadata.finalizers", "metadata.finalizers", "metadata.finalizers[0]", "metadata.finalizers[0]"]


async def test_parameters_of_any_type_reach_validation_through_apply(client: Any) -> None:
    config = [{"opaque": {"driver": "a.b", "parameters": 1}}]
    body = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "DeviceClass",
        "metadata": {"name": "p"},
        "spec": {"config": config},
    }
    headers = {"Content-Type": "application/apply-patch+yaml"}
    status, answer = await client("PATCH", f"{CLASSES}/p", body, headers=headers, fieldManager="m")
    assert status == 422
    assert answer["message"].endswith("must be a valid JSON object")


async def test_the_owner_of_a_deallocated_device_stays(client: Any) -> None:
    claims = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims"
    request = {"name": "r", "exactly": {"deviceClassName": "c"}}
    await client("POST", claims, {"metadata": {"name": "c"}, "spec": {"devices": {"requests": [request]}}})
    device = {"driver": "a.b", "pool": "p", "device": "d"}
    status = {"allocation": {"devices": {"results": [{"request": "r", **device}]}}, "devices": [device]}
    headers = {"Content-Type": "application/merge-patch+json"}
    code, _ = await client("PATCH", f"{claims}/c/status", {"status": status}, headers=headers)
    assert code == 200
    _, freed = await client("PATCH", f"{claims}/c/status", {"status": {"allocation": None}}, headers=headers)
    assert freed["status"] == {}
    (entry,) = (e for e in freed["metadata"]["managedFields"] if e.get("subresource") == "status")
    assert "f:devices" in entry["fieldsV1"]["f:status"]


async def test_unknown_field_selectors_of_slices_name_the_kind(client: Any) -> None:
    status, answer = await client("GET", SLICES, fieldSelector="spec.pool=p")
    assert status == 400
    assert answer["message"].endswith("not supported for resource.k8s.io/v1, Kind=ResourceSlice: spec.pool")


async def test_newer_events_are_refused_as_events_of_core(client: Any) -> None:
    path = "/apis/events.k8s.io/v1/namespaces/default/events"
    status, answer = await client("POST", path, {"metadata": {"name": "e"}})
    assert status == 422
    assert answer["message"].startswith('Event "e" is invalid')

"""Tables: columns of built-in kinds and of custom resources, and what rows carry."""

from typing import Any

from fairlead.clock import format_time
from fairlead.embedded.apiserver.kinds import builtin_types
from fairlead.embedded.apiserver.printing import columns_for, custom_columns, table
from fairlead.embedded.apiserver.registry import ResourceType
from fairlead.embedded.apiserver.schema.node import Schema

NOW = 1_700_000_000.0


def metadata(name: str = "x", **more: Any) -> dict[str, Any]:
    return {"name": name, "creationTimestamp": format_time(NOW - 300), **more}


def row(group: str, kind: str, obj: dict[str, Any]) -> dict[str, Any]:
    """Column name -> cell of one object."""
    return {column.name: column.cell(obj, NOW) for column in columns_for(group, kind)}


def widget_type(**options: Any) -> ResourceType:
    return ResourceType("example.com", "v1", "widgets", "Widget", True, Schema(type="object"), **options)


def test_a_kind_without_columns_shows_when_it_was_created() -> None:
    made = table(widget_type(), [{"metadata": metadata()}], now=NOW, include_object="None", list_metadata={})
    assert [column["name"] for column in made["columnDefinitions"]] == ["Name", "Created At"]
    assert made["rows"] == [{"cells": ["x", format_time(NOW - 300)], "object": None}]
    assert made["kind"] == "Table" and made["apiVersion"] == "meta.k8s.io/v1"


def test_rows_carry_what_was_asked_for() -> None:
    obj = {"kind": "Widget", "apiVersion": "example.com/v1", "metadata": metadata(), "spec": {"a": 1}}
    carried = {
        include: table(widget_type(), [obj], now=NOW, include_object=include, list_metadata={})["rows"][0]["object"]
        for include in ("Metadata", "Object", "None")
    }
    assert carried["Metadata"]["kind"] == "PartialObjectMetadata"
    assert carried["Metadata"]["metadata"] == obj["metadata"]
    assert carried["Object"] is obj
    assert carried["None"] is None


def test_custom_columns_follow_their_types() -> None:
    spec = {"text": {"b": 1}, "flag": True, "count": 3, "share": 1.5, "day": format_time(NOW - 90), "list": ["p", "q"]}
    definitions: list[dict[str, Any]] = [
        {"name": "Text", "type": "string", "jsonPath": ".spec.text"},
        {"name": "Flag", "type": "boolean", "jsonPath": ".spec.flag", "priority": 1},
        {"name": "Count", "type": "integer", "format": "int32", "jsonPath": ".spec.count"},
        {"name": "Share", "type": "number", "jsonPath": ".spec.share", "description": "d"},
        {"name": "Day", "type": "date", "jsonPath": ".spec.day"},
        {"name": "Wrong", "type": "integer", "jsonPath": ".spec.flag"},
        {"name": "Missing", "type": "string", "jsonPath": ".spec.missing"},
    ]
    columns = custom_columns(definitions)
    cells = [column.cell({"metadata": metadata(), "spec": spec}, NOW) for column in columns]
    assert cells == ["x", '{"b":1}', True, 3, 1.5, "90s", None, None]
    assert columns[1].description == "Custom resource definition column (in JSONPath format): .spec.text"
    assert (columns[2].priority, columns[3].format, columns[4].description) == (1, "int32", "d")


def test_a_custom_resource_without_columns_shows_its_age() -> None:
    columns = custom_columns(None)
    assert [column.name for column in columns] == ["Name", "Age"]
    assert columns[1].cell({"metadata": metadata()}, NOW) == "5m"


def test_every_built_in_column_copes_with_an_empty_object() -> None:
    for type_ in builtin_types():
        for column in columns_for(type_.group, type_.kind):
            column.cell({"metadata": {}}, NOW)


def test_pod_status_names_what_keeps_a_pod_from_running() -> None:
    def pod(status: dict[str, Any], **spec: Any) -> dict[str, Any]:
        return {"metadata": metadata(), "spec": {"containers": [{"name": "c"}], **spec}, "status": status}

    waiting = {"name": "c", "restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    shown = row("", "Pod", pod({"phase": "Running", "containerStatuses": [waiting]}))
    assert (shown["Ready"], shown["Status"], shown["Restarts"]) == ("0/1", "CrashLoopBackOff", "2")

    gated = {"phase": "Pending", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]}
    assert row("", "Pod", pod(gated))["Status"] == "SchedulingGated"

    init = {"name": "i", "restartCount": 1, "state": {"terminated": {"exitCode": 3}}}
    failed_init = pod({"phase": "Pending", "initContainerStatuses": [init]}, initContainers=[{"name": "i"}])
    assert row("", "Pod", failed_init)["Status"] == "Init:ExitCode:3"

    sidecar = {"name": "s", "ready": True, "started": True, "state": {"running": {}}}
    running = {"name": "c", "ready": True, "state": {"running": {}}}
    with_sidecar = pod(
        {"phase": "Running", "initContainerStatuses": [sidecar], "containerStatuses": [running]},
        initContainers=[{"name": "s", "restartPolicy": "Always"}],
    )
    assert row("", "Pod", with_sidecar)["Ready"] == "2/2"

    leaving = pod({"phase": "Running", "containerStatuses": [running]})
    leaving["metadata"]["deletionTimestamp"] = format_time(NOW)
    assert row("", "Pod", leaving)["Status"] == "Terminating"


def test_restarts_tell_when_the_last_one_was() -> None:
    ended = {"terminated": {"finishedAt": format_time(NOW - 30)}}
    status = {"containerStatuses": [{"name": "c", "restartCount": 1, "lastState": ended, "ready": True}]}
    pod = {"metadata": metadata(), "spec": {"containers": [{"name": "c"}]}, "status": status}
    assert row("", "Pod", pod)["Restarts"] == "1 (30s ago)"


def test_rows_of_finished_pods_are_marked() -> None:
    pods = next(type_ for type_ in builtin_types() if type_.kind == "Pod")
    done = {"metadata": metadata(), "spec": {"containers": []}, "status": {"phase": "Succeeded"}}
    made = table(pods, [done], now=NOW, include_object="None", list_metadata={})
    assert made["rows"][0]["conditions"][0]["reason"] == "Succeeded"


def test_claims_show_where_they_stand() -> None:
    claim: dict[str, Any] = {"metadata": metadata(), "status": {}}
    assert row("resource.k8s.io", "ResourceClaim", claim)["State"] == "pending"
    claim["status"] = {"allocation": {}, "reservedFor": [{"name": "p"}]}
    assert row("resource.k8s.io", "ResourceClaim", claim)["State"] == "allocated,reserved"


def test_services_show_their_addresses_and_ports() -> None:
    spec = {"type": "LoadBalancer", "clusterIPs": ["10.0.0.1"], "ports": [{"port": 80, "nodePort": 30080}]}
    shown = row("", "Service", {"metadata": metadata(), "spec": spec})
    assert (shown["Cluster-IP"], shown["External-IP"], shown["Port(s)"]) == ("10.0.0.1", "<pending>", "80:30080/TCP")


def test_a_taint_rule_shows_its_taint() -> None:
    taint = {"key": "npu/unhealthy", "value": "Hot", "effect": "NoExecute", "timeAdded": format_time(NOW - 60)}
    cells = row("resource.k8s.io", "DeviceTaintRule", {"metadata": metadata(), "spec": {"taint": taint}})
    assert list(cells.values()) == ["x", "npu/unhealthy", "Hot", "NoExecute", "60s", "5m"]
    assert list(cells) == ["Name", "Key", "Value", "Effect", "TimeAdded", "Age"]

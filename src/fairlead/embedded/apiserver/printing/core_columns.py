"""Columns of the core group but for pods, services and volumes, and of events in both their groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairlead.embedded.apiserver.printing.cells import AGE, NAME, NONE, UNKNOWN, computed, get, labels, number, text
from fairlead.embedded.apiserver.printing.duration import age
from fairlead.embedded.apiserver.registry import Column, Object

_ROLE_PREFIX = "node-role.kubernetes.io/"
_ROLE_LABEL = "kubernetes.io/role"


def _node_status(node: Object) -> str:
    ready = [item for item in get(node, "status", "conditions", default=()) if item.get("type") == "Ready"]
    states = [("Ready" if ready[-1].get("status") == "True" else "NotReady") if ready else "Unknown"]
    if get(node, "spec", "unschedulable"):
        states.append("SchedulingDisabled")
    return ",".join(states)


def _node_roles(node: Object) -> str:
    found = set()
    for key, value in get(node, "metadata", "labels", default={}).items():
        if key.startswith(_ROLE_PREFIX) and len(key) > len(_ROLE_PREFIX):
            found.add(key.removeprefix(_ROLE_PREFIX))
        elif key == _ROLE_LABEL and value:
            found.add(value)
    return ",".join(sorted(found)) or NONE


def _node_address(name: str, type_: str) -> Column:
    def cell(node: Object) -> str:
        for address in get(node, "status", "addresses", default=()):
            if address.get("type") == type_:
                return str(address.get("address", ""))
        return NONE

    return computed(name, f"The node's first address of type {type_}.", cell, priority=1)


def _node_info(name: str, description: str, key: str, *, default: str = UNKNOWN, priority: int = 1) -> Column:
    return computed(name, description, lambda node: get(node, "status", "nodeInfo", key) or default, priority=priority)


_NODE = (
    NAME,
    computed("Status", "Whether the node is ready, and closed for scheduling.", _node_status),
    computed("Roles", "Roles by the node's labels.", _node_roles),
    AGE,
    _node_info("Version", "Version that the node's agent reports.", "kubeletVersion", default="", priority=0),
    _node_address("Internal-IP", "InternalIP"),
    _node_address("External-IP", "ExternalIP"),
    _node_info("OS-Image", "Operating system.", "osImage"),
    _node_info("Kernel-Version", "Kernel version.", "kernelVersion"),
    _node_info("Container-Runtime", "Container runtime and its version.", "containerRuntimeVersion"),
)


def _first_seen(event: Object, now: float) -> str:
    first = event.get("firstTimestamp") or event.get("deprecatedFirstTimestamp") or event.get("eventTime")
    return age(first, now)


def _last_seen(event: Object, now: float) -> str:
    observed = get(event, "series", "lastObservedTime")
    last = observed or event.get("lastTimestamp") or event.get("deprecatedLastTimestamp")
    return age(last, now) if last else _first_seen(event, now)


def _event_count(event: Object) -> int:
    if event.get("series") is not None:
        return int(event["series"].get("count", 0))
    return int(event.get("count") or event.get("deprecatedCount") or 1)


def _event_object(event: Object) -> str:
    involved: Mapping[str, Any] = event.get("involvedObject") or event.get("regarding") or {}
    kind, name = str(involved.get("kind", "")).lower(), involved.get("name", "")
    return f"{kind}/{name}" if name else kind


def _event_source(event: Object) -> str:
    source: Mapping[str, Any] = event.get("source") or event.get("deprecatedSource") or {}
    component = source.get("component") or event.get("reportingComponent") or event.get("reportingController") or ""
    instance = source.get("host") or event.get("reportingInstance") or ""
    return f"{component}, {instance}" if instance else component


def _event_field_path(event: Object) -> str:
    return str(get(event.get("involvedObject") or event.get("regarding"), "fieldPath", default=""))


_EVENT = (
    Column("Last Seen", "string", "How long ago it was seen last.", _last_seen),
    text("Type", "Normal or Warning.", "type"),
    text("Reason", "Why the event happened, in one word.", "reason"),
    computed("Object", "What the event is about.", _event_object),
    computed("Subobject", "Which part of the object.", _event_field_path, priority=1),
    computed("Source", "Who reports the event.", _event_source, priority=1),
    computed("Message", "What happened.", lambda event: (event.get("message") or event.get("note") or "").strip()),
    Column("First Seen", "string", "How long ago it was seen first.", _first_seen, priority=1),
    computed("Count", "How often it was seen.", _event_count, priority=1),
    Column(NAME.name, NAME.type, NAME.description, NAME.cell, format=NAME.format, priority=1),
)


def _data_size(*keys: str) -> Column:
    return computed(
        "Data",
        "How many entries there are.",
        lambda obj: sum(len(obj.get(key) or ()) for key in keys),
        type_="string",
    )


def _quota(*, limits: bool) -> Column:
    def cell(quota: Object) -> str:
        hard, used = (get(quota, "status", key, default={}) for key in ("hard", "used"))
        return ", ".join(
            f"{name}: {used.get(name, '0')}/{hard[name]}"
            for name in sorted(hard)
            if name.startswith("limits") == limits
        )

    what = "limits" if limits else "requests and objects"
    return computed("Limit" if limits else "Request", f"Use and quota of {what}.", cell)


COLUMNS: Mapping[tuple[str, str], tuple[Column, ...]] = {
    ("", "ConfigMap"): (NAME, _data_size("data", "binaryData"), AGE),
    ("", "Event"): _EVENT,
    ("events.k8s.io", "Event"): _EVENT,
    ("", "Namespace"): (NAME, text("Status", "Active, or on its way out.", "status", "phase"), AGE),
    ("", "Node"): _NODE,
    ("", "PodTemplate"): (
        NAME,
        computed(
            "Containers",
            "Names of the template's containers.",
            lambda obj: ",".join(item.get("name", "") for item in get(obj, "template", "spec", "containers") or ()),
        ),
        computed(
            "Images",
            "Images of the template's containers.",
            lambda obj: ",".join(item.get("image", "") for item in get(obj, "template", "spec", "containers") or ()),
        ),
        computed(
            "Pod Labels", "Labels of the template.", lambda obj: labels(get(obj, "template", "metadata", "labels"))
        ),
    ),
    ("", "ResourceQuota"): (NAME, _quota(limits=False), _quota(limits=True), AGE),
    ("", "Secret"): (NAME, text("Type", "What the secret is for.", "type"), _data_size("data"), AGE),
    ("", "ServiceAccount"): (NAME, AGE),
    ("autoscaling", "Scale"): (
        Column(NAME.name, NAME.type, NAME.description, NAME.cell),
        number("Desired", "replicas is the desired number of instances for the scaled object.", "spec", "replicas"),
        number(
            "Available",
            "replicas is the actual number of observed instances of the scaled object.",
            "status",
            "replicas",
        ),
        AGE,
    ),
}

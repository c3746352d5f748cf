"""A custom and a built-in kind with every way in which objects and lists merge."""

from __future__ import annotations

from typing import Any

from fairlead.embedded.apiserver.schema.node import GoStruct, Schema

STRING = Schema(type="string")
INTEGER = Schema(type="integer")
STRINGS = Schema(type="object", additional=STRING)
NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"


def struct(_name: str, zeros: dict[str, Any] | None = None, **properties: Schema) -> Schema:
    """A Go struct; `zeros` are the fields that it writes even when they are empty."""
    go = GoStruct(_name, zeros or {})
    return Schema(type="object", go_type=f"v1.{_name}", properties=properties, go=go)


def list_map(items: Schema, *keys: str) -> Schema:
    return Schema(type="array", list_type="map", list_keys=keys, items=items)


META = struct(
    "ObjectMeta",
    name=STRING,
    namespace=STRING,
    uid=STRING,
    resourceVersion=STRING,
    creationTimestamp=Schema(type="string", format="date-time"),
    labels=STRINGS,
    annotations=STRINGS,
    finalizers=Schema(type="array", list_type="set", items=STRING),
)

WIDGET = Schema(
    type="object",
    properties={
        "apiVersion": STRING,
        "kind": STRING,
        "metadata": META,
        "spec": Schema(
            type="object",
            properties={
                "a": STRING,
                "list": list_map(Schema(type="object", properties={"k": STRING, "v": INTEGER}), "k"),
                "set": Schema(type="array", list_type="set", items=STRING),
                "atom": Schema(type="array", items=STRING),
                "m": STRINGS,
                "am": Schema(type="object", map_atomic=True, properties={"x": INTEGER, "y": INTEGER}),
                "free": Schema(type="object", preserve_unknown=True),
            },
        ),
        "status": Schema(type="object", preserve_unknown=True),
    },
)

PORT = struct(
    "Port", {"containerPort": 0}, containerPort=INTEGER, protocol=Schema(type="string", default="TCP"), name=STRING
)
CONTAINER = struct(
    "Container",
    {"name": "", "resources": {}},
    name=STRING,
    image=STRING,
    ports=list_map(PORT, "containerPort", "protocol"),
    resources=struct("Resources", limits=STRINGS),
)
POD = struct(
    "Pod",
    {"metadata": {}, "spec": {}, "status": {}},
    apiVersion=STRING,
    kind=STRING,
    metadata=META,
    spec=struct(
        "PodSpec",
        {"containers": None},
        containers=list_map(CONTAINER, "name"),
        volumes=list_map(struct("Volume", {"name": ""}, name=STRING, emptyDir=struct("EmptyDir")), "name"),
        security=struct("Security", user=INTEGER),
        nodeSelector=Schema(type="object", additional=STRING, map_atomic=True),
    ),
    status=struct("PodStatus", {"replicas": 0}, phase=STRING, replicas=INTEGER),
)


def widget(spec: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    obj: dict[str, Any] = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a", **metadata}}
    return obj if spec is None else obj | {"spec": spec}


def pod(spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", **metadata}, "spec": spec, "status": {}}


def entries(obj: dict[str, Any]) -> dict[str, Any]:
    """Manager -> its FieldsV1 tree."""
    return {entry["manager"]: entry["fieldsV1"] for entry in obj["metadata"].get("managedFields", [])}

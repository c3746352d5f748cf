"""Events, served as core/v1 and as events.k8s.io/v1 from one storage: their rows."""

from __future__ import annotations

from fairlead.embedded.apiserver.kinds.definition import at, resource_type
from fairlead.embedded.apiserver.kinds.event import EventStrategy, NewerEventStrategy, from_core, to_core
from fairlead.embedded.apiserver.registry import ResourceType


def types() -> list[ResourceType]:
    """Events of both groups."""
    involved = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
    core_fields = {f"involvedObject.{key}": at("involvedObject", key) for key in involved}
    return [
        resource_type(
            "v1",
            "events",
            "Event",
            strategy=EventStrategy(),
            short_names=("ev",),
            allow_create_on_update=True,
            selectable_fields={
                **core_fields,
                "reason": at("reason"),
                "reportingComponent": at("reportingComponent"),
                "source": at("source", "component"),
                "type": at("type"),
            },
        ),
        resource_type(
            "events.k8s.io/v1",
            "events",
            "Event",
            strategy=NewerEventStrategy(),
            storage_resource=("", "events"),
            storage_version="v1",
            to_storage=to_core,
            from_storage=from_core,
            short_names=("ev",),
            allow_create_on_update=True,
            selectable_fields={
                **{f"regarding.{key}": at("regarding", key) for key in involved},
                "reason": at("reason"),
                "reportingController": at("reportingController"),
                "type": at("type"),
            },
        ),
    ]

"""Events, served as core/v1 and as events.k8s.io/v1 from one storage: their rows."""

from __future__ import annotations

from fairlead.embedded.apiserver.kinds.definition import at, resource_type
from fairlead.embedded.apiserver.kinds.strategy import ObjectStrategy
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
            strategy=ObjectStrategy(),
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
            strategy=ObjectStrategy(),
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

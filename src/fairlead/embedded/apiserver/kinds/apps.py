"""The group apps, v1: its rows."""

from __future__ import annotations

from fairlead.embedded.apiserver.kinds.definition import STATUS, resource_type
from fairlead.embedded.apiserver.kinds.strategy import ObjectStrategy, StatusStrategy
from fairlead.embedded.apiserver.registry import ResourceType, ScaleMapping

_SCALE = ScaleMapping(".spec.replicas", ".status.replicas", ".spec.selector")


def types() -> list[ResourceType]:
    """The kinds of apps/v1."""
    return [
        resource_type("apps/v1", "controllerrevisions", "ControllerRevision", strategy=ObjectStrategy()),
        resource_type(
            "apps/v1",
            "daemonsets",
            "DaemonSet",
            strategy=StatusStrategy(),
            short_names=("ds",),
            categories=("all",),
            has_status=True,
            has_generation=True,
            reset_fields=STATUS,
        ),
        resource_type(
            "apps/v1",
            "deployments",
            "Deployment",
            strategy=StatusStrategy(),
            short_names=("deploy",),
            categories=("all",),
            has_status=True,
            has_generation=True,
            scale=_SCALE,
            reset_fields=STATUS,
        ),
        resource_type(
            "apps/v1",
            "replicasets",
            "ReplicaSet",
            strategy=StatusStrategy(),
            short_names=("rs",),
            categories=("all",),
            has_status=True,
            has_generation=True,
            scale=_SCALE,
            reset_fields=STATUS,
        ),
        resource_type(
            "apps/v1",
            "statefulsets",
            "StatefulSet",
            strategy=StatusStrategy(),
            short_names=("sts",),
            categories=("all",),
            has_status=True,
            has_generation=True,
            scale=_SCALE,
            reset_fields=STATUS,
        ),
    ]

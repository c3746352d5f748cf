"""The group apps, v1: its rows."""

from __future__ import annotations

from fairlead.embedded.apiserver.kinds.controller_revision import ControllerRevisionStrategy
from fairlead.embedded.apiserver.kinds.daemon_set import DaemonSetStrategy
from fairlead.embedded.apiserver.kinds.definition import STATUS, resource_type
from fairlead.embedded.apiserver.kinds.deployment import DeploymentStrategy
from fairlead.embedded.apiserver.kinds.replica_set import ReplicaSetStrategy
from fairlead.embedded.apiserver.kinds.stateful_set import StatefulSetStrategy
from fairlead.embedded.apiserver.registry import ResourceType, ScaleMapping

_SCALE = ScaleMapping(".spec.replicas", ".status.replicas", ".spec.selector")


def types() -> list[ResourceType]:
    """The kinds of apps/v1."""
    return [
        resource_type("apps/v1", "controllerrevisions", "ControllerRevision", strategy=ControllerRevisionStrategy()),
        resource_type(
            "apps/v1",
            "daemonsets",
            "DaemonSet",
            strategy=DaemonSetStrategy(),
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
            strategy=DeploymentStrategy(),
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
            strategy=ReplicaSetStrategy(),
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
            strategy=StatefulSetStrategy(),
            short_names=("sts",),
            categories=("all",),
            has_status=True,
            has_generation=True,
            scale=_SCALE,
            reset_fields=STATUS,
        ),
    ]

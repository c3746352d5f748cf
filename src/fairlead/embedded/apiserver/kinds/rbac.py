"""The group rbac.authorization.k8s.io, v1: roles and their bindings."""

from __future__ import annotations

from fairlead.embedded.apiserver.kinds.definition import resource_type
from fairlead.embedded.apiserver.kinds.strategy import ClusterStrategy, ObjectStrategy
from fairlead.embedded.apiserver.registry import ResourceType

_API_VERSION = "rbac.authorization.k8s.io/v1"


def types() -> list[ResourceType]:
    """The kinds of rbac.authorization.k8s.io/v1."""
    return [
        resource_type(
            _API_VERSION, "clusterrolebindings", "ClusterRoleBinding", namespaced=False, strategy=ClusterStrategy()
        ),
        resource_type(_API_VERSION, "clusterroles", "ClusterRole", namespaced=False, strategy=ClusterStrategy()),
        resource_type(_API_VERSION, "rolebindings", "RoleBinding", strategy=ObjectStrategy()),
        resource_type(_API_VERSION, "roles", "Role", strategy=ObjectStrategy()),
    ]

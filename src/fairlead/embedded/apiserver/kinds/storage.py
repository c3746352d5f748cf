"""The group storage.k8s.io, v1: storage classes, CSI drivers and volume attachments."""

from __future__ import annotations

from fairlead.embedded.apiserver.kinds.definition import STATUS, resource_type
from fairlead.embedded.apiserver.kinds.strategy import ClusterStrategy, ObjectStrategy
from fairlead.embedded.apiserver.registry import ResourceType


def types() -> list[ResourceType]:
    """The kinds of storage.k8s.io/v1."""
    return [
        resource_type("storage.k8s.io/v1", "csidrivers", "CSIDriver", namespaced=False, strategy=ClusterStrategy()),
        resource_type("storage.k8s.io/v1", "csinodes", "CSINode", namespaced=False, strategy=ClusterStrategy()),
        resource_type("storage.k8s.io/v1", "csistoragecapacities", "CSIStorageCapacity", strategy=ObjectStrategy()),
        resource_type(
            "storage.k8s.io/v1",
            "storageclasses",
            "StorageClass",
            namespaced=False,
            strategy=ClusterStrategy(),
            short_names=("sc",),
        ),
        resource_type(
            "storage.k8s.io/v1",
            "volumeattachments",
            "VolumeAttachment",
            namespaced=False,
            strategy=ClusterStrategy(),
            has_status=True,
            reset_fields=STATUS,
        ),
        resource_type(
            "storage.k8s.io/v1",
            "volumeattributesclasses",
            "VolumeAttributesClass",
            namespaced=False,
            strategy=ClusterStrategy(),
            short_names=("vac",),
        ),
    ]

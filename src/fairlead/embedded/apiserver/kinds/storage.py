"""The group storage.k8s.io, v1: storage classes, CSI drivers and volume attachments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.invalid import FieldError, forbidden, not_supported, required
from fairlead.embedded.apiserver.kinds.definition import STATUS, resource_type
from fairlead.embedded.apiserver.kinds.errors import Errors, add_each, check_immutable
from fairlead.embedded.apiserver.kinds.names import dns_subdomain, qualified_name
from fairlead.embedded.apiserver.kinds.strategy import ClusterStrategy, ObjectStrategy
from fairlead.embedded.apiserver.registry import Object, RequestContext, ResourceType

_API_VERSION = "storage.k8s.io/v1"
_RECLAIM_POLICIES = ("Delete", "Retain")
_BINDING_MODES = ("Immediate", "WaitForFirstConsumer")
_GROUP_POLICIES = ("ReadWriteOnceWithFSType", "File", "None")
_LIFECYCLES = ("Persistent", "Ephemeral")


class StorageClassStrategy(ClusterStrategy):
    """StorageClass: what it says about volumes is for good, but for their growth."""

    def default(self, obj: Object) -> None:
        obj["reclaimPolicy"] = obj.get("reclaimPolicy") or "Delete"
        obj["volumeBindingMode"] = obj.get("volumeBindingMode") or "Immediate"

    def validate(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        provisioner = obj.get("provisioner", "")
        if provisioner:
            add_each(errors, "provisioner", provisioner, qualified_name(provisioner.lower()))
        else:
            errors.append(required("provisioner"))
        for key, values in (("reclaimPolicy", _RECLAIM_POLICIES), ("volumeBindingMode", _BINDING_MODES)):
            if obj[key] not in values:
                errors.append(not_supported(key, obj[key], values))
        return errors

    def validate_change(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = [*self.validate(new, context)]
        if (new.get("parameters") or {}) != (old.get("parameters") or {}):
            errors.append(forbidden("parameters", "updates to parameters are forbidden."))
        for key in ("provisioner", "reclaimPolicy", "volumeBindingMode"):
            check_immutable(errors, new.get(key), old.get(key), key)
        return errors


class DriverStrategy(ClusterStrategy):
    """CSIDriver."""

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        for key, value in _DRIVER_DEFAULTS.items():
            if spec.get(key) is None:
                spec[key] = value
        if not spec.get("volumeLifecycleModes"):
            spec["volumeLifecycleModes"] = ["Persistent"]

    def validate(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        spec = obj["spec"]
        if spec["fsGroupPolicy"] not in _GROUP_POLICIES:
            errors.append(not_supported("spec.fsGroupPolicy", spec["fsGroupPolicy"], _GROUP_POLICIES))
        for mode in spec["volumeLifecycleModes"]:
            if mode not in _LIFECYCLES:
                errors.append(not_supported("spec.volumeLifecycleModes", mode, _LIFECYCLES))
        return errors

    def validate_change(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = [*self.validate(new, context)]
        for key in ("attachRequired", "volumeLifecycleModes"):
            check_immutable(errors, new["spec"].get(key), old["spec"].get(key), f"spec.{key}")
        return errors


_DRIVER_DEFAULTS: Mapping[str, Any] = {
    "attachRequired": True,
    "podInfoOnMount": False,
    "storageCapacity": False,
    "fsGroupPolicy": "ReadWriteOnceWithFSType",
    "requiresRepublish": False,
    "seLinuxMount": False,
}


class DriversOfNodeStrategy(ClusterStrategy):
    """CSINode."""

    def validate(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        for index, driver in enumerate((obj.get("spec") or {}).get("drivers") or ()):
            path = f"spec.drivers[{index}]"
            if not driver.get("name"):
                errors.append(required(f"{path}.name"))
            else:
                add_each(errors, f"{path}.name", driver["name"], dns_subdomain(driver["name"].lower()))
            if not driver.get("nodeID"):
                errors.append(required(f"{path}.nodeID", driver.get("nodeID", "")))
        return errors


class AttachmentStrategy(ClusterStrategy):
    """VolumeAttachment: its spec is for good."""

    def prepare_create(self, obj: Object, context: RequestContext) -> None:
        obj["status"] = {"attached": False}

    def prepare_update(self, new: Object, old: Object, context: RequestContext) -> None:
        new["status"] = old.get("status") or {"attached": False}

    def validate(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        spec = obj.get("spec") or {}
        source = spec.get("source") or {}
        for key in ("attacher", "nodeName"):
            if not spec.get(key):
                errors.append(required(f"spec.{key}"))
        if not source.get("persistentVolumeName") and source.get("inlineVolumeSpec") is None:
            detail = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
            errors.append(required("spec.source", detail))
        return errors

    def validate_change(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        check_immutable(errors, new.get("spec"), old.get("spec"), "spec")
        return errors


def types() -> list[ResourceType]:
    """The kinds of storage.k8s.io/v1."""
    return [
        _cluster_row("csidrivers", "CSIDriver", DriverStrategy()),
        _cluster_row("csinodes", "CSINode", DriversOfNodeStrategy()),
        resource_type(
            _API_VERSION, "csistoragecapacities", "CSIStorageCapacity", strategy=ObjectStrategy(), returns_deleted=True
        ),
        _cluster_row("storageclasses", "StorageClass", StorageClassStrategy(), short_names=("sc",)),
        _cluster_row(
            "volumeattachments", "VolumeAttachment", AttachmentStrategy(), has_status=True, reset_fields=STATUS
        ),
        _cluster_row("volumeattributesclasses", "VolumeAttributesClass", ClusterStrategy(), short_names=("vac",)),
    ]


def _cluster_row(resource: str, kind: str, strategy: ClusterStrategy, **options: Any) -> ResourceType:
    return resource_type(
        _API_VERSION, resource, kind, namespaced=False, strategy=strategy, returns_deleted=True, **options
    )

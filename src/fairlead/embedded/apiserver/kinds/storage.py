"""The group storage.k8s.io, v1: storage classes, CSI drivers and volume attachments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.invalid import FieldError, duplicate, forbidden, invalid, not_supported, required
from fairlead.embedded.apiserver.kinds.definition import STATUS, resource_type
from fairlead.embedded.apiserver.kinds.errors import IMMUTABLE, Errors, Layout, add_each, check_immutable, internal_form
from fairlead.embedded.apiserver.kinds.names import dns_subdomain, qualified_name
from fairlead.embedded.apiserver.kinds.strategy import ClusterStrategy, ObjectStrategy
from fairlead.embedded.apiserver.registry import Object, RequestContext, ResourceType

_API_VERSION = "storage.k8s.io/v1"
_RECLAIM_POLICIES = ("Delete", "Retain")
_BINDING_MODES = ("Immediate", "WaitForFirstConsumer")
_GROUP_POLICIES = ("ReadWriteOnceWithFSType", "File", "None")
_LIFECYCLES = ("Persistent", "Ephemeral")
_ONE_SOURCE = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
_ATTACHMENT: Layout = (("Attacher", "attacher", ""), ("Source", "source", None), ("NodeName", "nodeName", ""))
_ATTACHMENT_SOURCE: Layout = (
    ("PersistentVolumeName", "persistentVolumeName", None),
    ("InlineVolumeSpec", "inlineVolumeSpec", None),
)
NODE_ID_LIMIT = 256


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
        names: list[str | None] = []
        for index, driver in enumerate((obj.get("spec") or {}).get("drivers") or ()):
            path = f"spec.drivers[{index}]"
            if not driver.get("name"):
                errors.append(required(f"{path}.name"))
            else:
                add_each(errors, f"{path}.name", driver["name"], dns_subdomain(driver["name"].lower()))
            node_id = driver.get("nodeID", "")
            if not node_id:
                errors.append(required(f"{path}.nodeID"))
            elif len(node_id) > NODE_ID_LIMIT:
                errors.append(invalid(f"{path}.nodeID", node_id, f"must be {NODE_ID_LIMIT} characters or less"))
            if driver.get("name") in names:
                errors.append(duplicate(f"{path}.name", driver.get("name")))
            names.append(driver.get("name"))
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
        volume, inline = source.get("persistentVolumeName"), source.get("inlineVolumeSpec")
        if not spec.get("attacher"):
            errors.append(required("spec.attacher"))
        if volume is None and inline is None:
            errors.append(required("spec.source", _ONE_SOURCE))
        elif volume is not None and inline is not None:
            errors.append(forbidden("spec.source", _ONE_SOURCE))
        elif volume == "":
            detail = "must specify non empty persistentVolumeName"
            errors.append(required("spec.source.persistentVolumeName", detail))
        node = spec.get("nodeName", "")
        add_each(errors, "spec.nodeName", node, dns_subdomain(node))
        return errors

    def validate_change(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = [*self.validate(new, context)]
        spec = new.get("spec") or {}
        if spec != old.get("spec"):
            shown = internal_form(spec, _ATTACHMENT)
            shown["Source"] = internal_form(spec.get("source"), _ATTACHMENT_SOURCE)
            errors.append(invalid("spec", shown, IMMUTABLE))
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

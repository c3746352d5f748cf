"""The group storage.k8s.io, v1: storage classes, CSI drivers and volume attachments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.invalid import (
    FieldError,
    duplicate,
    forbidden,
    invalid,
    not_supported,
    required,
    too_long,
)
from fairlead.embedded.apiserver.kinds.definition import STATUS, resource_type
from fairlead.embedded.apiserver.kinds.errors import (
    IMMUTABLE,
    Errors,
    Layout,
    add_each,
    check_immutable,
    check_not_negative,
    internal_form,
)
from fairlead.embedded.apiserver.kinds.names import dns_subdomain, qualified_name
from fairlead.embedded.apiserver.kinds.strategy import ClusterStrategy, ObjectStrategy
from fairlead.embedded.apiserver.kinds.volume_sources import validate_driver_name
from fairlead.embedded.apiserver.registry import Object, RequestContext, ResourceType

_API_VERSION = "storage.k8s.io/v1"
_RECLAIM_POLICIES = ("Delete", "Retain")
_BINDING_MODES = ("Immediate", "WaitForFirstConsumer")
_GROUP_POLICIES = ("ReadWriteOnceWithFSType", "File", "None")
_LIFECYCLES = ("Persistent", "Ephemeral")
_ONE_SOURCE = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
_ATTACHMENT: Layout = (("Attacher", "attacher", ""), ("Source", "source", None), ("NodeName", "nodeName", ""))
_FIXED_OF_DRIVER = ("nodeID", "topologyKeys")
# Shown without its volume limits, which may change.
_DRIVER_OF_NODE: Layout = (
    ("Name", "name", ""),
    ("NodeID", "nodeID", ""),
    ("TopologyKeys", "topologyKeys", None),
    ("Allocatable", "", None),
)
_ATTACHMENT_SOURCE: Layout = (
    ("PersistentVolumeName", "persistentVolumeName", None),
    ("InlineVolumeSpec", "inlineVolumeSpec", None),
)
NODE_ID_LIMIT = 256
_MOST_PARAMETERS, _LARGEST_PARAMETERS = 512, 256 * 1024
_SHORTEST_TOKEN_S, _LONGEST_TOKEN_S = 600, 1 << 32
_SHORTEST_PERIOD_S = 10


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
        _validate_parameters(errors, obj.get("parameters") or {})
        for key, values in (("reclaimPolicy", _RECLAIM_POLICIES), ("volumeBindingMode", _BINDING_MODES)):
            if obj[key] not in values:
                errors.append(not_supported(key, obj[key], values))
        _validate_topologies(errors, obj.get("allowedTopologies") or ())
        return errors

    def validate_change(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = [*self.validate(new, context)]
        if (new.get("parameters") or {}) != (old.get("parameters") or {}):
            errors.append(forbidden("parameters", "updates to parameters are forbidden."))
        for key in ("provisioner", "reclaimPolicy", "volumeBindingMode"):
            check_immutable(errors, new.get(key), old.get(key), key)
        return errors


def _validate_parameters(errors: Errors, parameters: Mapping[str, str]) -> None:
    if len(parameters) > _MOST_PARAMETERS:
        errors.append(too_long("parameters", _MOST_PARAMETERS))
        return
    if "" in parameters:
        errors.append(invalid("parameters", "", "field can not be empty."))
    if sum(len(key.encode()) + len(value.encode()) for key, value in parameters.items()) > _LARGEST_PARAMETERS:
        errors.append(too_long("parameters", _LARGEST_PARAMETERS))


def _validate_topologies(errors: Errors, topologies: Sequence[Mapping[str, Any]]) -> None:
    seen: list[dict[str, set[str]]] = []
    for index, term in enumerate(topologies):
        path = f"allowedTopologies[{index}].matchLabelExpressions"
        # label key -> values
        wanted: dict[str, set[str]] = {}
        for position, requirement in enumerate(term.get("matchLabelExpressions") or ()):
            at, key, values = f"{path}[{position}]", requirement.get("key", ""), requirement.get("values") or ()
            if not values:
                errors.append(required(f"{at}.values"))
            for place, value in enumerate(values):
                if value in values[:place]:
                    errors.append(duplicate(f"{at}.values[{place}]", value))
            add_each(errors, f"{at}.key", key, qualified_name(key))
            if key in wanted:
                errors.append(duplicate(f"{at}.key", key))
            wanted[key] = set(values)
        if wanted in seen:
            errors.append(duplicate(path, ""))
        seen.append(wanted)


class DriverStrategy(ClusterStrategy):
    """CSIDriver. It has no generation before its first change."""

    def prepare_update(self, new: Object, old: Object, context: RequestContext) -> None:
        if new["spec"] != old["spec"]:
            new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1

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
            errors.append(not_supported("spec.fsGroupPolicy", spec["fsGroupPolicy"], sorted(_GROUP_POLICIES)))
        _validate_token_requests(errors, spec.get("tokenRequests") or ())
        for mode in spec["volumeLifecycleModes"]:
            if mode not in _LIFECYCLES:
                errors.append(not_supported("spec.volumeLifecycleModes", mode, _LIFECYCLES))
        period_s = spec.get("nodeAllocatableUpdatePeriodSeconds")
        if period_s is not None and period_s < _SHORTEST_PERIOD_S:
            detail = f"must be greater than or equal to {_SHORTEST_PERIOD_S} seconds"
            errors.append(invalid("spec.nodeAllocatableUpdatePeriodSeconds", period_s, detail))
        return errors

    def validate_change(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = [*self.validate(new, context)]
        for key, path in (
            ("attachRequired", "spec.attachedRequired"),
            ("volumeLifecycleModes", "spec.volumeLifecycleModes"),
        ):
            check_immutable(errors, new["spec"].get(key), old["spec"].get(key), path)
        return errors


def _validate_token_requests(errors: Errors, requests: Sequence[Mapping[str, Any]]) -> None:
    audiences: set[str] = set()
    for index, request in enumerate(requests):
        path, audience = f"spec.tokenRequests[{index}]", request.get("audience", "")
        if audience in audiences:
            errors.append(duplicate(f"{path}.audience", audience))
            continue
        audiences.add(audience)
        seconds, at = request.get("expirationSeconds"), f"{path}.expirationSeconds"
        if seconds is not None and seconds < _SHORTEST_TOKEN_S:
            errors.append(invalid(at, seconds, "may not specify a duration less than 10 minutes"))
        if seconds is not None and seconds > _LONGEST_TOKEN_S:
            errors.append(invalid(at, seconds, "may not specify a duration larger than 2^32 seconds"))


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
            validate_driver_name(errors, driver.get("name", ""), f"{path}.name")
            node_id = driver.get("nodeID", "")
            if not node_id:
                errors.append(required(f"{path}.nodeID"))
            elif len(node_id) > NODE_ID_LIMIT:
                errors.append(invalid(f"{path}.nodeID", node_id, f"must be {NODE_ID_LIMIT} characters or less"))
            count = (driver.get("allocatable") or {}).get("count")
            check_not_negative(errors, count, f"{path}.allocatable.count")
            if driver.get("name") in names:
                errors.append(duplicate(f"{path}.name", driver.get("name")))
            names.append(driver.get("name"))
            keys = driver.get("topologyKeys") or ()
            for position, key in enumerate(keys):
                if not key:
                    errors.append(required(path))
                if key in keys[:position]:
                    errors.append(duplicate(path, key))
                add_each(errors, path, key, qualified_name(key))
        return errors

    def validate_change(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = [*self.validate(new, context)]
        for before in _drivers(old):
            for after in _drivers(new):
                if before.get("name") == after.get("name"):
                    fixed = [{key: driver.get(key) for key in _FIXED_OF_DRIVER} for driver in (before, after)]
                    if fixed[0] != fixed[1]:
                        errors.append(invalid("spec.drivers", internal_form(after, _DRIVER_OF_NODE), IMMUTABLE))
        return errors


def _drivers(obj: Object) -> Sequence[Mapping[str, Any]]:
    drivers: Sequence[Mapping[str, Any]] = (obj.get("spec") or {}).get("drivers") or ()
    return drivers


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

    def validate_create(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = [*super().validate_create(obj, context)]
        spec = obj.get("spec") or {}
        attacher, volume = spec.get("attacher", ""), (spec.get("source") or {}).get("persistentVolumeName")
        validate_driver_name(errors, attacher, "spec.attacher")
        if volume is not None:
            add_each(errors, "spec.source.persistentVolumeName", volume, dns_subdomain(volume))
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
        _cluster_row("csidrivers", "CSIDriver", DriverStrategy(), allow_unconditional_update=False),
        _cluster_row("csinodes", "CSINode", DriversOfNodeStrategy(), allow_unconditional_update=False),
        resource_type(
            _API_VERSION,
            "csistoragecapacities",
            "CSIStorageCapacity",
            strategy=ObjectStrategy(),
            returns_deleted=True,
            allow_unconditional_update=False,
        ),
        _cluster_row("storageclasses", "StorageClass", StorageClassStrategy(), short_names=("sc",)),
        _cluster_row(
            "volumeattachments",
            "VolumeAttachment",
            AttachmentStrategy(),
            has_status=True,
            reset_fields=STATUS,
            allow_unconditional_update=False,
        ),
        _cluster_row("volumeattributesclasses", "VolumeAttributesClass", ClusterStrategy(), short_names=("vac",)),
    ]


def _cluster_row(resource: str, kind: str, strategy: ClusterStrategy, **options: Any) -> ResourceType:
    return resource_type(
        _API_VERSION, resource, kind, namespaced=False, strategy=strategy, returns_deleted=True, **options
    )

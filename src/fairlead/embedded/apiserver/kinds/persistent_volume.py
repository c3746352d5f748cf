"""PersistentVolume: one source, a capacity, and a source that is fixed once created."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.invalid import FieldError, forbidden, invalid, not_supported, required
from fairlead.embedded.apiserver.kinds.errors import Errors, add_each, check_immutable
from fairlead.embedded.apiserver.kinds.names import dns_label, dns_subdomain
from fairlead.embedded.apiserver.kinds.persistent_volume_claim import VOLUME_MODES, validate_access_modes
from fairlead.embedded.apiserver.kinds.pod_paths import validate_no_backsteps
from fairlead.embedded.apiserver.kinds.resources import positive_messages
from fairlead.embedded.apiserver.kinds.selectors import validate_node_selector
from fairlead.embedded.apiserver.kinds.spec_change import describe_change
from fairlead.embedded.apiserver.kinds.strategy import StatusStrategy
from fairlead.embedded.apiserver.kinds.volume_sources import (
    SHARED_SOURCES,
    validate_driver_name,
    validate_shared_source,
)
from fairlead.embedded.apiserver.registry import Object, RequestContext
from fairlead.kube.quantity import parse_quantity

_RECLAIM_POLICIES = ("Delete", "Recycle", "Retain")
_SECRET_REFERENCES = (
    "controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef",
)  # fmt: skip
_SOURCES = (
    "hostPath", "gcePersistentDisk", "awsElasticBlockStore", "glusterfs", "flocker", "nfs", "rbd", "quobyte", "cephfs",
    "iscsi", "cinder", "fc", "flexVolume", "azureFile", "vsphereVolume", "photonPersistentDisk", "portworxVolume",
    "azureDisk", "scaleIO", "local", "storageos", "csi",
)  # fmt: skip
_CHANGED_AT = "lastPhaseTransitionTime"
_REFUSED_AS = {"cephfs": "cephFS"}


class PersistentVolumeStrategy(StatusStrategy):
    namespaced = False
    metadata_rechecks = 2
    checks_metadata_change = False

    def default(self, obj: Object) -> None:
        spec, status = obj.setdefault("spec", {}), obj.setdefault("status", {})
        if not status.get("phase"):
            status["phase"] = "Pending"
        if not spec.get("persistentVolumeReclaimPolicy"):
            spec["persistentVolumeReclaimPolicy"] = "Retain"
        if spec.get("volumeMode") is None:
            spec["volumeMode"] = "Filesystem"
        if spec.get("hostPath") is not None:
            spec["hostPath"].setdefault("type", "")
        if spec.get("claimRef") is not None:
            spec["claimRef"].setdefault("kind", "PersistentVolumeClaim")
            spec["claimRef"].setdefault("apiVersion", "v1")

    def admit(self, obj: Object, old: Object | None, context: RequestContext) -> None:
        if old is None:
            finalizers = obj["metadata"].setdefault("finalizers", [])
            if "kubernetes.io/pv-protection" not in finalizers:
                finalizers.append("kubernetes.io/pv-protection")

    def initial_status(self, obj: Object) -> Object | None:
        return {"phase": "Pending"}

    def prepare_create(self, obj: Object, context: RequestContext) -> None:
        obj["status"] = {"phase": "Pending", "lastPhaseTransitionTime": context.now}

    def prepare_status_update(self, new: Object, old: Object, context: RequestContext) -> None:
        super().prepare_status_update(new, old, context)
        status, before = new.setdefault("status", {}), old.get("status") or {}
        given, last = status.get(_CHANGED_AT), before.get(_CHANGED_AT)
        if status.get("phase") == before.get("phase"):
            if given is None and last is not None:
                status[_CHANGED_AT] = last
        elif given is None or given == last:
            status[_CHANGED_AT] = context.now

    def validate(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        spec = obj["spec"]
        modes = spec.get("accessModes") or ()
        if not modes:
            errors.append(required("spec.accessModes"))
        validate_access_modes(errors, modes, "spec.accessModes")
        _validate_capacity(errors, spec.get("capacity"))
        policy = spec.get("persistentVolumeReclaimPolicy")
        if policy and policy not in _RECLAIM_POLICIES:
            errors.append(not_supported("spec.persistentVolumeReclaimPolicy", policy, _RECLAIM_POLICIES))
        affinity = spec.get("nodeAffinity")
        if affinity is not None:
            if affinity.get("required") is None:
                errors.append(required("spec.nodeAffinity.required", "must specify required node constraints"))
            else:
                validate_node_selector(errors, affinity["required"], "spec.nodeAffinity.required")
        _validate_source(errors, spec, obj["metadata"].get("name", ""))
        _validate_rest(errors, spec)
        return errors

    def validate_change(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        own = self.validate(new, context)
        errors: Errors = [*own, *own]
        after, before = _sources(new["spec"]), _sources(old["spec"])
        if after != before:
            detail = f"spec.persistentvolumesource is immutable after creation\n{describe_change(before, after)}"
            errors.append(forbidden("spec.persistentvolumesource", detail))
        check_immutable(errors, new["spec"].get("volumeMode"), old["spec"].get("volumeMode"), "volumeMode")
        affinity = old["spec"].get("nodeAffinity")
        if affinity is not None and new["spec"].get("nodeAffinity") != affinity:
            detail = "field is immutable, except for updating from beta label to GA"
            errors.append(invalid("nodeAffinity", new["spec"].get("nodeAffinity"), detail))
        return errors


def _sources(spec: Mapping[str, Any]) -> Object:
    return {kind: spec[kind] for kind in _SOURCES if spec.get(kind) is not None}


def _validate_capacity(errors: Errors, capacity: Mapping[str, str] | None) -> None:
    if not capacity:
        errors.append(required("spec.capacity"))
    if not capacity or set(capacity) != {"storage"}:
        errors.append(not_supported("spec.capacity", capacity, ("storage",)))
    for name, text in (capacity or {}).items():
        amount = parse_quantity(text).value
        if amount < 0:
            errors.append(invalid(f"spec.capacity[{name}]", amount, "must be a valid resource quantity"))
        add_each(errors, f"spec.capacity[{name}]", text, positive_messages(text))


def _validate_source(errors: Errors, spec: Mapping[str, Any], name: str) -> None:
    found = False
    for kind in _SOURCES:
        source = spec.get(kind)
        if source is None:
            continue
        if found:
            path = f"spec.{_REFUSED_AS.get(kind, kind)}"
            errors.append(forbidden(path, "may not specify more than 1 volume type"))
            continue
        found = True
        if kind == "local":
            _validate_local(errors, spec, source)
        elif kind == "csi":
            _validate_csi(errors, source)
        elif kind in SHARED_SOURCES:
            validate_shared_source(errors, kind, source, "spec", volume_name=name)
    if not found:
        errors.append(required("spec", "must specify a volume type"))


def _validate_local(errors: Errors, spec: Mapping[str, Any], source: Mapping[str, Any]) -> None:
    target = source.get("path", "")
    if not target:
        errors.append(required("spec.local.path"))
    else:
        validate_no_backsteps(errors, target, "spec.local.path")
    if spec.get("nodeAffinity") is None:
        errors.append(required("spec.nodeAffinity", "Local volume requires node affinity"))


def _validate_csi(errors: Errors, source: Mapping[str, Any]) -> None:
    validate_driver_name(errors, source.get("driver", ""), "spec.csi.driver")
    if not source.get("volumeHandle"):
        errors.append(required("spec.csi.volumeHandle"))
    for key in _SECRET_REFERENCES:
        reference = source.get(key)
        if reference is None:
            continue
        for part, rule in (("name", dns_subdomain), ("namespace", dns_label)):
            value = reference.get(part, "")
            if not value:
                errors.append(required(f"spec.csi.{key}.{part}"))
            else:
                add_each(errors, f"spec.csi.{key}.{part}", value, rule(value))


def _validate_rest(errors: Errors, spec: Mapping[str, Any]) -> None:
    host_path = spec.get("hostPath")
    is_root = host_path is not None and not posixpath.normpath(host_path.get("path") or ".").lstrip("/")
    if is_root and spec.get("persistentVolumeReclaimPolicy") == "Recycle":
        detail = "may not be 'recycle' for a hostPath mount of '/'"
        errors.append(forbidden("spec.persistentVolumeReclaimPolicy", detail))
    name = spec.get("storageClassName")
    if name:
        add_each(errors, "spec.storageClassName", name, dns_subdomain(name))
    mode = spec.get("volumeMode")
    if mode is not None and mode not in VOLUME_MODES:
        errors.append(not_supported("spec.volumeMode", mode, VOLUME_MODES))
    attributes = spec.get("volumeAttributesClassName")
    if attributes is not None:
        if not attributes:
            errors.append(required("spec.volumeAttributesClassName", "an empty string is disallowed"))
        else:
            add_each(errors, "spec.volumeAttributesClassName", attributes, dns_subdomain(attributes))
        if spec.get("csi") is None:
            errors.append(required("spec.csi", "has to be specified when using volumeAttributesClassName"))

"""PersistentVolumeClaim: access modes, storage requests, and a spec that is fixed once created."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.invalid import FieldError, forbidden, invalid, not_supported, required
from fairlead.embedded.apiserver.kinds.errors import Errors, add_each, check_immutable
from fairlead.embedded.apiserver.kinds.metadata import validate_annotations, validate_labels
from fairlead.embedded.apiserver.kinds.names import dns_label, dns_subdomain
from fairlead.embedded.apiserver.kinds.resources import positive_messages
from fairlead.embedded.apiserver.kinds.selectors import validate_label_selector
from fairlead.embedded.apiserver.kinds.spec_change import describe_change
from fairlead.embedded.apiserver.kinds.strategy import StatusStrategy
from fairlead.embedded.apiserver.registry import Object, RequestContext
from fairlead.kube.quantity import Quantity, parse_quantity

ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
VOLUME_MODES = ("Block", "Filesystem")
_PROTECTION = "kubernetes.io/pvc-protection"
_CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"
_IMMUTABLE_SPEC = (
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
)


def validate_access_modes(errors: Errors, modes: Sequence[str], path: str) -> None:
    """Known modes, and ReadWriteOncePod only by itself."""
    for mode in modes:
        if mode not in ACCESS_MODES:
            errors.append(not_supported(path, mode, ACCESS_MODES))
    others = any(mode in ACCESS_MODES and mode != "ReadWriteOncePod" for mode in modes)
    if others and "ReadWriteOncePod" in modes:
        errors.append(forbidden(path, "may not use ReadWriteOncePod with other access modes"))


def validate_claim_spec(errors: Errors, spec: Mapping[str, Any], path: str) -> None:
    """A PersistentVolumeClaimSpec, of a claim or inside a template."""
    modes = spec.get("accessModes") or ()
    if not modes:
        errors.append(required(f"{path}.accessModes", "at least 1 access mode is required"))
    validate_label_selector(errors, spec.get("selector"), f"{path}.selector")
    validate_access_modes(errors, modes, f"{path}.accessModes")
    storage = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    at = f"{path}.resources[storage]"
    if storage is None:
        errors.append(required(at))
    else:
        add_each(errors, at, storage, positive_messages(storage))
    for key in ("storageClassName", "volumeAttributesClassName"):
        if spec.get(key):
            add_each(errors, f"{path}.{key}", spec[key], dns_subdomain(spec[key]))
    mode = spec.get("volumeMode")
    if mode is not None and mode not in VOLUME_MODES:
        errors.append(not_supported(f"{path}.volumeMode", mode, VOLUME_MODES))
    _validate_sources(errors, spec, path)


def _validate_sources(errors: Errors, spec: Mapping[str, Any], path: str) -> None:
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    for key, value in (("dataSource", source), ("dataSourceRef", reference)):
        if value is not None:
            _validate_source(errors, value, f"{path}.{key}")
    if source is None or reference is None:
        return
    if reference.get("namespace"):
        detail = "may not be specified when dataSourceRef.namespace is specified"
        errors.append(invalid(path, f"{path}.dataSource", detail))
    elif any(source.get(key) != reference.get(key) for key in ("apiGroup", "kind", "name")):
        errors.append(invalid(path, f"{path}.dataSource", "must match dataSourceRef"))


def _validate_source(errors: Errors, source: Mapping[str, Any], path: str) -> None:
    for key in ("name", "kind"):
        if not source.get(key):
            errors.append(required(f"{path}.{key}"))
    group, kind = source.get("apiGroup") or "", source.get("kind", "")
    if not group and kind != "PersistentVolumeClaim":
        detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
        errors.append(invalid(path, kind, detail))
    if group:
        add_each(errors, f"{path}.apiGroup", group, dns_subdomain(group))
    if source.get("namespace"):
        add_each(errors, f"{path}.namespace", source["namespace"], dns_label(source["namespace"]))


def validate_claim_template(errors: Errors, template: Mapping[str, Any], path: str) -> None:
    """The template of a generic ephemeral volume's claim: only labels and annotations in its metadata."""
    metadata = template.get("metadata") or {}
    errors += validate_labels(metadata.get("labels"), f"{path}.metadata.labels")
    errors += validate_annotations(metadata.get("annotations"), f"{path}.metadata.annotations")
    for key in sorted(set(metadata) - {"labels", "annotations"}):
        errors.append(forbidden(f"{path}.metadata.{key}", "cannot be set for an ephemeral volume"))
    validate_claim_spec(errors, template.get("spec") or {}, f"{path}.spec")


def default_claim_spec(spec: Object) -> None:
    spec.setdefault("volumeMode", "Filesystem")
    spec.setdefault("resources", {})
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    if source is not None and reference is None:
        spec["dataSourceRef"] = dict(source)
    elif reference is not None and source is None and not reference.get("namespace"):
        spec["dataSource"] = {key: value for key, value in reference.items() if key != "namespace"}


class PersistentVolumeClaimStrategy(StatusStrategy):
    """Claims start Pending and carry the protection finalizer; only a bound claim may grow."""

    metadata_rechecks = 2

    def default(self, obj: Object) -> None:
        default_claim_spec(obj.setdefault("spec", {}))
        status = obj.setdefault("status", {})
        if not status.get("phase"):
            status["phase"] = "Pending"

    def admit(self, obj: Object, old: Object | None, context: RequestContext) -> None:
        if old is None:
            finalizers = obj["metadata"].setdefault("finalizers", [])
            if _PROTECTION not in finalizers:
                finalizers.append(_PROTECTION)

    def initial_status(self, obj: Object) -> Object | None:
        return {"phase": "Pending"}

    def validate(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        validate_claim_spec(errors, obj.get("spec") or {}, "spec")
        return errors

    def validate_change(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        own = self.validate(new, context)
        errors = [*own, *own]
        after, before = dict(new["spec"]), dict(old["spec"])
        if not before.get("volumeName"):
            before["volumeName"] = after.get("volumeName")
        name, annotation = after.get("storageClassName"), _storage_class(old)
        if before.get("storageClassName") is None and name is not None and annotation in (None, name):
            before["storageClassName"] = name
        if (new.get("status") or {}).get("phase") == "Bound":
            _allow_resize(after, before)
        if {k: v for k, v in after.items() if v is not None} != {k: v for k, v in before.items() if v is not None}:
            errors.append(forbidden("spec", f"{_IMMUTABLE_SPEC}\n{describe_change(before, after)}"))
        _validate_shrinking(errors, new, old)
        check_immutable(errors, after.get("volumeMode"), before.get("volumeMode"), "volumeMode")
        return errors

    def validate_status(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        if not new["spec"].get("accessModes"):
            errors.append(required("Spec.accessModes"))
        for name, text in ((new.get("status") or {}).get("capacity") or {}).items():
            amount = parse_quantity(text).value
            if amount < 0:
                errors.append(invalid(f"status.capacity[{name}]", amount, "must be a valid resource quantity"))
        return errors


def _storage_class(claim: Object) -> str | None:
    annotations: Mapping[str, str] = claim["metadata"].get("annotations") or {}
    return annotations.get(_CLASS_ANNOTATION)


def _allow_resize(after: Object, before: Object) -> None:
    requests = (before.get("resources") or {}).get("requests") or {}
    after["resources"] = dict(after.get("resources") or {})
    if after["resources"].get("requests") is not None:
        after["resources"]["requests"] = {**after["resources"]["requests"], "storage": requests.get("storage")}
    if after.get("volumeAttributesClassName") is not None:
        before["volumeAttributesClassName"] = after["volumeAttributesClassName"]


def _validate_shrinking(errors: Errors, new: Object, old: Object) -> None:
    def storage(claim: Object) -> Quantity:
        return parse_quantity((claim["spec"].get("resources") or {}).get("requests", {}).get("storage", "0"))

    capacity = parse_quantity(((old.get("status") or {}).get("capacity") or {}).get("storage", "0"))
    if storage(new) < storage(old) and storage(new) <= capacity:
        path = "spec.resources.requests.storage"
        errors.append(forbidden(path, "field can not be less than status.capacity"))

"""ResourceClaim and ResourceClaimTemplate: a spec for good, and a status that scheduler and drivers write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.invalid import FieldError, invalid
from fairlead.embedded.apiserver.kinds import dra_layouts
from fairlead.embedded.apiserver.kinds.dra_claim_status import check_status, default_results, drop_deallocated_devices
from fairlead.embedded.apiserver.kinds.dra_requests import check_admin_requests, check_devices, default_devices
from fairlead.embedded.apiserver.kinds.errors import IMMUTABLE, Errors
from fairlead.embedded.apiserver.kinds.metadata import validate_annotations, validate_labels
from fairlead.embedded.apiserver.kinds.strategy import ObjectStrategy, StatusStrategy
from fairlead.embedded.apiserver.registry import Object, RequestContext

_METADATA_KEPT_BY_STATUS = (
    "labels",
    "annotations",
    "finalizers",
    "ownerReferences",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)


class ClaimStrategy(StatusStrategy):
    """ResourceClaim."""

    metadata_rechecks = 1
    rechecks_metadata_first = True

    def default(self, obj: Object) -> None:
        default_devices((obj.get("spec") or {}).get("devices") or {})
        default_results(obj.get("status") or {})

    def prepare_create(self, obj: Object, context: RequestContext) -> None:
        super().prepare_create(obj, context)
        devices = obj.setdefault("spec", {}).setdefault("devices", {})
        devices["requests"] = devices.get("requests") or None

    def validate_create(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        devices = (obj.get("spec") or {}).get("devices") or {}
        errors: Errors = [*check_admin_requests(devices, context), *super().validate_create(obj, context)]
        check_devices(errors, devices, "spec.devices")
        return errors

    def validate_change(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        if new.get("spec") == old.get("spec"):
            return ()
        return (invalid("spec", dra_layouts.claim_spec(new.get("spec")), IMMUTABLE),)

    def admit(self, obj: Object, old: Object | None, context: RequestContext) -> None:
        # After ownership is recorded: who wrote a device's status goes on owning it.
        if old is not None:
            drop_deallocated_devices(obj, old)

    def prepare_status_update(self, new: Object, old: Object, context: RequestContext) -> None:
        super().prepare_status_update(new, old, context)
        keep_metadata(new, old)

    def validate_status(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        check_status(errors, new, old, context)
        return errors


class ClaimTemplateStrategy(ObjectStrategy):
    """ResourceClaimTemplate."""

    metadata_rechecks = 1
    rechecks_metadata_first = True

    def default(self, obj: Object) -> None:
        default_devices(((obj.get("spec") or {}).get("spec") or {}).get("devices") or {})

    def validate_create(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        spec = obj.get("spec") or {}
        metadata, devices = spec.get("metadata") or {}, (spec.get("spec") or {}).get("devices") or {}
        errors: Errors = [*check_admin_requests(devices, context), *super().validate_create(obj, context)]
        errors += _check_template(metadata, devices)
        return errors

    def validate_change(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        spec = new.get("spec") or {}
        # A template's spec is looked at again on every update, a claim's is not.
        errors = _check_template(spec.get("metadata") or {}, (spec.get("spec") or {}).get("devices") or {})
        if new.get("spec") != old.get("spec"):
            errors.append(invalid("spec", dra_layouts.template_spec(new.get("spec")), IMMUTABLE))
        return errors


def _check_template(metadata: Mapping[str, Any], devices: Mapping[str, Any]) -> Errors:
    errors: Errors = [*validate_labels(metadata.get("labels"), "spec.metadata.labels")]
    errors += validate_annotations(metadata.get("annotations"), "spec.metadata.annotations")
    check_devices(errors, devices, "spec.spec.devices")
    return errors


def keep_metadata(new: Object, old: Object) -> None:
    """Undo in place what a status update changed in the metadata."""
    metadata, before = new["metadata"], old["metadata"]
    for key in _METADATA_KEPT_BY_STATUS:
        if key in before:
            metadata[key] = before[key]
        else:
            metadata.pop(key, None)

"""StatefulSet: pods with names and volumes of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.invalid import FieldError, forbidden, invalid, not_supported, required
from fairlead.embedded.apiserver.kinds.errors import Errors, add_each, check_not_negative
from fairlead.embedded.apiserver.kinds.names import dns_label
from fairlead.embedded.apiserver.kinds.persistent_volume_claim import default_claim_spec, validate_claim_spec
from fairlead.embedded.apiserver.kinds.pod_spec import validate_pod_template
from fairlead.embedded.apiserver.kinds.workload import (
    WorkloadStrategy,
    int_or_percent,
    validate_always_running,
    validate_at_most,
    validate_at_most_all,
    validate_collision_count,
    validate_counts,
    validate_int_or_percent,
    validate_selector,
    validate_template_labels,
)
from fairlead.embedded.apiserver.registry import Object, RequestContext

_CHANGEABLE = (
    "replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy", "minReadySeconds",
)  # fmt: skip
_REFUSAL = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)
_COUNTED = ("readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas")
_RETENTION = ("Retain", "Delete")


class StatefulSetStrategy(WorkloadStrategy):
    name_rule = staticmethod(dns_label)

    def default_spec(self, spec: Object) -> None:
        if not spec.get("podManagementPolicy"):
            spec["podManagementPolicy"] = "OrderedReady"
        strategy = spec.setdefault("updateStrategy", {})
        if not strategy.get("type"):
            strategy["type"] = "RollingUpdate"
            strategy.setdefault("rollingUpdate", {})
        if strategy["type"] == "RollingUpdate" and strategy.get("rollingUpdate") is not None:
            strategy["rollingUpdate"].setdefault("partition", 0)
        retention = spec.setdefault("persistentVolumeClaimRetentionPolicy", {})
        for key in ("whenDeleted", "whenScaled"):
            if not retention.get(key):
                retention[key] = "Retain"
        if spec.get("replicas") is None:
            spec["replicas"] = 1
        if spec.get("revisionHistoryLimit") is None:
            spec["revisionHistoryLimit"] = 10
        for claim in spec.get("volumeClaimTemplates") or ():
            claim.setdefault("kind", "PersistentVolumeClaim")
            claim.setdefault("apiVersion", "v1")
            claim.setdefault("metadata", {})
            default_claim_spec(claim.setdefault("spec", {}))
            claim["status"] = {"phase": "Pending", **(claim.get("status") or {})}

    def initial_status(self, obj: Object) -> Object | None:
        return {"replicas": 0, "availableReplicas": 0}

    def validate_spec(self, errors: Errors, spec: Object) -> None:
        policy = spec.get("podManagementPolicy", "")
        if policy not in ("OrderedReady", "Parallel"):
            errors.append(invalid("spec.podManagementPolicy", policy, "must be 'OrderedReady' or 'Parallel'"))
        _validate_strategy(errors, spec.get("updateStrategy") or {})
        retention = spec.get("persistentVolumeClaimRetentionPolicy") or {}
        for key in ("whenDeleted", "whenScaled"):
            if retention.get(key) not in _RETENTION:
                path = f"spec.persistentVolumeClaimRetentionPolicy.{key}"
                errors.append(not_supported(path, retention.get(key, ""), _RETENTION))
        for key in ("replicas", "minReadySeconds", "revisionHistoryLimit"):
            check_not_negative(errors, spec.get(key), f"spec.{key}")
        check_not_negative(errors, (spec.get("ordinals") or {}).get("start"), "spec.ordinals.start")
        if spec.get("serviceName"):
            add_each(errors, "spec.serviceName", spec["serviceName"], dns_label(spec["serviceName"]))
        validate_selector(errors, spec.get("selector"), "statefulset")
        validate_template_labels(errors, spec)
        validate_always_running(errors, spec, "StatefulSet")

    def validate_create(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = list(super().validate_create(obj, context))
        for index, claim in enumerate(obj["spec"].get("volumeClaimTemplates") or ()):
            validate_claim_spec(errors, claim.get("spec") or {}, f"spec.volumeClaimTemplates[{index}].spec")
        _validate_template(errors, obj["spec"])
        return errors

    def validate_change(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = list(self.validate(new, context))
        after, before = new["spec"], old["spec"]
        if after.get("template") != before.get("template"):
            _validate_template(errors, after)
        changed = (key for key in after.keys() | before.keys() if after.get(key) != before.get(key))
        if any(key not in _CHANGEABLE for key in changed):
            errors.append(forbidden("spec", _REFUSAL))
        return errors

    def validate_status(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        status = new.get("status") or {}
        validate_counts(errors, status, ("replicas", *_COUNTED, "observedGeneration", "collisionCount"))
        validate_at_most(errors, status, _COUNTED, "replicas", "status.replicas")
        validate_at_most(errors, status, ("availableReplicas",), "readyReplicas", "status.readyReplicas")
        validate_collision_count(errors, new, old)
        return errors


def _validate_template(errors: Errors, spec: Mapping[str, Any]) -> None:
    """The pod template, with the volumes that its pods get from the claim templates."""
    template = spec.get("template") or {}
    pod_spec = template.get("spec") or {}
    names = [(claim.get("metadata") or {}).get("name", "") for claim in spec.get("volumeClaimTemplates") or ()]
    own = [volume for volume in pod_spec.get("volumes") or () if volume.get("name") not in names]
    claimed = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in names]
    volumes = {"volumes": [*own, *claimed]} if own or claimed else {}
    validate_pod_template(errors, {**template, "spec": {**pod_spec, **volumes}}, "spec.template")


def _validate_strategy(errors: Errors, strategy: Mapping[str, Any]) -> None:
    path, kind, rolling = "spec.updateStrategy", strategy.get("type", ""), strategy.get("rollingUpdate")
    if not kind:
        errors.append(required(path))
    elif kind == "OnDelete":
        if rolling is not None:
            detail = "only allowed for updateStrategy 'RollingUpdate'"
            errors.append(invalid(f"{path}.rollingUpdate", _shown_rolling(rolling), detail))
    elif kind != "RollingUpdate":
        shown = {"Type": kind, "RollingUpdate": rolling and _shown_rolling(rolling)}
        errors.append(invalid(path, shown, "must be 'RollingUpdate' or 'OnDelete'"))
    elif rolling is not None:
        check_not_negative(errors, rolling.get("partition"), f"{path}.rollingUpdate.partition")
        unavailable, at = rolling.get("maxUnavailable"), f"{path}.rollingUpdate.maxUnavailable"
        if unavailable is not None:
            validate_int_or_percent(errors, unavailable, at)
            if int_or_percent(unavailable) == 0:
                errors.append(invalid(at, unavailable, "cannot be 0"))
            validate_at_most_all(errors, unavailable, at)


def _shown_rolling(rolling: Mapping[str, Any]) -> dict[str, Any]:
    return {"Partition": rolling.get("partition", 0), "MaxUnavailable": rolling.get("maxUnavailable")}

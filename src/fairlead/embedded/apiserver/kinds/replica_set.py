"""ReplicaSet, and the older ReplicationController with its equality selector."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.embedded.apiserver.invalid import FieldError, invalid, required
from fairlead.embedded.apiserver.kinds.errors import Errors, check_not_negative
from fairlead.embedded.apiserver.kinds.pod_spec import validate_pod_template
from fairlead.embedded.apiserver.kinds.workload import (
    MISMATCH,
    WorkloadStrategy,
    check_selector_immutable,
    validate_always_running,
    validate_always_template,
    validate_at_most,
    validate_counts,
    validate_selector,
)
from fairlead.embedded.apiserver.registry import Object, RequestContext

_COUNTED = ("fullyLabeledReplicas", "readyReplicas", "availableReplicas")


class ReplicaSetStrategy(WorkloadStrategy):
    def default_spec(self, spec: Object) -> None:
        if spec.get("replicas") is None:
            spec["replicas"] = 1

    def initial_status(self, obj: Object) -> Object | None:
        return {"replicas": 0}

    def validate_spec(self, errors: Errors, spec: Object) -> None:
        check_not_negative(errors, spec.get("replicas"), "spec.replicas")
        check_not_negative(errors, spec.get("minReadySeconds"), "spec.minReadySeconds")
        # The API calls it a deployment here as well.
        validate_selector(errors, spec.get("selector"), "deployment")
        validate_always_template(errors, spec, "ReplicaSet")

    def validate_change(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = list(self.validate(new, context))
        check_selector_immutable(errors, new, old)
        return errors

    def validate_status(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        status = new.get("status") or {}
        validate_counts(errors, status, ("replicas", *_COUNTED, "terminatingReplicas", "observedGeneration"))
        validate_at_most(errors, status, _COUNTED, "replicas", "status.replicas")
        validate_at_most(errors, status, ("availableReplicas",), "readyReplicas", "readyReplicas")
        return errors


class ReplicationControllerStrategy(ReplicaSetStrategy):
    orphans_by_default = True

    def default(self, obj: Object) -> None:
        super().default(obj)
        if not obj["spec"].get("minReadySeconds"):
            obj["spec"].pop("minReadySeconds", None)
        labels = obj["spec"]["template"]["metadata"].get("labels")
        if labels:
            if not obj["spec"].get("selector"):
                obj["spec"]["selector"] = dict(labels)
            metadata = obj.setdefault("metadata", {})
            if not metadata.get("labels"):
                metadata["labels"] = dict(labels)

    def validate_spec(self, errors: Errors, spec: Object) -> None:
        selector = spec.get("selector")
        if not selector:
            errors.append(required("spec.selector"))
        labels = spec["template"]["metadata"].get("labels") or {}
        if any(labels.get(key) != value for key, value in (selector or {}).items()):
            shown = dict(sorted(labels.items())) or None
            errors.append(invalid("spec.template.metadata.labels", shown, MISMATCH))
        validate_pod_template(errors, spec.get("template"), "spec.template")
        validate_always_running(errors, spec, "ReplicationController")

    def validate(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        return [*super().validate(obj, context), *_validate_ranges(obj["spec"])]

    def validate_change(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        # The API checks the spec as that of a new object, and as that of a changed one, but the ranges once.
        errors = super().validate(new, context)
        return [*errors, *errors, *_validate_ranges(new["spec"])]


def _validate_ranges(spec: Object) -> Errors:
    errors: Errors = []
    check_not_negative(errors, spec.get("replicas"), "spec.replicas")
    check_not_negative(errors, spec.get("minReadySeconds"), "spec.minReadySeconds")
    return errors

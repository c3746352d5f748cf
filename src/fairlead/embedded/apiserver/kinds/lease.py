"""Lease: who holds it and for how long."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.embedded.apiserver.invalid import FieldError, invalid
from fairlead.embedded.apiserver.kinds.errors import Errors, check_not_negative
from fairlead.embedded.apiserver.kinds.strategy import ObjectStrategy
from fairlead.embedded.apiserver.registry import Object, RequestContext


class LeaseStrategy(ObjectStrategy):
    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        # Fields of coordinated leader election, which is off.
        spec.pop("strategy", None)
        spec.pop("preferredHolder", None)

    def validate(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        spec = obj.get("spec") or {}
        duration_s = spec.get("leaseDurationSeconds")
        if duration_s is not None and duration_s <= 0:
            errors.append(invalid("spec.leaseDurationSeconds", duration_s, "must be greater than 0"))
        check_not_negative(errors, spec.get("leaseTransitions"), "spec.leaseTransitions")
        return errors

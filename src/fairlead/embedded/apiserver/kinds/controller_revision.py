"""ControllerRevision: a snapshot of a workload's template."""

from __future__ import annotations

from collections.abc import Sequence

from fairlead.embedded.apiserver.invalid import FieldError, required
from fairlead.embedded.apiserver.kinds.errors import Errors, check_not_negative
from fairlead.embedded.apiserver.kinds.metadata import validate_immutable
from fairlead.embedded.apiserver.kinds.strategy import ObjectStrategy
from fairlead.embedded.apiserver.registry import Object, RequestContext


class ControllerRevisionStrategy(ObjectStrategy):
    metadata_rechecks = 1

    def validate(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        if obj.get("data") is None:
            errors.append(required("data", "data is mandatory"))
        check_not_negative(errors, obj.get("revision"), "revision")
        return errors

    def validate_change(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        return [*self.validate(new, context), *validate_immutable(new.get("data"), old.get("data"), "data")]

"""DeviceTaintRule: a taint that an administrator puts on devices, whatever their driver says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.invalid import FieldError
from fairlead.embedded.apiserver.kinds.conditions import validate_conditions
from fairlead.embedded.apiserver.kinds.dra_claims import keep_metadata
from fairlead.embedded.apiserver.kinds.dra_rules import check_driver, check_label, check_pool_name, check_taint
from fairlead.embedded.apiserver.kinds.errors import Errors
from fairlead.embedded.apiserver.kinds.strategy import StatusStrategy
from fairlead.embedded.apiserver.registry import Object, RequestContext


class DeviceTaintRuleStrategy(StatusStrategy):
    """DeviceTaintRule."""

    namespaced = False

    def default_times(self, obj: Object, context: RequestContext) -> None:
        taint = obj.setdefault("spec", {}).setdefault("taint", {})
        taint["timeAdded"] = taint.get("timeAdded") or context.now

    def prepare_update(self, new: Object, old: Object, context: RequestContext) -> None:
        super().prepare_update(new, old, context)
        taint, before = (obj.setdefault("spec", {}).setdefault("taint", {}) for obj in (new, old))
        same_time = taint.get("timeAdded") == before.get("timeAdded")
        if same_time and taint.get("effect") != before.get("effect"):
            taint["timeAdded"] = context.now

    def prepare_status_update(self, new: Object, old: Object, context: RequestContext) -> None:
        super().prepare_status_update(new, old, context)
        keep_metadata(new, old)

    def validate(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        return _check_spec(obj.get("spec") or {}, None)

    def validate_change(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        return _check_spec(new.get("spec") or {}, old.get("spec") or {})

    def validate_status(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        conditions = (new.get("status") or {}).get("conditions")
        validate_conditions(errors, conditions, "status.conditions")
        return errors


def _check_spec(spec: Mapping[str, Any], old: Mapping[str, Any] | None) -> Sequence[FieldError]:
    errors: Errors = []
    selector = spec.get("deviceSelector") or {}
    checks = (("driver", check_driver), ("pool", check_pool_name), ("device", check_label))
    for key, check in checks:
        if selector.get(key) is not None:
            check(errors, selector[key], f"spec.deviceSelector.{key}")
    check_taint(errors, spec.get("taint") or {}, "spec.taint", old=None if old is None else old.get("taint") or {})
    return errors

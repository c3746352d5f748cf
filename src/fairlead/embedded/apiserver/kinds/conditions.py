"""Validation of `meta/v1` conditions, as the API checks them in statuses that are written by many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.invalid import duplicate, invalid, not_supported, required, too_long, too_many
from fairlead.embedded.apiserver.kinds.errors import Errors, add_each
from fairlead.embedded.apiserver.kinds.names import condition_reason, qualified_name

REASON_LIMIT = 1024
MESSAGE_LIMIT = 32 * 1024
_STATUSES = ("False", "True", "Unknown")


def validate_conditions(
    errors: Errors, conditions: Sequence[Mapping[str, Any]] | None, path: str, *, limit: int | None = None
) -> None:
    """Conditions with distinct types, at most `limit` of them."""
    conditions = conditions or ()
    if limit is not None and len(conditions) > limit:
        errors.append(too_many(path, len(conditions), limit))
    seen: set[str] = set()
    for index, condition in enumerate(conditions):
        at = f"{path}[{index}]"
        type_ = condition.get("type", "")
        if type_ in seen:
            errors.append(duplicate(f"{at}.type", type_))
        seen.add(type_)
        _validate_condition(errors, condition, at)


def _validate_condition(errors: Errors, condition: Mapping[str, Any], path: str) -> None:
    type_, reason, message = (condition.get(key) or "" for key in ("type", "reason", "message"))
    add_each(errors, f"{path}.type", type_, qualified_name(type_))
    status = condition.get("status", "")
    if status not in _STATUSES:
        errors.append(not_supported(f"{path}.status", status, _STATUSES))
    generation = condition.get("observedGeneration") or 0
    if generation < 0:
        detail = "must be greater than or equal to zero"
        errors.append(invalid(f"{path}.observedGeneration", generation, detail))
    if not condition.get("lastTransitionTime"):
        errors.append(required(f"{path}.lastTransitionTime"))
    if not reason:
        errors.append(required(f"{path}.reason"))
    else:
        add_each(errors, f"{path}.reason", reason, condition_reason(reason))
        if len(reason) > REASON_LIMIT:
            errors.append(too_long(f"{path}.reason", REASON_LIMIT))
    if len(message) > MESSAGE_LIMIT:
        errors.append(too_long(f"{path}.message", MESSAGE_LIMIT))

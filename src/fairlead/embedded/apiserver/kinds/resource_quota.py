"""ResourceQuota: what a namespace may use, and to which pods that applies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.invalid import FieldError, invalid, required
from fairlead.embedded.apiserver.kinds.errors import IMMUTABLE, Errors, add_each
from fairlead.embedded.apiserver.kinds.pod_defaults import default_amounts
from fairlead.embedded.apiserver.kinds.resources import is_quota_resource, quantity_messages, quota_resource_name
from fairlead.embedded.apiserver.kinds.strategy import StatusStrategy
from fairlead.embedded.apiserver.registry import Object, RequestContext

_SCOPES = (
    "Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "PriorityClass", "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
)  # fmt: skip
_EXISTS_ONLY = ("Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "CrossNamespacePodAffinity")
_OPPOSITES = (("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating"))
_COMPUTE = frozenset(
    ("cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory", "ephemeral-storage", "pods")
    + ("requests.ephemeral-storage", "limits.ephemeral-storage")
)


class ResourceQuotaStrategy(StatusStrategy):
    def default(self, obj: Object) -> None:
        default_amounts(obj.setdefault("spec", {}).get("hard"))
        for key in ("hard", "used"):
            default_amounts((obj.get("status") or {}).get(key))

    def validate(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        spec = obj["spec"]
        _validate_amounts(errors, spec.get("hard"), "spec.hard")
        _validate_scopes(errors, spec)
        for requirement in (spec.get("scopeSelector") or {}).get("matchExpressions") or ():
            _validate_requirement(errors, spec, requirement, "spec.scopeSelector.matchExpressions")
        return errors

    def validate_change(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = list(self.validate(new, context))
        scopes = new["spec"].get("scopes") or []
        if set(scopes) != set(old["spec"].get("scopes") or ()):
            errors.append(invalid("spec.scopes", scopes, IMMUTABLE))
        return errors

    def validate_status(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        for key in ("hard", "used"):
            _validate_amounts(errors, (new.get("status") or {}).get(key), f"status.{key}")
        return errors


def _validate_amounts(errors: Errors, amounts: Mapping[str, str] | None, path: str) -> None:
    for name, text in (amounts or {}).items():
        add_each(errors, f"{path}[{name}]", name, quota_resource_name(name))
        add_each(errors, f"{path}[{name}]", text, quantity_messages(name, text))


def _suits(scope: str, name: str) -> bool:
    if scope == "BestEffort":
        return name == "pods"
    if scope == "VolumeAttributesClass":
        return name in ("persistentvolumeclaims", "requests.storage")
    return name in _COMPUTE


def _validate_scopes(errors: Errors, spec: Mapping[str, Any]) -> None:
    path, scopes = "spec.scopes", spec.get("scopes") or []
    for scope in scopes:
        if scope not in _SCOPES:
            errors.append(invalid(path, scopes, "unsupported scope"))
        for name in sorted(spec.get("hard") or ()):
            if is_quota_resource(name) and not _suits(scope, name):
                errors.append(invalid(path, scopes, "unsupported scope applied to resource"))
    for one, other in _OPPOSITES:
        if one in scopes and other in scopes:
            errors.append(invalid(path, scopes, "conflicting scopes"))


def _validate_requirement(errors: Errors, spec: Mapping[str, Any], requirement: Mapping[str, Any], path: str) -> None:
    scope, operator = requirement.get("scopeName", ""), requirement.get("operator", "")
    values = requirement.get("values") or ()
    if scope not in _SCOPES:
        errors.append(invalid(f"{path}.scopeName", scope, "unsupported scope"))
    for name in sorted(spec.get("hard") or ()):
        if is_quota_resource(name) and not _suits(scope, name):
            shown = spec.get("scopeSelector")
            errors.append(invalid(path, shown, "unsupported scope applied to resource"))
    if scope in _EXISTS_ONLY and operator != "Exists":
        detail = (
            "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, "
            "ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or "
            "ResourceQuotaScopeCrossNamespacePodAffinity"
        )
        errors.append(invalid(f"{path}.operator", operator, detail))
    if operator in ("In", "NotIn"):
        if not values:
            detail = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
            errors.append(required(f"{path}.values", detail))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            detail = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
            errors.append(invalid(f"{path}.values", values, detail))
    else:
        errors.append(invalid(f"{path}.operator", operator, "not a valid selector operator"))

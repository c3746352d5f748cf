"""Gangs as the group scheduling.k8s.io describes them: PodGroup, and Workload with templates for PodGroups.

Fields that Kubernetes has behind feature gates (topology, shared claims, disruption, priority) are all served.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairlead.embedded.apiserver.invalid import FieldError, duplicate, invalid, not_supported, required, too_many
from fairlead.embedded.apiserver.kinds.conditions import validate_conditions
from fairlead.embedded.apiserver.kinds.errors import Errors, add_each, check_immutable
from fairlead.embedded.apiserver.kinds.names import Rule, dns_label, dns_subdomain, path_segment, qualified_name
from fairlead.embedded.apiserver.kinds.priority_class import HIGHEST_USER_PRIORITY, SYSTEM_PRIORITIES, default_class
from fairlead.embedded.apiserver.kinds.strategy import ObjectStrategy, StatusStrategy
from fairlead.embedded.apiserver.registry import Object, RequestContext
from fairlead.kube.errors import Forbidden

MAX_CLAIMS = 4
MAX_TEMPLATES = 8

_DISRUPTION_MODES = ("Pod", "PodGroup")
_IMMUTABLE_FIELDS = (
    "podGroupTemplateRef",
    "schedulingPolicy",
    "schedulingConstraints",
    "resourceClaims",
    "disruptionMode",
    "priorityClassName",
    "priority",
)


class PodGroupStrategy(StatusStrategy):
    """PodGroup: pods that are scheduled together. All of its spec is for good."""

    def admit(self, obj: Object, old: Object | None, context: RequestContext) -> None:
        if old is None:
            _admit_priority(obj, context)
            return
        for key in ("priority", "priorityClassName"):
            if obj["spec"].get(key) is None and old["spec"].get(key) is not None:
                obj["spec"][key] = old["spec"][key]

    def validate(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        spec = obj.get("spec") or {}
        reference = spec.get("podGroupTemplateRef")
        if reference is not None:
            _check_template_reference(errors, reference, "spec.podGroupTemplateRef")
        _check_group(errors, spec, "spec")
        return errors

    def validate_change(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        spec, before = new.get("spec") or {}, old.get("spec") or {}
        for key in _IMMUTABLE_FIELDS:
            check_immutable(errors, spec.get(key), before.get(key), f"spec.{key}")
        return errors

    def validate_status(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        status = new.get("status") or {}
        validate_conditions(errors, status.get("conditions"), "status.conditions")
        claims = {claim.get("name") for claim in (new.get("spec") or {}).get("resourceClaims") or ()}
        path = "status.resourceClaimStatuses"
        statuses = status.get("resourceClaimStatuses") or ()
        if len(statuses) > MAX_CLAIMS:
            errors.append(too_many(path, len(statuses), MAX_CLAIMS))
        for index, made in enumerate(_unique(errors, statuses, path)):
            if made.get("name") not in claims:
                detail = "must match the name of an entry in `spec.resourceClaims`"
                errors.append(invalid(f"{path}[{index}].name", made.get("name", ""), detail))
            _check_optional_name(errors, made, "resourceClaimName", f"{path}[{index}]", dns_subdomain)
        return errors


class WorkloadStrategy(ObjectStrategy):
    """Workload: what the pod groups of a job or a deployment look like. All of its spec is for good."""

    def validate(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        spec = obj.get("spec") or {}
        controller = spec.get("controllerRef")
        if controller is not None:
            _check_optional_name(errors, controller, "apiGroup", "spec.controllerRef", dns_subdomain)
            _check_name(errors, controller, "kind", "spec.controllerRef", path_segment)
            _check_name(errors, controller, "name", "spec.controllerRef", path_segment)
        path, templates = "spec.podGroupTemplates", spec.get("podGroupTemplates") or ()
        if not templates:
            errors.append(required(path))
        elif len(templates) > MAX_TEMPLATES:
            errors.append(too_many(path, len(templates), MAX_TEMPLATES))
            return errors
        for index, template in enumerate(_unique(errors, templates, path)):
            _check_name(errors, template, "name", f"{path}[{index}]", dns_label)
            _check_group(errors, template, f"{path}[{index}]")
        return errors

    def validate_change(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        spec, before = new.get("spec") or {}, old.get("spec") or {}
        for key in ("controllerRef", "podGroupTemplates"):
            check_immutable(errors, spec.get(key), before.get(key), f"spec.{key}")
        return errors


def _admit_priority(obj: Object, context: RequestContext) -> None:
    """Turn the priority class into a number, as for pods. Raises Forbidden."""
    spec, name = obj["spec"], obj["metadata"].get("name", "")
    wanted = spec.get("priorityClassName")
    found = context.lookup("scheduling.k8s.io", "priorityclasses", "", wanted) if wanted else default_class(context)
    value = 0
    if found is not None:
        spec["priorityClassName"] = found["metadata"]["name"]
        value = found.get("value", 0)
    elif wanted in SYSTEM_PRIORITIES:
        value = SYSTEM_PRIORITIES[wanted]
    elif wanted:
        raise _refuse(name, f"no PriorityClass with name {wanted} was found")
    given = spec.get("priority")
    if given is not None and given != value:
        raise _refuse(
            name,
            f"the integer value of priority ({given}) must not be provided in pod group spec; "
            f"priority admission controller computed {value} from the given PriorityClass name",
        )
    spec["priority"] = value


def _refuse(name: str, reason: str) -> Forbidden:
    message = f'podgroups.scheduling.k8s.io "{name}" is forbidden: {reason}'
    return Forbidden(message, name=name, kind="podgroups", group="scheduling.k8s.io")


def _check_group(errors: Errors, spec: Object, path: str) -> None:
    """What a PodGroup's spec and a Workload's template have in common."""
    policy = spec.get("schedulingPolicy") or {}
    _check_union(errors, policy, ("basic", "gang"), f"{path}.schedulingPolicy")
    if policy.get("gang") is not None:
        _check_count(errors, policy["gang"].get("minCount") or 0, f"{path}.schedulingPolicy.gang.minCount")
    topology = (spec.get("schedulingConstraints") or {}).get("topology") or ()
    if len(topology) > 1:
        errors.append(too_many(f"{path}.schedulingConstraints.topology", len(topology), 1))
    else:
        for constraint in topology:
            _check_name(errors, constraint, "key", f"{path}.schedulingConstraints.topology[0]", qualified_name)
    _check_claims(errors, spec.get("resourceClaims") or (), f"{path}.resourceClaims")
    mode = spec.get("disruptionMode")
    if mode is not None and mode not in _DISRUPTION_MODES:
        errors.append(not_supported(f"{path}.disruptionMode", mode, _DISRUPTION_MODES))
    _check_optional_name(errors, spec, "priorityClassName", path, dns_subdomain)
    priority = spec.get("priority")
    # Of the classes only the system's lie above.
    is_system = str(spec.get("priorityClassName", "")).startswith("system-")
    if priority is not None and priority > HIGHEST_USER_PRIORITY and not is_system:
        detail = f"must be less than or equal to {HIGHEST_USER_PRIORITY}"
        errors.append(invalid(f"{path}.priority", priority, detail))


def _check_claims(errors: Errors, claims: Sequence[Object], path: str) -> None:
    if len(claims) > MAX_CLAIMS:
        errors.append(too_many(path, len(claims), MAX_CLAIMS))
        return
    for index, claim in enumerate(_unique(errors, claims, path)):
        at = f"{path}[{index}]"
        _check_union(errors, claim, ("resourceClaimName", "resourceClaimTemplateName"), at)
        _check_name(errors, claim, "name", at, dns_label)
        for key in ("resourceClaimName", "resourceClaimTemplateName"):
            _check_optional_name(errors, claim, key, at, dns_subdomain)


def _check_template_reference(errors: Errors, reference: Object, path: str) -> None:
    _check_union(errors, reference, ("workload",), path)
    workload = reference.get("workload")
    if workload is not None:
        _check_name(errors, workload, "workloadName", f"{path}.workload", dns_subdomain)
        _check_name(errors, workload, "podGroupTemplateName", f"{path}.workload", dns_label)


def _check_union(errors: Errors, value: Object, members: Sequence[str], path: str) -> None:
    chosen = [member for member in members if value.get(member) is not None]
    listed = ", ".join(f"`{member}`" for member in members)
    if not chosen:
        errors.append(invalid(path, "", f"must specify one of: {listed}"))
    elif len(chosen) > 1:
        errors.append(invalid(path, "{" + ", ".join(chosen) + "}", f"must specify exactly one of: {listed}"))


def _check_count(errors: Errors, count: int, path: str) -> None:
    if count == 0:
        errors.append(required(path))
    elif count < 0:
        errors.append(invalid(path, count, "must be greater than or equal to 1"))


def _check_name(errors: Errors, value: Object, key: str, path: str, rule: Rule) -> None:
    name: Any = value.get(key) or ""
    if not name:
        errors.append(required(f"{path}.{key}"))
    else:
        add_each(errors, f"{path}.{key}", name, rule(name))


def _check_optional_name(errors: Errors, value: Object, key: str, path: str, rule: Rule) -> None:
    name = value.get(key)
    if name:
        add_each(errors, f"{path}.{key}", name, rule(name))


def _unique(errors: Errors, items: Sequence[Object], path: str) -> Sequence[Object]:
    """The items of a list that is a map by name; notes those whose names are there twice."""
    seen: set[Any] = set()
    for index, item in enumerate(items):
        name = item.get("name")
        if name in seen:
            errors.append(duplicate(f"{path}[{index}]", item))
        seen.add(name)
    return items

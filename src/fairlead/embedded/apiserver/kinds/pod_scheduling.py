"""Validation of how a pod asks to be placed: affinity, tolerations, spreading, gates, node names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.invalid import duplicate, forbidden, invalid, not_supported, required
from fairlead.embedded.apiserver.kinds.errors import NOT_POSITIVE, Errors, add_each
from fairlead.embedded.apiserver.kinds.names import dns_label, dns_subdomain, label_value, qualified_name
from fairlead.embedded.apiserver.kinds.selectors import (
    validate_label_selector,
    validate_node_selector,
    validate_node_selector_term,
)

TAINT_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_SPREAD_ACTIONS = ("DoNotSchedule", "ScheduleAnyway")
_INCLUSION_POLICIES = ("Honor", "Ignore")
_NO_SELECTOR = "must not be specified when labelSelector is not set"
_WEIGHT_MESSAGE = "must be in the range 1-100"


def validate_affinity(errors: Errors, affinity: Mapping[str, Any], path: str) -> None:
    """`affinity` of a pod: towards nodes, towards and away from other pods."""
    node = affinity.get("nodeAffinity")
    if node is not None:
        needed = node.get("requiredDuringSchedulingIgnoredDuringExecution")
        if needed is not None:
            at = f"{path}.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"
            validate_node_selector(errors, needed, at)
        for index, term in enumerate(node.get("preferredDuringSchedulingIgnoredDuringExecution") or ()):
            at = f"{path}.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[{index}]"
            _validate_weight(errors, term, at)
            preference = term.get("preference") or {}
            validate_node_selector_term(errors, preference, f"{at}.preference", allow_invalid_values=True)
    for kind in ("podAffinity", "podAntiAffinity"):
        pods = affinity.get(kind)
        if pods is None:
            continue
        for index, term in enumerate(pods.get("requiredDuringSchedulingIgnoredDuringExecution") or ()):
            at = f"{path}.{kind}.requiredDuringSchedulingIgnoredDuringExecution[{index}]"
            _validate_pod_term(errors, term, at)
        for index, weighted in enumerate(pods.get("preferredDuringSchedulingIgnoredDuringExecution") or ()):
            at = f"{path}.{kind}.preferredDuringSchedulingIgnoredDuringExecution[{index}]"
            _validate_weight(errors, weighted, at)
            _validate_pod_term(errors, weighted.get("podAffinityTerm") or {}, f"{at}.podAffinityTerm")


def _validate_weight(errors: Errors, term: Mapping[str, Any], path: str) -> None:
    weight = term.get("weight", 0)
    if not 0 < weight <= 100:
        errors.append(invalid(f"{path}.weight", weight, _WEIGHT_MESSAGE))


def _validate_pod_term(errors: Errors, term: Mapping[str, Any], path: str) -> None:
    selector = term.get("labelSelector")
    validate_label_selector(errors, selector, f"{path}.labelSelector")
    validate_label_selector(errors, term.get("namespaceSelector"), f"{path}.namespaceSelector")
    for namespace in term.get("namespaces") or ():
        add_each(errors, f"{path}.namespace", namespace, dns_label(namespace))
    matched, mismatched = term.get("matchLabelKeys") or (), term.get("mismatchLabelKeys") or ()
    for key, keys in (("matchLabelKeys", matched), ("mismatchLabelKeys", mismatched)):
        if keys and selector is None:
            errors.append(forbidden(f"{path}.{key}", _NO_SELECTOR))
        elif keys:
            for index, label in enumerate(keys):
                add_each(errors, f"{path}.{key}[{index}]", label, qualified_name(label))
    _validate_key_overlap(errors, selector, matched, path)
    for index, label in enumerate(matched):
        if label in mismatched:
            detail = "exists in both matchLabelKeys and mismatchLabelKeys"
            errors.append(invalid(f"{path}.matchLabelKeys[{index}]", label, detail))
    topology = term.get("topologyKey", "")
    if not topology:
        errors.append(required(f"{path}.topologyKey", "can not be empty"))
    add_each(errors, f"{path}.topologyKey", topology, qualified_name(topology))


def _validate_key_overlap(errors: Errors, selector: Mapping[str, Any] | None, keys: Sequence[str], path: str) -> None:
    if selector is None:
        return
    seen = set(selector.get("matchLabels") or ())
    for expression in selector.get("matchExpressions") or ():
        key = expression.get("key", "")
        if key in keys and key in seen:
            detail = "exists in both matchLabelKeys and labelSelector"
            errors.append(invalid(f"{path}[{list(keys).index(key)}]", key, detail))
        seen.add(key)


def validate_tolerations(errors: Errors, tolerations: Sequence[Mapping[str, Any]], path: str) -> None:
    for index, toleration in enumerate(tolerations):
        at = f"{path}[{index}]"
        key, operator = toleration.get("key", ""), toleration.get("operator", "")
        value, effect = toleration.get("value", ""), toleration.get("effect", "")
        if key:
            add_each(errors, f"{at}.key", key, qualified_name(key))
        elif operator != "Exists":
            detail = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            errors.append(invalid(f"{at}.operator", operator, detail))
        if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
            detail = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            errors.append(invalid(f"{at}.effect", effect, detail))
        if operator in ("Equal", ""):
            messages = label_value(value)
            if messages:
                errors.append(invalid(f"{at}.operator", value, ";".join(messages)))
        elif operator == "Exists":
            if value:
                errors.append(invalid(f"{at}.operator", value, "value must be empty when `operator` is 'Exists'"))
        else:
            # The API lists the numeric operators only to those who try them, though it does not take them yet.
            supported = ("Equal", "Exists", "Lt", "Gt") if operator in ("Lt", "Gt") else ("Equal", "Exists")
            errors.append(not_supported(f"{at}.operator", operator, supported))
        if effect and effect not in TAINT_EFFECTS:
            errors.append(not_supported(f"{at}.effect", effect, TAINT_EFFECTS))


def validate_spread(errors: Errors, constraints: Sequence[Mapping[str, Any]], path: str) -> None:
    """`topologySpreadConstraints` of a pod."""
    for index, constraint in enumerate(constraints):
        at = f"{path}[{index}]"
        skew, topology = constraint.get("maxSkew", 0), constraint.get("topologyKey", "")
        action = constraint.get("whenUnsatisfiable", "")
        if skew <= 0:
            errors.append(invalid(f"{at}.maxSkew", skew, NOT_POSITIVE))
        if not topology:
            errors.append(required(f"{at}.topologyKey", "can not be empty"))
        if action not in _SPREAD_ACTIONS:
            errors.append(not_supported(f"{at}.whenUnsatisfiable", action, _SPREAD_ACTIONS))
        following = ((c.get("topologyKey", ""), c.get("whenUnsatisfiable", "")) for c in constraints[index + 1 :])
        if (topology, action) in following:
            shown = f"{{{topology}, {action}}}"
            errors.append(duplicate(f"{at}.{{topologyKey, whenUnsatisfiable}}", shown))
        _validate_min_domains(errors, constraint.get("minDomains"), action, f"{at}.minDomains")
        for key in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            if constraint.get(key) is not None and constraint[key] not in _INCLUSION_POLICIES:
                errors.append(not_supported(f"{at}.{key}", constraint[key], _INCLUSION_POLICIES))
        _validate_spread_keys(errors, constraint, f"{at}.matchLabelKeys")
        validate_label_selector(errors, constraint.get("labelSelector"), f"{at}.labelSelector")


def _validate_min_domains(errors: Errors, count: int | None, action: str, path: str) -> None:
    if count is None:
        return
    if count <= 0:
        errors.append(invalid(path, count, NOT_POSITIVE))
    if action != "DoNotSchedule":
        detail = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
        errors.append(invalid(path, count, detail))


def _validate_spread_keys(errors: Errors, constraint: Mapping[str, Any], path: str) -> None:
    keys, selector = constraint.get("matchLabelKeys") or (), constraint.get("labelSelector")
    if not keys:
        return
    if selector is None:
        errors.append(forbidden(path, _NO_SELECTOR))
    used = set((selector or {}).get("matchLabels") or ())
    used |= {e.get("key", "") for e in (selector or {}).get("matchExpressions") or ()}
    for index, key in enumerate(keys):
        add_each(errors, f"{path}[{index}]", key, qualified_name(key))
        if key in used:
            detail = "exists in both matchLabelKeys and labelSelector"
            errors.append(invalid(f"{path}[{index}]", key, detail))


def validate_scheduling_gates(errors: Errors, gates: Sequence[Mapping[str, Any]], path: str) -> None:
    seen: set[str] = set()
    for index, gate in enumerate(gates):
        name = gate.get("name", "")
        add_each(errors, f"{path}[{index}]", name, qualified_name(name))
        if name in seen:
            errors.append(duplicate(f"{path}[{index}]", name))
        seen.add(name)


def validate_scheduling_group(errors: Errors, group: Mapping[str, Any], path: str) -> None:
    name = group.get("podGroupName")
    if name is None:
        errors.append(invalid(path, "", "must specify one of: `podGroupName`"))
    else:
        add_each(errors, f"{path}.podGroupName", name, dns_subdomain(name))

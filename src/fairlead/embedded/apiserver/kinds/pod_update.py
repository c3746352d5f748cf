"""What an update of a pod may change: of its spec, its status, its ephemeral containers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.invalid import duplicate, forbidden, invalid, required
from fairlead.embedded.apiserver.kinds.errors import Errors, add_each, check_immutable
from fairlead.embedded.apiserver.kinds.names import dns_subdomain, ip, qualified_name, range_message
from fairlead.embedded.apiserver.kinds.pod_device_status import (
    check_allocated_resources,
    check_claim_statuses,
    check_extended_claim,
)
from fairlead.embedded.apiserver.kinds.pod_scheduling import validate_tolerations
from fairlead.embedded.apiserver.kinds.pod_spec import is_dual_stack
from fairlead.embedded.apiserver.kinds.spec_change import describe_change
from fairlead.embedded.apiserver.registry import Object

_LARGEST_INT32 = 2**31 - 1
_UPDATABLE = ",".join(
    (
        "`spec.containers[*].image`",
        "`spec.initContainers[*].image`",
        "`spec.activeDeadlineSeconds`",
        "`spec.tolerations` (only additions to existing tolerations)",
        "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
    )
)
_SYSTEM_CONDITIONS = ("PodScheduled", "Ready", "Initialized")
_MIRROR = "kubernetes.io/config.mirror"
_TERMS = "requiredDuringSchedulingIgnoredDuringExecution"


def validate_spec_update(errors: Errors, new: Object, old: Object) -> None:
    """Containers keep their number and all but their images; the spec keeps all but a few fields."""
    after, before = new["spec"], old["spec"]
    _validate_annotation_change(errors, new, old)
    for group in ("containers", "initContainers"):
        if not _validate_images(errors, after.get(group) or (), before.get(group) or (), f"spec.{group}"):
            return
    if not _validate_deadline(errors, after.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds")):
        return
    _validate_added_tolerations(errors, after.get("tolerations") or (), before.get("tolerations") or ())
    _validate_removed_gates(errors, after.get("schedulingGates") or (), before.get("schedulingGates") or ())
    if after == before:
        return
    masked = _with_allowed_changes(errors, after, before)
    if masked != before:
        detail = f"pod updates may not change fields other than {_UPDATABLE}\n{describe_change(before, masked)}"
        errors.append(forbidden("spec", detail))


def _validate_annotation_change(errors: Errors, new: Object, old: Object) -> None:
    after = new["metadata"].get("annotations") or {}
    before = old["metadata"].get("annotations") or {}
    if after.get(_MIRROR) == before.get(_MIRROR):
        return
    verb = "remove or update" if _MIRROR in before else "add"
    errors.append(forbidden(f"metadata.annotations[{_MIRROR}]", f"may not {verb} mirror pod annotation"))


def _validate_images(
    errors: Errors, after: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]], path: str
) -> bool:
    if len(after) != len(before):
        errors.append(forbidden(path, "pod updates may not add or remove containers"))
        return False
    for index, container in enumerate(after):
        image = container.get("image", "")
        if not image:
            errors.append(required(f"{path}[{index}].image"))
        if image != image.strip():
            detail = "must not have leading or trailing whitespace"
            errors.append(invalid(f"{path}[{index}].image", image, detail))
    return True


def _validate_deadline(errors: Errors, after_s: int | None, before_s: int | None) -> bool:
    path = "spec.activeDeadlineSeconds"
    if after_s is None:
        if before_s is not None:
            errors.append(invalid(path, None, "must not update from a positive integer to nil value"))
        return True
    if not 0 <= after_s <= _LARGEST_INT32:
        errors.append(invalid(path, after_s, range_message(0, _LARGEST_INT32)))
        return False
    if before_s is not None and before_s < after_s:
        errors.append(invalid(path, after_s, "must be less than or equal to previous value"))
        return False
    return True


def _validate_added_tolerations(
    errors: Errors, after: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]]
) -> None:
    def without_seconds(toleration: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in toleration.items() if key != "tolerationSeconds"}

    kept = [without_seconds(toleration) for toleration in after]
    if any(without_seconds(toleration) not in kept for toleration in before):
        detail = "existing toleration can not be modified except its tolerationSeconds"
        errors.append(forbidden("spec.tolerations", detail))
        return
    validate_tolerations(errors, after, "spec.tolerations")


def _validate_removed_gates(
    errors: Errors, after: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]]
) -> None:
    known = {gate.get("name") for gate in before}
    for index, gate in enumerate(after):
        if gate.get("name") not in known:
            detail = f"only deletion is allowed, but found new scheduling gate '{gate.get('name', '')}'"
            errors.append(forbidden(f"spec.schedulingGates[{index}].name", detail))


def _with_allowed_changes(errors: Errors, after: Object, before: Object) -> Object:
    """The new spec with every change that is allowed taken back."""
    masked = dict(after)
    for group in ("containers", "initContainers"):
        if after.get(group):
            masked[group] = [
                {**container, "image": earlier.get("image", "")}
                for container, earlier in zip(after[group], before[group], strict=True)
            ]
    for key in ("activeDeadlineSeconds", "schedulingGates", "tolerations"):
        _take_back(masked, before, key)
    grace_s = before.get("terminationGracePeriodSeconds")
    if grace_s is not None and grace_s < 0 and after.get("terminationGracePeriodSeconds") == 1:
        masked["terminationGracePeriodSeconds"] = grace_s
    if before.get("schedulingGates"):
        _validate_gated_changes(errors, after, before)
        _take_back(masked, before, "nodeSelector")
        _take_back_node_affinity(masked, before)
    return masked


def _take_back(masked: Object, before: Object, key: str) -> None:
    if key in before:
        masked[key] = before[key]
    else:
        masked.pop(key, None)


def _validate_gated_changes(errors: Errors, after: Object, before: Object) -> None:
    """A pod behind scheduling gates may still narrow down its nodes."""
    selector = after.get("nodeSelector") or {}
    if any(selector.get(key) != value for key, value in (before.get("nodeSelector") or {}).items()):
        detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)"
        errors.append(invalid("spec.nodeSelector", after.get("nodeSelector"), detail))
    old_terms, new_terms = _required_terms(before), _required_terms(after)
    path = f"spec.affinity.nodeAffinity.{_TERMS}.nodeSelectorTerms"
    if not old_terms:
        return
    if len(old_terms) != len(new_terms):
        detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed"
        errors.append(invalid(path, [_shown_term(term) for term in new_terms] or None, detail))
        return
    for index, (new_term, old_term) in enumerate(zip(new_terms, old_terms, strict=True)):
        if not _only_adds(new_term, old_term):
            detail = "only additions are allowed (no mutations or deletions)"
            errors.append(invalid(f"{path}[{index}]", _shown_term(new_term), detail))


def _shown_term(term: Mapping[str, Any]) -> dict[str, Any]:
    def shown(requirements: Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]] | None:
        if requirements is None:
            return None
        return [
            {"Key": r.get("key", ""), "Operator": r.get("operator", ""), "Values": r.get("values")}
            for r in requirements
        ]

    return {
        "MatchExpressions": shown(term.get("matchExpressions")),
        "MatchFields": shown(term.get("matchFields")),
    }


def _required_terms(spec: Object) -> Sequence[Mapping[str, Any]]:
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    terms: Sequence[Mapping[str, Any]] = (affinity.get(_TERMS) or {}).get("nodeSelectorTerms") or ()
    return terms


def _only_adds(new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    if not old.get("matchExpressions") and not old.get("matchFields"):
        return not (new.get("matchExpressions") or new.get("matchFields"))
    for key in ("matchExpressions", "matchFields"):
        earlier = list(old.get(key) or ())
        if list(new.get(key) or ())[: len(earlier)] != earlier:
            return False
    return True


def _take_back_node_affinity(masked: Object, before: Object) -> None:
    affinity = {k: v for k, v in (masked.get("affinity") or {}).items() if k != "nodeAffinity"}
    earlier = before.get("affinity")
    if earlier is not None and earlier.get("nodeAffinity") is not None:
        affinity["nodeAffinity"] = earlier["nodeAffinity"]
    if affinity or earlier is not None:
        masked["affinity"] = affinity
    else:
        masked.pop("affinity", None)


def validate_status_change(errors: Errors, new: Object, old: Object) -> None:
    """A status update: conditions, names, addresses, and containers that stay terminated."""
    _validate_annotation_change(errors, new, old)
    after, before = new.get("status") or {}, old.get("status") or {}
    for index, condition in enumerate(after.get("conditions") or ()):
        kind = condition.get("type", "")
        if kind not in _SYSTEM_CONDITIONS:
            add_each(errors, f"status.conditions[{index}].Type", kind, qualified_name(kind))
    if new["spec"].get("nodeName") != old["spec"].get("nodeName"):
        errors.append(forbidden("status.nodeName", "may not be changed directly"))
    nominated = after.get("nominatedNodeName")
    if nominated and nominated != before.get("nominatedNodeName"):
        add_each(errors, "status.nominatedNodeName", nominated, dns_subdomain(nominated))
    check_immutable(errors, after.get("qosClass", ""), before.get("qosClass", ""), "status.qosClass")
    _validate_transitions(errors, after, before, old["spec"])
    check_claim_statuses(errors, after.get("resourceClaimStatuses") or (), new["spec"])
    check_extended_claim(errors, after.get("extendedResourceClaimStatus"), new["spec"])
    _validate_addresses(errors, after.get("podIPs") or (), "status.podIPs")
    host_ips = after.get("hostIPs") or ()
    if host_ips and after.get("hostIP", "") != host_ips[0].get("ip", ""):
        errors.append(invalid("status.hostIPs[0].ip", host_ips[0].get("ip", ""), "must be equal to `hostIP`"))
    _validate_addresses(errors, host_ips, "status.hostIPs")
    check_allocated_resources(errors, after, new["spec"])


def _validate_transitions(errors: Errors, after: Object, before: Object, spec: Object) -> None:
    sidecars = {c.get("name") for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"}
    policies = {c.get("name") for c in spec.get("containers") or () if c.get("restartPolicy") is not None}
    for key, policy in (
        ("containerStatuses", spec.get("restartPolicy")),
        ("initContainerStatuses", spec.get("restartPolicy")),
        ("ephemeralContainerStatuses", "Never"),
    ):
        if policy == "Always" or not before.get(key):
            continue
        states = {status.get("name"): status.get("state") or {} for status in after.get(key) or ()}
        for index, status in enumerate(before[key]):
            terminated = (status.get("state") or {}).get("terminated")
            name = status.get("name")
            if terminated is None or name in sidecars or name in policies or name not in states:
                continue
            if terminated.get("exitCode") and policy == "OnFailure":
                continue
            if states[name].get("terminated") is None:
                detail = "may not be transitioned to non-terminated state"
                errors.append(forbidden(f"status.{key}[{index}].state", detail))


def _validate_addresses(errors: Errors, entries: Sequence[Mapping[str, Any]], path: str) -> None:
    addresses = [entry.get("ip", "") for entry in entries]
    for index, address in enumerate(addresses):
        add_each(errors, f"{path}[{index}]", address, ip(address))
    if len(addresses) > 1:
        shown = [{"IP": address} for address in addresses]
        if len(addresses) > 2 or not is_dual_stack(addresses):
            errors.append(invalid(path, shown, "may specify no more than one IP for each IP family"))
        for index, address in enumerate(addresses):
            if address in addresses[:index]:
                errors.append(duplicate(f"{path}[{index}]", {"IP": address}))

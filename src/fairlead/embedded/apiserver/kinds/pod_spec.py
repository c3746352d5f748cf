"""Validation of PodSpec and PodTemplateSpec, in the order in which the API reports errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from fairlead.embedded.apiserver.invalid import duplicate, forbidden, invalid, required
from fairlead.embedded.apiserver.kinds.errors import Errors, add_each, check_one_of
from fairlead.embedded.apiserver.kinds.metadata import validate_annotations, validate_labels
from fairlead.embedded.apiserver.kinds.names import (
    dns_label,
    dns_subdomain,
    dns_subdomain_with_underscore,
    ip,
    qualified_name,
    range_message,
)
from fairlead.embedded.apiserver.kinds.pod_containers import Surroundings, validate_containers
from fairlead.embedded.apiserver.kinds.pod_resources import validate_pod_resources
from fairlead.embedded.apiserver.kinds.pod_scheduling import (
    validate_affinity,
    validate_scheduling_gates,
    validate_scheduling_group,
    validate_spread,
    validate_tolerations,
)
from fairlead.embedded.apiserver.kinds.pod_security import (
    validate_host_users,
    validate_pod_security,
    validate_share_process,
)
from fairlead.embedded.apiserver.kinds.pod_system import validate_system
from fairlead.embedded.apiserver.kinds.pod_volumes import validate_volumes
from fairlead.embedded.apiserver.kinds.resources import validate_requirements
from fairlead.embedded.apiserver.registry import Object

RESTART_POLICIES = ("Always", "OnFailure", "Never")
_DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_LARGEST_INT32 = 2**31 - 1
_DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_MIRROR = "kubernetes.io/config.mirror"
_NO_CLAIMS: frozenset[str] = frozenset()


def validate_pod_template(errors: Errors, template: Object | None, path: str) -> None:
    """A PodTemplateSpec inside a workload."""
    template = template or {}
    metadata = template.get("metadata") or {}
    errors += validate_labels(metadata.get("labels"), f"{path}.labels")
    errors += validate_annotations(metadata.get("annotations"), f"{path}.annotations")
    spec = template.get("spec") or {}
    validate_pod_annotations(errors, metadata.get("annotations"), spec, f"{path}.annotations")
    validate_pod_spec(errors, spec, "", f"{path}.spec", is_pod=False)
    if spec.get("ephemeralContainers"):
        detail = "ephemeral containers not allowed in pod template"
        errors.append(forbidden(f"{path}.spec.ephemeralContainers", detail))


def validate_pod_annotations(
    errors: Errors, annotations: Mapping[str, str] | None, spec: Mapping[str, Any], path: str
) -> None:
    """Annotations that mean something on pods."""
    if not annotations:
        return
    mirror, cost = annotations.get(_MIRROR), annotations.get(_DELETION_COST)
    if mirror is not None and not spec.get("nodeName"):
        errors.append(invalid(f"{path}[{_MIRROR}]", mirror, "must set spec.nodeName if mirror pod annotation is set"))
    if cost is not None and not _is_int32(cost):
        errors.append(invalid(f"{path}[{_DELETION_COST}]", cost, "must be a 32bit integer"))


def _is_int32(text: str) -> bool:
    digits = text[1:] if text.startswith("-") else text
    if not digits.isascii() or not digits.isdigit() or (digits.startswith("0") and text != "0"):
        return False
    return -(2**31) <= int(text) <= _LARGEST_INT32


def validate_pod_spec(errors: Errors, spec: Mapping[str, Any], pod_name: str, path: str, *, is_pod: bool) -> None:
    """A PodSpec. `pod_name` is empty where the pod's name is not known yet; `is_pod` tells pods from templates."""
    grace_s = spec.get("terminationGracePeriodSeconds")
    if grace_s is None:
        errors.append(required(f"{path}.terminationGracePeriodSeconds"))
    volumes = validate_volumes(errors, spec.get("volumes") or (), pod_name, f"{path}.volumes", is_pod=is_pod)
    claims: Sequence[Mapping[str, Any]] = spec.get("resourceClaims") or ()
    claim_names = _NO_CLAIMS
    if claims:
        claim_names = frozenset(claim["name"] for claim in claims if claim.get("name"))
        _validate_resource_claims(errors, claims, f"{path}.resourceClaims")
    surroundings = Surroundings(
        volumes, claim_names, grace_s, spec.get("restartPolicy", ""), spec.get("hostUsers") is not False
    )
    validate_containers(errors, spec, surroundings, path)
    if spec.get("resources"):
        validate_pod_resources(errors, spec, f"{path}.resources")
    if spec.get("hostNetwork"):
        _validate_host_network(errors, spec, path, is_pod=is_pod)
    check_one_of(errors, spec.get("restartPolicy"), RESTART_POLICIES, f"{path}.restartPolicy")
    check_one_of(errors, spec.get("dnsPolicy"), _DNS_POLICIES, f"{path}.dnsPolicy")
    if spec.get("nodeSelector"):
        errors += validate_labels(spec["nodeSelector"], f"{path}.nodeSelector")
    validate_pod_security(errors, spec, path)
    validate_share_process(errors, spec, path)
    if spec.get("affinity"):
        validate_affinity(errors, spec["affinity"], f"{path}.affinity")
    _validate_dns(errors, spec.get("dnsConfig"), spec.get("dnsPolicy"), f"{path}.dnsConfig")
    for index, gate in enumerate(spec.get("readinessGates") or ()):
        kind = gate.get("conditionType", "")
        add_each(errors, f"{path}.readinessGates[{index}].conditionType", kind, qualified_name(kind))
    if spec.get("schedulingGates"):
        validate_scheduling_gates(errors, spec["schedulingGates"], f"{path}.schedulingGates")
    if spec.get("schedulingGroup") is not None:
        validate_scheduling_group(errors, spec["schedulingGroup"], f"{path}.schedulingGroup")
    if spec.get("topologySpreadConstraints"):
        validate_spread(errors, spec["topologySpreadConstraints"], f"{path}.topologySpreadConstraints")
    validate_host_users(errors, spec, path)
    _validate_names(errors, spec, path)
    _validate_rest(errors, spec, path)


def _validate_names(errors: Errors, spec: Mapping[str, Any], path: str) -> None:
    for key in ("serviceAccountName", "nodeName"):
        if spec.get(key):
            add_each(errors, f"{path}.{key}", spec[key], dns_subdomain(spec[key]))
    deadline_s = spec.get("activeDeadlineSeconds")
    if deadline_s is not None and not 1 <= deadline_s <= _LARGEST_INT32:
        errors.append(invalid(f"{path}.activeDeadlineSeconds", deadline_s, range_message(1, _LARGEST_INT32)))
    for key in ("hostname", "subdomain"):
        if spec.get(key):
            add_each(errors, f"{path}.{key}", spec[key], dns_label(spec[key]))
    override = spec.get("hostnameOverride")
    if override is not None:
        _validate_hostname_override(errors, spec, override, f"{path}.hostnameOverride")
    if spec.get("tolerations"):
        validate_tolerations(errors, spec["tolerations"], f"{path}.tolerations")
    for index, alias in enumerate(spec.get("hostAliases") or ()):
        at = f"{path}.hostAliases[{index}]"
        add_each(errors, f"{at}.ip", alias.get("ip", ""), ip(alias.get("ip", "")))
        for place, name in enumerate(alias.get("hostnames") or ()):
            add_each(errors, f"{at}.hostnames[{place}]", name, dns_subdomain(name))
    for key in ("priorityClassName", "runtimeClassName"):
        if spec.get(key) or (key == "runtimeClassName" and spec.get(key) is not None):
            add_each(errors, f"{path}.{key}", spec[key], dns_subdomain(spec[key]))


def _validate_hostname_override(errors: Errors, spec: Mapping[str, Any], name: str, path: str) -> None:
    if spec.get("setHostnameAsFQDN"):
        errors.append(forbidden(path, "must not be set when setHostnameAsFQDN is true"))
    if spec.get("hostNetwork"):
        errors.append(forbidden(path, "must not be set when hostNetwork is true"))
    if len(name) > 64:
        errors.append(invalid(path, name, "must be no more than 64 characters"))
    add_each(errors, path, name, dns_subdomain(name))


def _validate_rest(errors: Errors, spec: Mapping[str, Any], path: str) -> None:
    policy = spec.get("preemptionPolicy")
    if policy is not None:
        check_one_of(errors, policy, ("PreemptLowerPriority", "Never"), f"{path}.preemptionPolicy")
    if spec.get("overhead") is not None:
        validate_requirements(errors, {"limits": spec["overhead"]}, _NO_CLAIMS, f"{path}.overhead")
    validate_system(errors, spec, path)


def _validate_resource_claims(errors: Errors, claims: Sequence[Mapping[str, Any]], path: str) -> None:
    seen: set[str] = set()
    for index, claim in enumerate(claims):
        at, name = f"{path}[{index}]", claim.get("name", "")
        if not name:
            errors.append(required(f"{at}.name"))
        elif name in seen:
            errors.append(duplicate(f"{at}.name", name))
        else:
            add_each(errors, f"{at}.name", name, dns_label(name))
            seen.add(name)
        direct, template = claim.get("resourceClaimName"), claim.get("resourceClaimTemplateName")
        shown = {"Name": name, "ResourceClaimName": direct, "ResourceClaimTemplateName": template}
        if direct is not None and template is not None:
            detail = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
            errors.append(invalid(at, shown, detail))
        if direct is None and template is None:
            detail = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"
            errors.append(invalid(at, shown, detail))
        for key, value in (("resourceClaimName", direct), ("resourceClaimTemplateName", template)):
            if value is not None:
                add_each(errors, f"{at}.{key}", value, dns_subdomain(value))


def _validate_host_network(errors: Errors, spec: Mapping[str, Any], path: str, *, is_pod: bool) -> None:
    for index, container in enumerate(spec.get("containers") or ()):
        for place, port in enumerate(container.get("ports") or ()):
            host_port = port.get("hostPort", 0)
            if (is_pod or host_port) and host_port != port.get("containerPort", 0):
                at = f"{path}.containers[{index}].ports[{place}].hostPort"
                errors.append(invalid(at, host_port, "must match `containerPort` when `hostNetwork` is true"))


def _validate_dns(errors: Errors, config: Mapping[str, Any] | None, policy: str | None, path: str) -> None:
    if policy == "None":
        if config is None:
            errors.append(required(path, "must provide `dnsConfig` when `dnsPolicy` is None"))
            return
        if not config.get("nameservers"):
            detail = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            errors.append(required(f"{path}.nameservers", detail))
            return
    if config is not None:
        _validate_dns_config(errors, config, path)


def _validate_dns_config(errors: Errors, config: Mapping[str, Any], path: str) -> None:
    servers, searches = config.get("nameservers") or (), config.get("searches") or ()
    if len(servers) > 3:
        errors.append(invalid(f"{path}.nameservers", servers, "must not have more than 3 nameservers"))
    for index, server in enumerate(servers):
        add_each(errors, f"{path}.nameservers[{index}]", server, ip(server))
    if len(searches) > 32:
        errors.append(invalid(f"{path}.searches", searches, "must not have more than 32 search paths"))
    if len(" ".join(searches)) > 2048:
        detail = "must not have more than 2048 characters (including spaces) in the search list"
        errors.append(invalid(f"{path}.searches", searches, detail))
    for index, search in enumerate(searches):
        if search != ".":
            bare = search.removesuffix(".")
            add_each(errors, f"{path}.searches[{index}]", bare, dns_subdomain_with_underscore(bare))
    for index, option in enumerate(config.get("options") or ()):
        if not option.get("name"):
            errors.append(required(f"{path}.options[{index}]", "must not be empty"))


def is_dual_stack(addresses: Sequence[str]) -> bool:
    """Whether addresses hold one of each IP family."""
    try:
        return {ip_address(address).version for address in addresses} == {4, 6}
    except ValueError:
        return False

"""Validation of Services."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.invalid import duplicate, forbidden, invalid, not_supported, required
from fairlead.embedded.apiserver.kinds.errors import Errors, Layout, add_each, check_one_of, internal_form
from fairlead.embedded.apiserver.kinds.metadata import validate_labels
from fairlead.embedded.apiserver.kinds.names import (
    cidr,
    dns_label,
    dns_subdomain,
    ip,
    port_number,
    qualified_name,
    special_ip,
)
from fairlead.embedded.apiserver.kinds.pod_probes import validate_port_or_name
from fairlead.embedded.apiserver.registry import Object

_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_ADDRESSED = ("ClusterIP", "LoadBalancer", "NodePort")
_AFFINITIES = ("ClientIP", "None")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_POLICIES = ("Cluster", "Local")
_FAMILIES = ("IPv4", "IPv6")
_FAMILY_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
_DISTRIBUTIONS = ("PreferClose", "PreferSameZone", "PreferSameNode")
_LONGEST_AFFINITY_S = 86400
_SOURCE_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
_ONLY_BALANCED = "may only be used when `type` is 'LoadBalancer'"
_ONE_PER_FAMILY = "may specify no more than one IP for each IP family"
_PORT: Layout = (
    ("Name", "", ""),
    ("Protocol", "protocol", ""),
    ("AppProtocol", "", None),
    ("Port", "port", 0),
    ("TargetPort", "", 0),
    ("NodePort", "", 0),
)


def is_headless(spec: Mapping[str, Any]) -> bool:
    return list(spec.get("clusterIPs") or ()) == ["None"]


def needs_health_check(spec: Mapping[str, Any]) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def _is_external(spec: Mapping[str, Any]) -> bool:
    kind = spec.get("type")
    return kind in ("LoadBalancer", "NodePort") or (kind == "ClusterIP" and bool(spec.get("externalIPs")))


def validate_service(errors: Errors, service: Object) -> None:
    """A Service by itself, metadata aside."""
    spec: Object = service["spec"]
    kind, ports = spec.get("type", ""), spec.get("ports") or ()
    if not ports and not is_headless(spec) and kind != "ExternalName":
        errors.append(required("spec.ports"))
    _validate_type_fields(errors, spec)
    names: set[str] = set()
    for index, port in enumerate(ports):
        _validate_port(errors, port, names, f"spec.ports[{index}]", named=len(ports) > 1)
    errors += validate_labels(spec.get("selector"), "spec.selector")
    _validate_affinity(errors, spec)
    if kind != "ExternalName":
        _validate_addresses(errors, spec)
    for index, address in enumerate(spec.get("externalIPs") or ()):
        at, messages = f"spec.externalIPs[{index}]", ip(address)
        add_each(errors, at, address, messages or special_ip(address))
    check_one_of(errors, kind, _TYPES, "spec.type")
    _validate_port_pairs(errors, kind, ports)
    _validate_balancer(errors, service, spec)
    _validate_traffic(errors, spec)


def _validate_type_fields(errors: Errors, spec: Object) -> None:
    kind = spec.get("type")
    if kind in ("LoadBalancer", "NodePort") and is_headless(spec):
        errors.append(invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services"))
    if kind != "ExternalName":
        return
    detail = "may not be set for ExternalName services"
    for key in ("clusterIPs", "ipFamilies", "ipFamilyPolicy"):
        if spec.get(key):
            errors.append(forbidden(f"spec.{key}", detail))
    name = (spec.get("externalName") or "").removesuffix(".")
    if not name:
        errors.append(required("spec.externalName"))
    else:
        add_each(errors, "spec.externalName", name, dns_subdomain(name))


def _validate_port(errors: Errors, port: Mapping[str, Any], names: set[str], path: str, *, named: bool) -> None:
    name, number = port.get("name", ""), port.get("port", 0)
    if name:
        add_each(errors, f"{path}.name", name, dns_label(name))
        if name in names:
            errors.append(duplicate(f"{path}.name", name))
        names.add(name)
    elif named:
        errors.append(required(f"{path}.name"))
    add_each(errors, f"{path}.port", number, port_number(number))
    check_one_of(errors, port.get("protocol"), _PROTOCOLS, f"{path}.protocol")
    validate_port_or_name(errors, port.get("targetPort"), f"{path}.targetPort")
    protocol = port.get("appProtocol")
    if protocol is not None:
        add_each(errors, f"{path}.appProtocol", protocol, qualified_name(protocol))


def _validate_port_pairs(errors: Errors, kind: str, ports: Sequence[Mapping[str, Any]]) -> None:
    if kind == "ClusterIP":
        for index, port in enumerate(ports):
            if port.get("nodePort"):
                detail = "may not be used when `type` is 'ClusterIP'"
                errors.append(forbidden(f"spec.ports[{index}].nodePort", detail))
    node_ports: set[tuple[Any, Any]] = set()
    for index, port in enumerate(ports):
        pair = (port.get("protocol"), port.get("nodePort"))
        if pair[1] and pair in node_ports:
            errors.append(duplicate(f"spec.ports[{index}].nodePort", pair[1]))
        node_ports.add(pair)
    pairs: set[tuple[Any, Any]] = set()
    for index, port in enumerate(ports):
        pair = (port.get("protocol"), port.get("port"))
        if pair in pairs:
            errors.append(duplicate(f"spec.ports[{index}]", internal_form(port, _PORT)))
        pairs.add(pair)


def _validate_affinity(errors: Errors, spec: Object) -> None:
    affinity, config = spec.get("sessionAffinity"), spec.get("sessionAffinityConfig")
    check_one_of(errors, affinity, _AFFINITIES, "spec.sessionAffinity")
    if affinity == "ClientIP":
        path = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
        timeout_s = ((config or {}).get("clientIP") or {}).get("timeoutSeconds")
        if timeout_s is None:
            errors.append(required(path, "when session affinity type is ClientIP"))
        elif not 0 < timeout_s <= _LONGEST_AFFINITY_S:
            detail = f"must be greater than 0 and less than {_LONGEST_AFFINITY_S}"
            errors.append(invalid(path, timeout_s, detail))
    elif affinity == "None" and config is not None:
        errors.append(forbidden("spec.sessionAffinityConfig", "must not be set when session affinity is None"))


def _validate_addresses(errors: Errors, spec: Object) -> None:
    path = "spec.clusterIPs"
    first, addresses = spec.get("clusterIP"), spec.get("clusterIPs") or []
    families, policy = spec.get("ipFamilies") or [], spec.get("ipFamilyPolicy")
    if first:
        if not addresses:
            errors.append(required(path))
        elif addresses[0] != first:
            errors.append(invalid(path, addresses, "first value must match `clusterIP`"))
    elif addresses:
        errors.append(invalid(path, addresses, "must be empty when `clusterIP` is not specified"))
    for index, family in enumerate(families):
        if family not in _FAMILIES:
            errors.append(not_supported(f"spec.ipFamilies[{index}]", family, _FAMILIES))
        if family in families[:index]:
            errors.append(duplicate(f"spec.ipFamilies[{index}]", family))
    if policy is not None and policy not in _FAMILY_POLICIES:
        errors.append(not_supported("spec.ipFamilyPolicy", policy, _FAMILY_POLICIES))
    if _validate_each_address(errors, addresses, path):
        _validate_families(errors, spec, addresses, families, path)


def _validate_each_address(errors: Errors, addresses: Sequence[str], path: str) -> bool:
    valid = True
    for index, address in enumerate(addresses):
        if index == 0 and address == "None":
            if len(addresses) > 1:
                valid = False
                errors.append(invalid(path, addresses, "'None' must be the first and only value"))
            continue
        messages = ip(address)
        valid = valid and not messages
        add_each(errors, f"{path}[{index}]", address, messages)
    if len(addresses) > 2:
        errors.append(invalid(path, addresses, "may only hold up to 2 values"))
    return valid


def _validate_families(
    errors: Errors, spec: Object, addresses: Sequence[str], families: Sequence[str], path: str
) -> None:
    if len(addresses) > 1 and len({":" in address for address in addresses}) < 2:
        errors.append(invalid(path, addresses, _ONE_PER_FAMILY))
    if is_headless(spec):
        return
    for index, (address, family) in enumerate(zip(addresses, families, strict=False)):
        if family in _FAMILIES and (family == "IPv6") != (":" in address):
            detail = f"expected an {family} value as indicated by `ipFamilies[{index}]`"
            errors.append(invalid(f"{path}[{index}]", address, detail))


def _validate_balancer(errors: Errors, service: Object, spec: Object) -> None:
    balanced = spec.get("type") == "LoadBalancer"
    annotation = (service["metadata"].get("annotations") or {}).get(_SOURCE_RANGES)
    if spec.get("loadBalancerSourceRanges"):
        path = "spec.LoadBalancerSourceRanges"
        if not balanced:
            errors.append(forbidden(path, _ONLY_BALANCED))
        for index, text in enumerate(spec["loadBalancerSourceRanges"]):
            add_each(errors, f"{path}[{index}]", text.strip(), cidr(text.strip()))
    elif annotation is not None:
        path = f"metadata.annotations[{_SOURCE_RANGES}]"
        if not balanced:
            errors.append(forbidden(path, _ONLY_BALANCED))
        for text in annotation.split(",") if annotation.strip() else ():
            add_each(errors, path, text.strip(), cidr(text.strip()))
    if spec.get("allocateLoadBalancerNodePorts") is not None and not balanced:
        errors.append(forbidden("spec.allocateLoadBalancerNodePorts", _ONLY_BALANCED))
    if balanced and spec.get("allocateLoadBalancerNodePorts") is None:
        errors.append(required("allocateLoadBalancerNodePorts"))
    name = spec.get("loadBalancerClass")
    if name is not None and balanced:
        add_each(errors, "spec.loadBalancerClass", name, qualified_name(name))
    elif name is not None:
        errors.append(forbidden("spec.loadBalancerClass", _ONLY_BALANCED))


def _validate_traffic(errors: Errors, spec: Object) -> None:
    policy = spec.get("externalTrafficPolicy") or ""
    if not _is_external(spec):
        if policy:
            detail = "may only be set for externally-accessible services"
            errors.append(invalid("spec.externalTrafficPolicy", policy, detail))
    else:
        check_one_of(errors, policy, _POLICIES, "spec.externalTrafficPolicy")
    port = spec.get("healthCheckNodePort") or 0
    if needs_health_check(spec):
        if port:
            add_each(errors, "spec.healthCheckNodePort", port, port_number(port))
    elif port:
        detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        errors.append(invalid("spec.healthCheckNodePort", port, detail))
    inner = spec.get("internalTrafficPolicy")
    if inner is None and spec.get("type") in _ADDRESSED:
        errors.append(required("spec.internalTrafficPolicy"))
    elif inner is not None and inner not in _POLICIES:
        errors.append(not_supported("spec.internalTrafficPolicy", inner, _POLICIES))
    distribution = spec.get("trafficDistribution")
    if distribution is not None and distribution not in _DISTRIBUTIONS:
        errors.append(not_supported("spec.trafficDistribution", distribution, _DISTRIBUTIONS))


def validate_service_change(errors: Errors, new: Object, old: Object) -> None:
    """What a Service keeps once it has it: its primary address, families, load balancer class."""
    after, before = new["spec"], old["spec"]
    if "ExternalName" not in (after.get("type"), before.get("type")):
        _validate_kept_addresses(errors, after, before)
        _validate_kept_families(errors, after, before)
    if after.get("type") == before.get("type") == "LoadBalancer":
        name = after.get("loadBalancerClass")
        if name != before.get("loadBalancerClass"):
            errors.append(invalid("spec.loadBalancerClass", name, "may not change once set"))
    changed = after.get("healthCheckNodePort") != before.get("healthCheckNodePort")
    if changed and needs_health_check(after) and needs_health_check(before):
        errors.append(forbidden("spec.healthCheckNodePort", "field is immutable"))


def _validate_kept_addresses(errors: Errors, after: Object, before: Object) -> None:
    if is_headless(after) and is_headless(before):
        return
    new, old = after.get("clusterIPs") or [], before.get("clusterIPs") or []
    path = "spec.clusterIPs"
    if len(new) == len(old):
        for index, address in enumerate(old):
            if address != new[index]:
                errors.append(invalid(f"{path}[{index}]", new, "may not change once set"))
        return
    if not new:
        errors.append(invalid(f"{path}[0]", None, "primary clusterIP can not be unset"))
    elif old and new[0] != old[0]:
        errors.append(invalid(f"{path}[0]", new, "may not change once set"))
    if len(new) == 1 and len(old) > 1 and after.get("ipFamilyPolicy") != "SingleStack":
        detail = "must be set to 'SingleStack' when releasing the secondary clusterIP"
        errors.append(invalid("spec.ipFamilyPolicy", after.get("ipFamilyPolicy"), detail))


def _validate_kept_families(errors: Errors, after: Object, before: Object) -> None:
    if is_headless(after) or is_headless(before):
        return
    new, old = after.get("ipFamilies") or [], before.get("ipFamilies") or []
    path = "spec.ipFamilies[0]"
    if len(new) == len(old):
        errors += [invalid(path, new, "may not change once set") for a, b in zip(new, old, strict=True) if a != b]
    elif new and old and new[0] != old[0]:
        errors.append(invalid(path, after.get("clusterIPs"), "may not change once set"))
    if len(new) == 1 and len(old) > 1 and after.get("ipFamilyPolicy") != "SingleStack":
        detail = "must be set to 'SingleStack' when releasing the secondary ipFamily"
        errors.append(invalid("spec.ipFamilyPolicy", after.get("ipFamilyPolicy"), detail))


def validate_load_balancer_status(errors: Errors, service: Object) -> None:
    """The status that load balancer controllers write."""
    path = "status.loadBalancer.ingress"
    entries = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    if entries and service["spec"].get("type") != "LoadBalancer":
        errors.append(forbidden(path, "may only be used when `spec.type` is 'LoadBalancer'"))
        return
    for index, entry in enumerate(entries):
        at, address, mode = f"{path}[{index}]", entry.get("ip"), entry.get("ipMode")
        if address:
            add_each(errors, f"{at}.ip", address, ip(address))
            if mode is None:
                errors.append(required(f"{at}.ipMode", "must be specified when `ip` is set"))
        elif mode is not None:
            errors.append(forbidden(f"{at}.ipMode", "may not be specified when `ip` is not set"))
        if address and mode is not None and mode not in ("Proxy", "VIP"):
            errors.append(not_supported(f"{at}.ipMode", mode, ("Proxy", "VIP")))
        name = entry.get("hostname")
        if name:
            add_each(errors, f"{at}.hostname", name, dns_subdomain(name))
            if not ip(name):
                errors.append(invalid(f"{at}.hostname", name, "must be a DNS name, not an IP address"))

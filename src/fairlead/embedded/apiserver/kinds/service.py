"""Service: defaults, cluster IPs and node ports, and what its type allows."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network

from fairlead.embedded.apiserver.invalid import FieldError, invalid
from fairlead.embedded.apiserver.kinds.errors import Errors
from fairlead.embedded.apiserver.kinds.names import dns1035_label
from fairlead.embedded.apiserver.kinds.service_allocation import (
    NODE_PORTS,
    Allocations,
    Full,
    Holder,
    StillHeld,
    held_addresses,
    held_ports,
    holder_of,
)
from fairlead.embedded.apiserver.kinds.service_validation import (
    is_headless,
    needs_health_check,
    validate_load_balancer_status,
    validate_service,
    validate_service_change,
)
from fairlead.embedded.apiserver.kinds.strategy import StatusStrategy
from fairlead.embedded.apiserver.registry import Object, RequestContext

CLUSTER_NETWORK = IPv4Network("10.96.0.0/16")
_AFFINITY_TIMEOUT_S = 10800
_PORTED = ("NodePort", "LoadBalancer")
_ADDRESSED = ("ClusterIP", *_PORTED)


class ServiceStrategy(StatusStrategy):
    """Holds the allocations of the cluster, as the only writer of its data folder."""

    name_rule = staticmethod(dns1035_label)
    metadata_rechecks = 1

    def __init__(self, network: IPv4Network = CLUSTER_NETWORK, randomness: random.Random | None = None) -> None:
        self.allocations = Allocations(network, randomness or random.Random())

    def restore(self, stored: Iterable[Object]) -> None:
        """Take over what stored Services hold, once at start."""
        self.allocations.rebuild(stored)

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        kind = spec.setdefault("type", "ClusterIP") or "ClusterIP"
        spec["type"] = kind
        _default_affinity(spec)
        for port in spec.get("ports") or ():
            if not port.get("protocol"):
                port["protocol"] = "TCP"
            if port.get("targetPort") in (None, 0, ""):
                port["targetPort"] = port.get("port", 0)
        if _is_external(spec) and not spec.get("externalTrafficPolicy"):
            spec["externalTrafficPolicy"] = "Cluster"
        if spec.get("internalTrafficPolicy") is None and kind in _ADDRESSED:
            spec["internalTrafficPolicy"] = "Cluster"
        if kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is None:
            spec["allocateLoadBalancerNodePorts"] = True
        status = obj.setdefault("status", {})
        for ingress in status.setdefault("loadBalancer", {}).get("ingress") or ():
            if kind == "LoadBalancer" and ingress.get("ip") and ingress.get("ipMode") is None:
                ingress["ipMode"] = "VIP"

    def initial_status(self, obj: Object) -> Object | None:
        return {"loadBalancer": {}}

    def prepare_create(self, obj: Object, context: RequestContext) -> None:
        super().prepare_create(obj, context)
        spec = obj["spec"]
        if spec.get("clusterIP") and not spec.get("clusterIPs"):
            spec["clusterIPs"] = [spec["clusterIP"]]
        if not spec.get("publishNotReadyAddresses"):
            spec.pop("publishNotReadyAddresses", None)

    def prepare_update(self, new: Object, old: Object, context: RequestContext) -> None:
        super().prepare_update(new, old, context)
        _carry_over(new["spec"], old["spec"])
        _drop_unused(new["spec"], old["spec"])

    def validate(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        validate_service(errors, obj)
        return errors

    def validate_create(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        errors = [*super().validate_create(obj, context)]
        # What the server gives out is part of the object, and giving it out can fail like a validation.
        return errors or self._allocate(obj, None, context)

    def validate_change(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        validate_service_change(errors, new, old)
        validate_service(errors, new)
        return errors or self._allocate(new, old, context)

    def validate_status(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        validate_load_balancer_status(errors, new)
        return errors

    def warnings(self, obj: Object, old: Object | None) -> Sequence[str]:
        found = []
        spec = obj["spec"]
        if old is not None and spec == old["spec"]:
            return ()
        if spec.get("trafficDistribution") == "PreferClose":
            found.append('spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"')
        if spec.get("type") == "ExternalName" and spec.get("externalIPs"):
            found.append('spec.externalIPs is ignored when spec.type is "ExternalName"')
        if spec.get("type") != "ExternalName" and spec.get("externalName"):
            found.append('spec.externalName is ignored when spec.type is not "ExternalName"')
        if is_headless(spec) and spec.get("loadBalancerIP"):
            found.append("spec.loadBalancerIP is ignored for headless services")
        if is_headless(spec) and spec.get("externalIPs"):
            found.append("spec.externalIPs is ignored for headless services")
        if is_headless(spec) and spec.get("sessionAffinity") == "ClientIP":
            found.append("spec.SessionAffinity is ignored for headless services")
        return found

    def _allocate(self, obj: Object, old: Object | None, context: RequestContext) -> Errors:
        """Families, addresses and ports of a valid Service, in place."""
        spec, errors = obj["spec"], list[FieldError]()
        if spec["type"] == "ExternalName":
            return errors
        holder = holder_of(obj)
        still_held = _asking(context)
        _default_families(errors, spec, old)
        if errors:
            return errors
        if not is_headless(spec):
            self._allocate_address(errors, spec, holder, still_held)
        if not errors and _wants_ports(spec):
            self._allocate_ports(errors, spec, holder, still_held, dry_run=context.dry_run)
        if not errors and not context.dry_run:
            self.allocations.keep(obj)
        return errors

    def _allocate_address(self, errors: Errors, spec: Object, holder: Holder, still_held: StillHeld) -> None:
        wanted = spec.get("clusterIP")
        if not wanted:
            try:
                spec["clusterIP"] = self.allocations.free_address(holder, still_held)
            except Full:
                detail = "failed to allocate a serviceIP: range is full"
                errors.append(invalid("spec.clusterIPs", [], detail))
                return
            spec["clusterIPs"] = [spec["clusterIP"]]
            return
        begin = f"failed to allocate IP {wanted}: "
        if not self.allocations.contains(wanted):
            detail = f"the provided IP ({wanted}) is not in the valid range. The range of valid IPs is "
            errors.append(invalid("spec.clusterIPs", spec["clusterIPs"], f"{begin}{detail}{self.allocations.network}"))
        elif self.allocations.address_taken(wanted, holder, still_held):
            detail = f"{begin}provided IP is already allocated"
            errors.append(invalid("spec.clusterIPs", spec["clusterIPs"], detail))

    def _allocate_ports(
        self, errors: Errors, spec: Object, holder: Holder, still_held: StillHeld, *, dry_run: bool
    ) -> None:
        taken = [port["nodePort"] for port in spec.get("ports") or () if port.get("nodePort")]
        for index, port in enumerate(spec.get("ports") or ()):
            wanted = port.get("nodePort")
            if not wanted:
                port["nodePort"] = self.allocations.free_port(holder, taken, still_held)
                taken.append(port["nodePort"])
            elif wanted not in NODE_PORTS:
                # A dry run only asks whether the port is taken.
                if not dry_run:
                    detail = f"provided port is not in the valid range. The range of valid ports is {_shown_range()}"
                    errors.append(invalid(f"spec.ports[{index}].nodePort", wanted, detail))
            elif self.allocations.port_taken(wanted, holder, still_held):
                detail = "provided port is already allocated"
                errors.append(invalid(f"spec.ports[{index}].nodePort", wanted, detail))
        if needs_health_check(spec) and not spec.get("healthCheckNodePort"):
            spec["healthCheckNodePort"] = self.allocations.free_port(holder, taken, still_held)


def _shown_range() -> str:
    return f"{NODE_PORTS.start}-{NODE_PORTS.stop - 1}"


def _asking(context: RequestContext) -> StillHeld:
    def still_held(holder: Holder, what: object) -> bool:
        service = context.lookup("", "services", *holder)
        return service is not None and (what in held_addresses(service) or what in held_ports(service))

    return still_held


def _wants_ports(spec: Object) -> bool:
    if spec["type"] == "LoadBalancer":
        return spec.get("allocateLoadBalancerNodePorts") is not False or any(
            port.get("nodePort") for port in spec.get("ports") or ()
        )
    return bool(spec["type"] == "NodePort")


def _is_external(spec: Object) -> bool:
    return spec["type"] in _PORTED or (spec["type"] == "ClusterIP" and bool(spec.get("externalIPs")))


def _default_affinity(spec: Object) -> None:
    if not spec.get("sessionAffinity"):
        spec["sessionAffinity"] = "None"
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    elif spec["sessionAffinity"] == "ClientIP":
        config = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
        if config.get("timeoutSeconds") is None:
            spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": _AFFINITY_TIMEOUT_S}}


def _default_families(errors: Errors, spec: Object, old: Object | None) -> None:
    """IP families of a cluster with IPv4 only."""
    families, policy = spec.get("ipFamilies") or [], spec.get("ipFamilyPolicy")
    if is_headless(spec) and not spec.get("selector"):
        # Without a selector nothing says which families its endpoints will have.
        if policy is None:
            spec["ipFamilyPolicy"] = "RequireDualStack" if len(families) != 1 else "SingleStack"
        if not families:
            both = spec["ipFamilyPolicy"] != "SingleStack"
            spec["ipFamilies"] = ["IPv4", "IPv6"] if both else ["IPv4"]
        elif len(families) == 1 and spec["ipFamilyPolicy"] != "SingleStack":
            spec["ipFamilies"] = [*families, "IPv6" if families[0] == "IPv4" else "IPv4"]
        return
    for index, family in enumerate(families):
        if family != "IPv4":
            errors.append(invalid(f"spec.ipFamilies[{index}]", family, "not configured on this cluster"))
    if policy == "RequireDualStack":
        detail = "this cluster is not configured for dual-stack services"
        errors.append(invalid("spec.ipFamilyPolicy", policy, detail))
    if errors:
        return
    if policy is None:
        spec["ipFamilyPolicy"] = "SingleStack"
    if not families:
        spec["ipFamilies"] = ["IPv4"]


def _carry_over(new: Object, old: Object) -> None:
    """An update that leaves out what the server gave keeps it, as long as the type still needs it."""
    if new["type"] == "ExternalName" or old["type"] == "ExternalName":
        if new.get("clusterIP") and not new.get("clusterIPs"):
            new["clusterIPs"] = [new["clusterIP"]]
        return
    if not new.get("clusterIP") and not new.get("clusterIPs"):
        for key in ("clusterIP", "clusterIPs"):
            if old.get(key):
                new[key] = old[key]
    elif new.get("clusterIP") and not _is_synced(new, old):
        new["clusterIPs"] = [new["clusterIP"]]
    elif not new.get("clusterIP") and new.get("clusterIPs") == old.get("clusterIPs"):
        new.pop("clusterIPs", None)
    for key in ("ipFamilies", "ipFamilyPolicy"):
        if not new.get(key) and old.get(key):
            new[key] = old[key]
    if _wants_ports(new) and _wants_ports(old):
        _carry_ports(new, old)
    if needs_health_check(new) and needs_health_check(old) and not new.get("healthCheckNodePort"):
        new["healthCheckNodePort"] = old.get("healthCheckNodePort")


def _is_synced(new: Object, old: Object) -> bool:
    """Whether the list of addresses is there, and was changed along with the single address."""
    if not new.get("clusterIPs"):
        return False
    return bool(new["clusterIP"] == old.get("clusterIP") or new["clusterIPs"] != old.get("clusterIPs"))


def _carry_ports(new: Object, old: Object) -> None:
    given = {(port.get("protocol"), port.get("port")): port.get("nodePort") for port in old.get("ports") or ()}
    used = {port.get("nodePort") for port in new.get("ports") or ()}
    for port in new.get("ports") or ():
        before = given.get((port.get("protocol"), port.get("port")))
        if not port.get("nodePort") and before and before not in used:
            port["nodePort"] = before


def _drop_unused(new: Object, old: Object) -> None:
    """Values that the old type needed and the new one does not go, unless the client changed them."""
    if new["type"] == old["type"]:
        return
    unneeded: list[str] = []
    if new["type"] == "ExternalName":
        unneeded += ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy")
    if not _is_external(new):
        unneeded.append("externalTrafficPolicy")
    if not needs_health_check(new):
        unneeded.append("healthCheckNodePort")
    if new["type"] != "LoadBalancer":
        unneeded += ("allocateLoadBalancerNodePorts", "loadBalancerClass")
    for key in unneeded:
        if new.get(key) == old.get(key):
            new.pop(key, None)
    if old["type"] in _PORTED and new["type"] not in _PORTED:
        before = [port.get("nodePort") for port in old.get("ports") or ()]
        for port in new.get("ports") or ():
            if port.get("nodePort") in before:
                port.pop("nodePort", None)

"""The group discovery.k8s.io, v1: EndpointSlice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from fairlead.embedded.apiserver.invalid import (
    FieldError,
    duplicate,
    invalid,
    not_supported,
    required,
    too_many,
)
from fairlead.embedded.apiserver.kinds.definition import resource_type
from fairlead.embedded.apiserver.kinds.errors import Errors, add_each, check_immutable
from fairlead.embedded.apiserver.kinds.names import Messages, dns_label, dns_subdomain, ip, qualified_name, special_ip
from fairlead.embedded.apiserver.kinds.strategy import ObjectStrategy
from fairlead.embedded.apiserver.registry import Object, RequestContext, ResourceType

ENDPOINTS_LIMIT = 1000
ADDRESSES_LIMIT = 100
PORTS_LIMIT = 20_000
ZONE_HINTS_LIMIT = 8

_ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")
_PROTOCOLS = ("SCTP", "TCP", "UDP")


class EndpointSliceStrategy(ObjectStrategy):
    """EndpointSlice."""

    def default(self, obj: Object) -> None:
        for port in obj.get("ports") or ():
            port.setdefault("name", "")
            port["protocol"] = port.get("protocol") or "TCP"

    def generation_changed(self, new: Object, old: Object) -> bool:
        labels, before = (obj["metadata"].get("labels") or {} for obj in (new, old))
        return labels != before or super().generation_changed(new, old)

    def validate(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        type_ = obj.get("addressType") or ""
        if not type_:
            errors.append(required("addressType"))
        elif type_ not in _ADDRESS_TYPES:
            errors.append(not_supported("addressType", type_, _ADDRESS_TYPES))
        _check_endpoints(errors, obj.get("endpoints") or (), type_)
        _check_ports(errors, obj.get("ports") or ())
        return errors

    def validate_change(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = [*self.validate(new, context)]
        check_immutable(errors, new.get("addressType"), old.get("addressType"), "addressType")
        return errors

    def warnings(self, obj: Object, old: Object | None) -> Sequence[str]:
        return ("spec.addressType: FQDN endpoints are deprecated",) if obj.get("addressType") == "FQDN" else ()


def _check_endpoints(errors: Errors, endpoints: Sequence[Mapping[str, Any]], type_: str) -> None:
    if len(endpoints) > ENDPOINTS_LIMIT:
        errors.append(too_many("endpoints", len(endpoints), ENDPOINTS_LIMIT))
        return
    for index, endpoint in enumerate(endpoints):
        path = f"endpoints[{index}]"
        _check_addresses(errors, endpoint.get("addresses") or (), f"{path}.addresses", type_)
        rules: tuple[tuple[str, Callable[[str], Messages]], ...] = (
            ("nodeName", dns_subdomain),
            ("hostname", dns_label),
        )
        for key, rule in rules:
            if endpoint.get(key) is not None:
                add_each(errors, f"{path}.{key}", endpoint[key], rule(endpoint[key]))
        _check_hints(errors, endpoint.get("hints") or {}, f"{path}.hints")


def _check_addresses(errors: Errors, addresses: Sequence[str], path: str, type_: str) -> None:
    if not addresses:
        errors.append(required(path, "must contain at least 1 address"))
    elif len(addresses) > ADDRESSES_LIMIT:
        errors.append(too_many(path, len(addresses), ADDRESSES_LIMIT))
    for index, address in enumerate(addresses):
        at = f"{path}[{index}]"
        if type_ == "FQDN":
            add_each(errors, at, address, _full_name(address))
        elif type_ in ("IPv4", "IPv6"):
            add_each(errors, at, address, _address(address, type_))


def _full_name(name: str) -> Messages:
    bare = name.removesuffix(".")
    problems = dns_subdomain(bare)
    if not problems and "." not in bare:
        return ("should be a domain with at least two segments separated by dots",)
    return problems


def _address(text: str, type_: str) -> Messages:
    problems = ip(text)
    if problems:
        return problems
    address = ip_address(text)
    if address.version != (4 if type_ == "IPv4" else 6):
        return (f"must be a valid {type_} address",)
    return special_ip(text)


def _check_hints(errors: Errors, hints: Mapping[str, Any], path: str) -> None:
    for key in ("forZones", "forNodes"):
        names = [item.get("name", "") for item in hints.get(key) or ()]
        if len(names) > ZONE_HINTS_LIMIT:
            errors.append(too_many(f"{path}.{key}", len(names), ZONE_HINTS_LIMIT))
            continue
        for index, name in enumerate(names):
            if name in names[:index]:
                errors.append(duplicate(f"{path}.{key}[{index}].name", name))


def _check_ports(errors: Errors, ports: Sequence[Mapping[str, Any]]) -> None:
    if len(ports) > PORTS_LIMIT:
        errors.append(too_many("ports", len(ports), PORTS_LIMIT))
        return
    seen: set[str] = set()
    for index, port in enumerate(ports):
        path, name = f"ports[{index}]", port.get("name") or ""
        if name:
            add_each(errors, f"{path}.name", name, dns_label(name))
        if name in seen:
            errors.append(duplicate(f"{path}.name", name))
        seen.add(name)
        protocol = port.get("protocol")
        if protocol is None:
            errors.append(required(f"{path}.protocol"))
        elif protocol not in _PROTOCOLS:
            errors.append(not_supported(f"{path}.protocol", protocol, _PROTOCOLS))
        application = port.get("appProtocol")
        if application is not None:
            add_each(errors, f"{path}.appProtocol", application, qualified_name(application))
        number = port.get("port")
        if number is not None and not 0 <= number <= 65535:
            errors.append(invalid(f"{path}.port", number, "must be between 0 and 65535, inclusive"))


def types() -> list[ResourceType]:
    """The kinds of discovery.k8s.io/v1."""
    return [
        resource_type(
            "discovery.k8s.io/v1",
            "endpointslices",
            "EndpointSlice",
            strategy=EndpointSliceStrategy(),
            has_generation=True,
        ),
    ]

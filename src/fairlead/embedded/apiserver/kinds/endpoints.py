"""Endpoints: addresses and ports of a Service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.invalid import FieldError, required
from fairlead.embedded.apiserver.kinds.errors import Errors, add_each, check_one_of
from fairlead.embedded.apiserver.kinds.names import (
    dns_label,
    dns_subdomain,
    ip,
    port_number,
    qualified_name,
    special_ip,
)
from fairlead.embedded.apiserver.kinds.strategy import ObjectStrategy
from fairlead.embedded.apiserver.registry import Object, RequestContext

_PROTOCOLS = ("SCTP", "TCP", "UDP")


class EndpointsStrategy(ObjectStrategy):
    metadata_rechecks = 1

    def default(self, obj: Object) -> None:
        for subset in obj.get("subsets") or ():
            for port in subset.get("ports") or ():
                if not port.get("protocol"):
                    port["protocol"] = "TCP"

    def validate(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        for index, subset in enumerate(obj.get("subsets") or ()):
            at = f"subsets[{index}]"
            if not subset.get("addresses") and not subset.get("notReadyAddresses"):
                errors.append(required(at, "must specify `addresses` or `notReadyAddresses`"))
            for key in ("addresses", "notReadyAddresses"):
                for place, address in enumerate(subset.get(key) or ()):
                    _validate_address(errors, address, f"{at}.{key}[{place}]")
            ports = subset.get("ports") or ()
            for place, port in enumerate(ports):
                _validate_port(errors, port, f"{at}.ports[{place}]", named=len(ports) > 1)
        return errors


def _validate_address(errors: Errors, address: Mapping[str, Any], path: str) -> None:
    value, hostname, node = address.get("ip", ""), address.get("hostname"), address.get("nodeName")
    messages = ip(value)
    add_each(errors, f"{path}.ip", value, messages)
    if hostname:
        add_each(errors, f"{path}.hostname", hostname, dns_label(hostname))
    if node is not None:
        add_each(errors, f"{path}.nodeName", node, dns_subdomain(node))
    add_each(errors, f"{path}.ip", value, ("must be a valid IP address",) if messages else special_ip(value))


def _validate_port(errors: Errors, port: Mapping[str, Any], path: str, *, named: bool) -> None:
    name, number = port.get("name", ""), port.get("port", 0)
    if name:
        add_each(errors, f"{path}.name", name, dns_label(name))
    elif named:
        errors.append(required(f"{path}.name"))
    add_each(errors, f"{path}.port", number, port_number(number))
    check_one_of(errors, port.get("protocol"), _PROTOCOLS, f"{path}.protocol")
    protocol = port.get("appProtocol")
    if protocol is not None:
        add_each(errors, f"{path}.appProtocol", protocol, qualified_name(protocol))

"""NetworkPolicy: which traffic selected pods accept and send. Stored for other programs; nothing here enforces it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_network
from typing import Any

from fairlead.embedded.apiserver.invalid import FieldError, forbidden, invalid, not_supported, required
from fairlead.embedded.apiserver.kinds.errors import Errors, add_each
from fairlead.embedded.apiserver.kinds.names import port_name, port_number
from fairlead.embedded.apiserver.kinds.selectors import validate_label_selector
from fairlead.embedded.apiserver.kinds.strategy import ObjectStrategy
from fairlead.embedded.apiserver.registry import Object, RequestContext

_TYPES = ("Ingress", "Egress")
_PROTOCOLS = ("TCP", "UDP", "SCTP")
_NOT_A_NETWORK = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
# Field of the spec -> field of a rule that lists its peers.
_DIRECTIONS = {"ingress": "from", "egress": "to"}


class NetworkPolicyStrategy(ObjectStrategy):
    """NetworkPolicy."""

    def default(self, obj: Object) -> None:
        spec = obj.get("spec")
        if not spec:
            return
        if not spec.get("policyTypes"):
            spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
        for direction in _DIRECTIONS:
            for rule in spec.get(direction) or ():
                for port in rule.get("ports") or ():
                    port["protocol"] = port.get("protocol") or "TCP"

    def validate(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        spec = obj.get("spec") or {}
        validate_label_selector(errors, spec.get("podSelector"), "spec.podSelector")
        for direction, peers in _DIRECTIONS.items():
            for index, rule in enumerate(spec.get(direction) or ()):
                path = f"spec.{direction}[{index}]"
                for number, port in enumerate(rule.get("ports") or ()):
                    _check_port(errors, port, f"{path}.ports[{number}]")
                for number, peer in enumerate(rule.get(peers) or ()):
                    _check_peer(errors, peer, f"{path}.{peers}[{number}]")
        _check_types(errors, spec.get("policyTypes") or ())
        return errors


def _check_types(errors: Errors, types: Sequence[str]) -> None:
    if len(types) > len(_TYPES):
        errors.append(invalid("spec.policyTypes", list(types), "may not specify more than two policyTypes"))
        return
    for index, type_ in enumerate(types):
        if type_ not in _TYPES:
            errors.append(not_supported(f"spec.policyTypes[{index}]", type_, _TYPES))


def _check_port(errors: Errors, port: Mapping[str, Any], path: str) -> None:
    if port.get("protocol") not in _PROTOCOLS:
        errors.append(not_supported(f"{path}.protocol", port.get("protocol"), _PROTOCOLS))
    first, last = port.get("port"), port.get("endPort")
    if isinstance(first, int):
        add_each(errors, f"{path}.port", first, port_number(first))
    elif first is not None:
        add_each(errors, f"{path}.port", first, port_name(first))
    if last is None:
        return
    if first is None:
        errors.append(invalid(f"{path}.endPort", last, "may not be specified when `port` is not specified"))
    elif isinstance(first, str):
        errors.append(invalid(f"{path}.endPort", last, "may not be specified when `port` is non-numeric"))
    else:
        if last < first:
            errors.append(invalid(f"{path}.endPort", first, "must be greater than or equal to `port`"))
        add_each(errors, f"{path}.endPort", last, port_number(last))


def _check_peer(errors: Errors, peer: Mapping[str, Any], path: str) -> None:
    block = peer.get("ipBlock")
    chosen = [key for key in ("podSelector", "namespaceSelector", "ipBlock") if peer.get(key) is not None]
    for key in ("podSelector", "namespaceSelector"):
        validate_label_selector(errors, peer.get(key), f"{path}.{key}")
    if block is not None:
        _check_block(errors, block, f"{path}.ipBlock")
    if not chosen:
        errors.append(required(path, "must specify a peer"))
    elif len(chosen) > 1 and block is not None:
        errors.append(forbidden(path, "may not specify both ipBlock and another peer"))


def _check_block(errors: Errors, block: Mapping[str, Any], path: str) -> None:
    text = block.get("cidr", "")
    if not text:
        errors.append(required(f"{path}.cidr"))
        return
    network = _network(errors, text, f"{path}.cidr")
    for index, part_text in enumerate(block.get("except") or ()):
        part_path = f"{path}.except[{index}]"
        part = _network(errors, part_text, part_path)
        if network is None or part is None:
            continue
        is_inside = part.version == network.version and part.subnet_of(network) and part != network
        if not is_inside:
            errors.append(invalid(part_path, part_text, "must be a strict subset of `cidr`"))


def _network(errors: Errors, text: str, path: str) -> Any:
    try:
        if "/" not in text:
            raise ValueError(text)
        return ip_network(text, strict=False)
    except ValueError:
        errors.append(invalid(path, text, _NOT_A_NETWORK))
        return None

"""Cluster IPs and node ports: which Service holds which. State that is rebuilt from the stored Services."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network, ip_address
from itertools import chain
from typing import Any, TypeVar

_Key = TypeVar("_Key", int, str)
Holder = tuple[str, str]
"""Namespace and name of a Service."""
StillHeld = Callable[[Holder, Any], bool]
"""Whether a Service still exists and still uses what it was given."""

NODE_PORTS = range(30000, 32768)
_ATTEMPTS = 64


class Full(Exception):
    """Nothing is left to give."""


class Allocations:
    """What Services hold. An entry whose Service is gone counts as free, so nothing has to report deletions."""

    def __init__(self, network: IPv4Network, randomness: random.Random) -> None:
        self.network = network
        self._randomness = randomness
        # address or port -> the Service that holds it
        self._addresses: dict[str, Holder] = {}
        self._ports: dict[int, Holder] = {}

    def rebuild(self, services: Iterable[Mapping[str, Any]]) -> None:
        """Forget everything and take over what stored Services hold."""
        self._addresses.clear()
        self._ports.clear()
        for service in services:
            self.keep(service)

    def keep(self, service: Mapping[str, Any]) -> None:
        """Remember what a Service holds."""
        holder = holder_of(service)
        for address in held_addresses(service):
            self._addresses[address] = holder
        for port in held_ports(service):
            self._ports[port] = holder

    def contains(self, address: str) -> bool:
        """Whether an address can be given to Services at all: neither the network itself nor its broadcast."""
        parsed = ip_address(address)
        if parsed not in self.network:
            return False
        return parsed not in (self.network.network_address, self.network.broadcast_address)

    def address_taken(self, address: str, holder: Holder, still_held: StillHeld) -> bool:
        """Whether another Service holds an address."""
        return _taken(self._addresses, address, holder, still_held)

    def port_taken(self, port: int, holder: Holder, still_held: StillHeld) -> bool:
        """Whether another Service holds a node port."""
        return _taken(self._ports, port, holder, still_held)

    def free_address(self, holder: Holder, still_held: StillHeld) -> str:
        """A free address, by chance first and in order where chance finds none. Raises Full."""
        first, last = int(self.network.network_address) + 1, int(self.network.broadcast_address) - 1
        tries = [self._randomness.randint(first, last) for _ in range(_ATTEMPTS)]
        for number in (*tries, *range(first, last + 1)):
            address = str(IPv4Address(number))
            if not self.address_taken(address, holder, still_held):
                return address
        raise Full

    def free_port(self, holder: Holder, avoid: Iterable[int], still_held: StillHeld) -> int:
        """A free node port apart from those in `avoid`. Raises Full."""
        avoided = set(avoid)
        tries = self._randomness.sample(NODE_PORTS, _ATTEMPTS)
        for port in chain(tries, NODE_PORTS):
            if port not in avoided and not self.port_taken(port, holder, still_held):
                return port
        raise Full


def _taken(held: dict[_Key, Holder], key: _Key, holder: Holder, still_held: StillHeld) -> bool:
    other = held.get(key)
    if other is None or other == holder:
        return False
    if still_held(other, key):
        return True
    del held[key]
    return False


def holder_of(service: Mapping[str, Any]) -> Holder:
    metadata = service.get("metadata") or {}
    return metadata.get("namespace", ""), metadata.get("name", "")


def held_addresses(service: Mapping[str, Any]) -> list[str]:
    spec = service.get("spec") or {}
    return [address for address in spec.get("clusterIPs") or () if address != "None"]


def held_ports(service: Mapping[str, Any]) -> list[int]:
    spec = service.get("spec") or {}
    ports = [port["nodePort"] for port in spec.get("ports") or () if port.get("nodePort")]
    if spec.get("healthCheckNodePort"):
        ports.append(spec["healthCheckNodePort"])
    return ports

"""A claim's wishes for its network ports, and what they come to. Pure.

The shape is that of google/dranet's NetworkConfig, as far as the Container Device Interface can carry it out: what
moves is the interface with its name, MTU and addresses; routes and rules are the pod's own business.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_interface

import msgspec

from fairlead.devices.errors import ConfigError
from fairlead.devices.vendor import ClaimReference

MIN_MTU, MAX_MTU = 68, 65520
"""The least that IPv4 needs; the most that IP over InfiniBand takes."""
_MAX_NAME_BYTES = 15
_NAME = re.compile(r"[^\s/:]+")


class InterfaceParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`name` in the container (the host's name where it is not given), `mtu` in bytes, `addresses` in CIDR form."""

    name: str = ""
    mtu: int | None = None
    addresses: tuple[str, ...] = ()


class NetworkParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """`rdma_only` leaves the interface on the host. `vhost_net` adds /dev/vhost-net and /dev/net/tun. `environment`
    tells NCCL and UCX to use the claim's ports and no others; a container that uses several such claims must do
    without, as one variable can only name the ports of one."""

    interface: InterfaceParameters = InterfaceParameters()
    rdma_only: bool = False
    vhost_net: bool = False
    environment: bool = False


@dataclass(frozen=True, slots=True)
class Wish:
    """One granted port: its device name, request, parameters, and the interface's name on the host (empty: none)."""

    device: str
    request: str
    parameters: NetworkParameters
    host_name: str = ""


@dataclass(frozen=True, slots=True)
class Move:
    """An interface that goes into the container."""

    device: str
    host_name: str
    name: str
    mtu: int | None
    addresses: tuple[str, ...]


def plan_moves(claim: ClaimReference, wishes: Sequence[Wish]) -> tuple[Move, ...]:
    """The interfaces that move and what they become. Raises ConfigError for wishes that make no sense or clash."""
    moves = [_move(claim, wish) for wish in wishes if wish.host_name and not wish.parameters.rdma_only]
    for index, move in enumerate(moves):
        twin = next((other for other in moves[:index] if other.name == move.name), None)
        if twin is not None:
            raise ConfigError(
                f'claim {claim}: ports {twin.device} and {move.device} would both be interface "{move.name}" in the '
                f"container; give each port a request and a configuration of its own, with interface.name"
            )
        shared = sorted(set(move.addresses) & {address for other in moves[:index] for address in other.addresses})
        if shared:
            raise ConfigError(f"claim {claim}: two ports would have address {shared[0]}; give each its own request")
    return tuple(moves)


def _move(claim: ClaimReference, wish: Wish) -> Move:
    where = f'claim {claim}: request "{wish.request}": interface'
    asked = wish.parameters.interface
    name = asked.name or wish.host_name
    if len(name.encode()) > _MAX_NAME_BYTES or not _NAME.fullmatch(name) or name in (".", "..", "lo"):
        raise ConfigError(
            f'{where}.name: "{name}" is no name for an interface: at most {_MAX_NAME_BYTES} bytes without spaces, '
            f'slashes and colons, such as "net1"'
        )
    if asked.mtu is not None and not MIN_MTU <= asked.mtu <= MAX_MTU:
        raise ConfigError(f"{where}.mtu: {asked.mtu} bytes; expected {MIN_MTU} to {MAX_MTU}")
    addresses: list[str] = []
    for address in asked.addresses:
        try:
            # A plain address would become one of a network of its own; that is rarely meant.
            parsed = ip_interface(address if "/" in address else "")
        except ValueError:
            raise ConfigError(f'{where}.addresses: "{address}" is no address such as "10.0.0.5/24"') from None
        if str(parsed) in addresses:
            raise ConfigError(f'{where}.addresses: "{address}" is there twice')
        addresses.append(str(parsed))
    return Move(wish.device, wish.host_name, name, asked.mtu, tuple(addresses))

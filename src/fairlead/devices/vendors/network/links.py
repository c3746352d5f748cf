"""Interfaces of the host, changed and asked over netlink (rtnetlink(7)).

A runtime that moves an interface into a container keeps its MTU and its permanent global addresses (OCI runtime
specification, "Network Devices"); so they are set before it moves.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Interface, ip_address, ip_interface
from typing import Protocol

TIMEOUT_S = 5.0

_SETLINK, _NEWADDR, _DELADDR, _GETADDR = 19, 20, 21, 22
_ERROR, _DONE = 2, 3
_REQUEST, _ACK, _DUMP, _REPLACE, _CREATE = 0x1, 0x4, 0x300, 0x100, 0x400
_IFLA_IFNAME, _IFLA_MTU = 3, 4
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_IFF_UP = 0x1
_HEADER = struct.Struct("=IHHII")
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ATTRIBUTE = struct.Struct("=HH")


class Links(Protocol):
    """What a driver does to interfaces of the host. Every method raises OSError; an interface that is not there is
    ENODEV."""

    def has(self, name: str) -> bool: ...

    def addresses(self, name: str) -> tuple[str, ...]:
        """Global addresses in CIDR form."""

    def configure(self, name: str, mtu: int | None, addresses: Sequence[str]) -> None:
        """Take the interface down and give it this MTU (None: as it is) and these addresses, beside those it has."""

    def remove(self, name: str, addresses: Sequence[str]) -> None:
        """Take these addresses away; one that is not there is no error."""

    def rename(self, name: str, new_name: str) -> None: ...


class NetlinkLinks:
    """The links of this process's network namespace."""

    def has(self, name: str) -> bool:
        return any(name == known for _, known in socket.if_nameindex())

    def addresses(self, name: str) -> tuple[str, ...]:
        index = _index(name)
        found: list[str] = []
        for kind, body in _exchange(_GETADDR, _DUMP, _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0)):
            if kind != _NEWADDR:
                continue
            _, prefix, _, scope, owner = _ADDRESS.unpack_from(body)
            if owner != index or scope != 0:
                continue
            attributes = dict(_attributes(body[_ADDRESS.size :]))
            packed = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS)
            if packed is not None:
                found.append(f"{ip_address(packed)}/{prefix}")
        return tuple(found)

    def configure(self, name: str, mtu: int | None, addresses: Sequence[str]) -> None:
        index = _index(name)
        # Down first: an address on an interface that is up would bring a route with it, on the host.
        attributes = b"" if mtu is None else _attribute(_IFLA_MTU, struct.pack("=I", mtu))
        _call(_SETLINK, 0, _LINK.pack(socket.AF_UNSPEC, 0, index, 0, _IFF_UP) + attributes)
        for address in addresses:
            _call(_NEWADDR, _CREATE | _REPLACE, _address(index, address))

    def remove(self, name: str, addresses: Sequence[str]) -> None:
        index = _index(name)
        for address in addresses:
            try:
                _call(_DELADDR, 0, _address(index, address))
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL:
                    raise

    def rename(self, name: str, new_name: str) -> None:
        index = _index(name)
        _call(_SETLINK, 0, _LINK.pack(socket.AF_UNSPEC, 0, index, 0, _IFF_UP))
        body = _LINK.pack(socket.AF_UNSPEC, 0, index, 0, 0) + _attribute(_IFLA_IFNAME, new_name.encode() + b"\0")
        _call(_SETLINK, 0, body)


def _index(name: str) -> int:
    """Python's own error has no number."""
    for index, known in socket.if_nameindex():
        if known == name:
            return index
    raise OSError(errno.ENODEV, f'no interface "{name}"')


def _address(index: int, address: str) -> bytes:
    parsed = ip_interface(address)
    family = socket.AF_INET if isinstance(parsed, IPv4Interface) else socket.AF_INET6
    packed = parsed.ip.packed
    body = _ADDRESS.pack(family, parsed.network.prefixlen, 0, 0, index)
    return body + _attribute(_IFA_LOCAL, packed) + _attribute(_IFA_ADDRESS, packed)


def _attribute(kind: int, value: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)


def _attributes(body: bytes) -> Iterator[tuple[int, bytes]]:
    while len(body) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(body)
        if length < _ATTRIBUTE.size:
            return
        yield kind, body[_ATTRIBUTE.size : length]
        body = body[length + -length % 4 :]


def _call(kind: int, flags: int, body: bytes) -> None:
    for _ in _exchange(kind, flags | _ACK, body):
        pass


def _exchange(kind: int, flags: int, body: bytes) -> Iterator[tuple[int, bytes]]:
    """Send one message and give the answers until the kernel says that there are no more."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as link:
        link.settimeout(TIMEOUT_S)
        link.bind((0, 0))
        link.send(_HEADER.pack(_HEADER.size + len(body), kind, flags | _REQUEST, 1, 0) + body)
        while True:
            for answer, content in _messages(link.recv(1 << 16)):
                if answer == _DONE:
                    return
                if answer == _ERROR:
                    code = -struct.unpack_from("=i", content)[0]
                    if code:
                        raise OSError(code, os.strerror(code))
                    return
                yield answer, content


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _HEADER.size:
        length, kind, _, _, _ = _HEADER.unpack_from(data)
        if length < _HEADER.size:
            return
        yield kind, data[_HEADER.size : length]
        data = data[length + -length % 4 :]

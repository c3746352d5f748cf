"""Which of a plugin's services the node uses: a pure decision over what the plugin says of itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

PLUGIN_TYPE = "DRAPlugin"
DRA_VERSIONS = ("v1.DRAPlugin", "v1beta1.DRAPlugin")
HEALTH_VERSIONS = ("v1.DRAResourceHealth", "v1alpha1.DRAResourceHealth")
"""Newest first, as a plugin announces them."""

MAX_SOCKET_PATH_BYTES = 107
_MAX_DRIVER_NAME = 63
_DRIVER_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


class RegistrationError(Exception):
    """A plugin cannot be used; the message is what the plugin is told."""


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """A plugin's answer to GetInfo."""

    type: str
    name: str
    endpoint: str
    versions: Sequence[str]


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is used of a plugin. `health` are the versions to try in this order: plugins did not always announce it."""

    driver: str
    endpoint: str
    dra: str
    health: tuple[str, ...]


def choose(info: PluginInfo, socket: str) -> Chosen:
    """Raises RegistrationError. A plugin that names no endpoint is served at its registration socket."""
    if info.type != PLUGIN_TYPE:
        raise RegistrationError(f"plugin type {info.type!r} at {socket} is not known here, expected {PLUGIN_TYPE!r}")
    if len(info.name) > _MAX_DRIVER_NAME or not _DRIVER_NAME.fullmatch(info.name):
        raise RegistrationError(
            f"driver name {info.name!r} at {socket} is not a DNS subdomain of at most {_MAX_DRIVER_NAME} characters"
        )
    endpoint = info.endpoint or socket
    if not endpoint.startswith("/"):
        raise RegistrationError(f"endpoint {endpoint!r} of driver {info.name} is not an absolute path of a Unix socket")
    if len(endpoint.encode()) > MAX_SOCKET_PATH_BYTES:
        raise RegistrationError(
            f"endpoint {endpoint} of driver {info.name} is longer than the {MAX_SOCKET_PATH_BYTES} bytes of a "
            "Unix socket's path"
        )
    dra = next((version for version in DRA_VERSIONS if version in info.versions), None)
    if dra is None:
        offered = ", ".join(info.versions) or "none"
        raise RegistrationError(
            f"driver {info.name} at {endpoint} offers services [{offered}], of which none is known here, "
            f"expected one of [{', '.join(DRA_VERSIONS)}]"
        )
    announced = tuple(version for version in HEALTH_VERSIONS if version in info.versions)
    return Chosen(info.name, endpoint, dra, announced[:1] or HEALTH_VERSIONS)

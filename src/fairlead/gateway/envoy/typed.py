"""The shapes in which Envoy's configuration names extensions, protocols and addresses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

TYPE = "type.googleapis.com/"

NO_LIMITS = {
    "thresholds": [
        {
            "max_connections": 1_000_000,
            "max_pending_requests": 1_000_000,
            "max_requests": 1_000_000,
            "max_retries": 1_000,
        }
    ]
}
"""Whom to send how much is the picker's decision; Envoy's own breakers would answer 503 in its place."""


def extension(name: str, type: str, **fields: Any) -> dict[str, Any]:
    """An extension by name, with its configuration of this type."""
    return {"name": name, "typed_config": typed(type, **fields)}


def typed(type: str, **fields: Any) -> dict[str, Any]:
    """A message of a type, as an Any."""
    return {"@type": TYPE + type, **fields}


def http_protocol(options: dict[str, Any]) -> dict[str, Any]:
    """`typed_extension_protocol_options` of a cluster."""
    name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {name: typed(name, **options)}


def address(where: Path | str) -> dict[str, Any]:
    """A unix socket's path, or host:port; brackets around an IPv6 address. Raises ValueError for another form."""
    if isinstance(where, Path):
        return {"pipe": {"path": str(where)}}
    host, _, port = where.rpartition(":")
    if not host or not port.isascii() or not port.isdigit():
        raise ValueError(f"address {where!r} is not host:port")
    return {"socket_address": {"address": host.removeprefix("[").removesuffix("]"), "port_value": int(port)}}


def endpoints(cluster: str, addresses: tuple[Path | str, ...]) -> dict[str, Any]:
    """`load_assignment` of a cluster with these addresses."""
    hosts = [{"endpoint": {"address": address(where)}} for where in addresses]
    return {"cluster_name": cluster, "endpoints": [{"lb_endpoints": hosts}]}

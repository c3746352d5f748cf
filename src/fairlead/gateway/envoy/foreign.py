"""A plain Envoy as other projects set it up for an endpoint picker: to try Fairlead's picker as a drop-in for theirs.

`ORIGINAL_DST` connects to the address in the header; `override_host` takes an ordered list from header or metadata and
goes on to the next where a retry is configured.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fairlead.gateway.envoy.typed import NO_LIMITS, address, endpoints, extension, http_protocol, typed
from fairlead.gateway.protocol import ENDPOINT_HEADER, ENDPOINT_SUBSET_HEADER

_SUBSET_NAMESPACE = "envoy.lb.subset_hint"
_LB_NAMESPACE = "envoy.lb"


def foreign_config(
    port: int,
    picker: str,
    admin: Path,
    *,
    endpoints: Sequence[str] = (),
    body_mode: str = "FULL_DUPLEX_STREAMED",
    subset_header: str = "",
    tls: bool = True,
) -> dict[str, Any]:
    """Envoy's bootstrap configuration, v3: `picker` is host:port.

    With `endpoints` the policy is `override_host` over them, without it is ORIGINAL_DST. `subset_header` names a
    request header whose value becomes the subset hint. `tls` to the picker is not verified, as its certificate is
    self-signed by default.
    """
    filters = [_ext_proc(body_mode), extension(_ROUTER, "envoy.extensions.filters.http.router.v3.Router")]
    if subset_header:
        filters.insert(0, _subset_hint(subset_header))
    manager = extension(
        "envoy.filters.network.http_connection_manager",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="foreign",
        http_filters=filters,
        route_config={
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [_route()]}],
        },
    )
    return {
        "admin": {"address": address(admin)},
        "static_resources": {
            "listeners": [
                {
                    "name": "requests",
                    "address": address(f"127.0.0.1:{port}"),
                    "per_connection_buffer_limit_bytes": 1024 * 1024,
                    "filter_chains": [{"filters": [manager]}],
                }
            ],
            "clusters": [_picker(picker, tls), _override_host(endpoints) if endpoints else _original_dst()],
        },
    }


_ROUTER = "envoy.filters.http.router"


def _ext_proc(body_mode: str) -> dict[str, Any]:
    return extension(
        "envoy.filters.http.ext_proc",
        "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor",
        grpc_service={"envoy_grpc": {"cluster_name": "picker"}, "timeout": "10s"},
        processing_mode={
            "request_header_mode": "SEND",
            "request_body_mode": body_mode,
            "request_trailer_mode": "SEND",
            "response_header_mode": "SEND",
            "response_body_mode": body_mode,
            "response_trailer_mode": "SEND",
        },
        response_attributes=["upstream.address"],
        metadata_options={
            "forwarding_namespaces": {"untyped": [_SUBSET_NAMESPACE, _LB_NAMESPACE]},
            "receiving_namespaces": {"untyped": [_LB_NAMESPACE]},
        },
        message_timeout="60s",
    )


def _subset_hint(header: str) -> dict[str, Any]:
    rule = {
        "header": header,
        "on_header_present": {"metadata_namespace": _SUBSET_NAMESPACE, "key": ENDPOINT_SUBSET_HEADER, "type": "STRING"},
    }
    return extension(
        "envoy.filters.http.header_to_metadata",
        "envoy.extensions.filters.http.header_to_metadata.v3.Config",
        request_rules=[rule],
    )


def _route() -> dict[str, Any]:
    retries = {"retry_on": "connect-failure", "num_retries": 2}
    return {"match": {"prefix": "/"}, "route": {"cluster": "pool", "timeout": "0s", "retry_policy": retries}}


def _picker(where: str, tls: bool) -> dict[str, Any]:
    cluster = {
        "name": "picker",
        "type": "STRICT_DNS",
        "connect_timeout": "5s",
        "load_assignment": endpoints("picker", (where,)),
        "circuit_breakers": NO_LIMITS,
        "typed_extension_protocol_options": http_protocol({"explicit_http_config": {"http2_protocol_options": {}}}),
    }
    if tls:
        name = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
        cluster["transport_socket"] = extension("envoy.transport_sockets.tls", name)
    return cluster


def _original_dst() -> dict[str, Any]:
    return {
        "name": "pool",
        "type": "ORIGINAL_DST",
        "connect_timeout": "2s",
        "lb_policy": "CLUSTER_PROVIDED",
        "original_dst_lb_config": {"use_http_header": True, "http_header_name": ENDPOINT_HEADER},
    }


def _override_host(addresses: Sequence[str]) -> dict[str, Any]:
    round_robin = {
        "policies": [
            {
                "typed_extension_config": extension(
                    "envoy.load_balancing_policies.round_robin",
                    "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin",
                )
            }
        ]
    }
    policy = typed(
        "envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost",
        override_host_sources=[
            {"metadata": {"key": _LB_NAMESPACE, "path": [{"key": ENDPOINT_HEADER}]}},
            {"header": ENDPOINT_HEADER},
        ],
        fallback_policy=round_robin,
    )
    name = "envoy.load_balancing_policies.override_host"
    return {
        "name": "pool",
        "type": "STATIC",
        "connect_timeout": "2s",
        "load_assignment": endpoints("pool", tuple(addresses)),
        "load_balancing_policy": {"policies": [{"typed_extension_config": {"name": name, "typed_config": policy}}]},
    }

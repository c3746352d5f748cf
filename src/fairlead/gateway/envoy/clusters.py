"""Whom Envoy connects to: the pickers, and endpoints by the address in a header.

A composite cluster takes the picked endpoint for the first attempt and the fallbacks for retries, so that a refused
connection goes to another endpoint without asking the picker again. Endpoints are never ejected here: clusters of type
ORIGINAL_DST know no health. The picker sees every failed attempt in the access log and leaves such endpoints alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairlead.gateway.envoy.options import PickerAddress
from fairlead.gateway.envoy.routes import ENGINES, ENGINES_H2C, WITHOUT_PICKER
from fairlead.gateway.envoy.typed import NO_LIMITS, endpoints, extension, http_protocol
from fairlead.gateway.protocol import ENDPOINT_HEADER, FALLBACK_HEADERS

PICKER = "picker"

_CONNECT_TIMEOUT = "2s"

_DEAD_PEERS = {"tcp_keepalive": {"keepalive_time": 15, "keepalive_interval": 5, "keepalive_probes": 3}}
"""A node that vanishes closes no connection: streams that wait for it end within half a minute."""


def clusters(pickers: Sequence[PickerAddress], without_picker: Sequence[str]) -> list[dict[str, Any]]:
    """All clusters of the configuration."""
    found = [_pickers(pickers)]
    if len(pickers) > 1:
        found += [_picker(log_cluster(index), [one], checked=False) for index, one in enumerate(pickers)]
    for name, protocol in ((ENGINES, _HTTP1), (ENGINES_H2C, _H2C)):
        found += [_engines(name), *_endpoints(name, protocol)]
    if without_picker:
        found.append(_without_picker(without_picker))
    return found


def log_cluster(index: int) -> str:
    """The cluster of one of several pickers, for its access log."""
    return f"{PICKER}-{index}"


def _pickers(pickers: Sequence[PickerAddress]) -> dict[str, Any]:
    return _picker(PICKER, pickers, checked=len(pickers) > 1)


def _picker(name: str, pickers: Sequence[PickerAddress], *, checked: bool) -> dict[str, Any]:
    named = any(isinstance(picker.where, str) and not _is_numeric(picker.where) for picker in pickers)
    cluster: dict[str, Any] = {
        "name": name,
        "type": "STRICT_DNS" if named else "STATIC",
        "connect_timeout": "1s",
        "load_assignment": endpoints(name, tuple(picker.where for picker in pickers)),
        "circuit_breakers": NO_LIMITS,
        "typed_extension_protocol_options": http_protocol(
            {
                "explicit_http_config": {
                    "http2_protocol_options": {
                        "connection_keepalive": {"interval": "2s", "timeout": "3s"},
                        "initial_stream_window_size": 1024 * 1024,
                        "initial_connection_window_size": 8 * 1024 * 1024,
                    }
                }
            }
        ),
    }
    if checked:
        # A picker that has no endpoints yet, or ends, is not asked; one that fails is tried again after a moment.
        cluster |= {
            "health_checks": [
                {
                    "timeout": "1s",
                    "interval": "1s",
                    "no_traffic_interval": "1s",
                    "unhealthy_threshold": 2,
                    "healthy_threshold": 1,
                    "grpc_health_check": {"service_name": "readiness"},
                }
            ],
            "outlier_detection": {
                "split_external_local_origin_errors": True,
                "consecutive_local_origin_failure": 2,
                "consecutive_5xx": 5,
                "interval": "1s",
                # Until the health checks have seen it, too.
                "base_ejection_time": "5s",
                "max_ejection_time": "10s",
                "max_ejection_percent": 100,
            },
            "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        }
    return cluster


def _engines(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "connect_timeout": _CONNECT_TIMEOUT,
        # Retries are counted here, at the route's cluster.
        "circuit_breakers": NO_LIMITS,
        "lb_policy": "CLUSTER_PROVIDED",
        "cluster_type": extension(
            "envoy.clusters.composite",
            "envoy.extensions.clusters.composite.v3.ClusterConfig",
            clusters=[{"name": part} for part, _ in _parts(name)],
        ),
    }


def _endpoints(name: str, protocol: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": part,
            "type": "ORIGINAL_DST",
            "connect_timeout": _CONNECT_TIMEOUT,
            "lb_policy": "CLUSTER_PROVIDED",
            "original_dst_lb_config": {"use_http_header": True, "http_header_name": header},
            "cleanup_interval": "60s",
            "circuit_breakers": NO_LIMITS,
            "upstream_connection_options": _DEAD_PEERS,
            "typed_extension_protocol_options": http_protocol(protocol),
        }
        for part, header in _parts(name)
    ]


def _parts(name: str) -> list[tuple[str, str]]:
    """(cluster of one attempt, header that says where it goes), in order of attempts."""
    headers = (ENDPOINT_HEADER, *FALLBACK_HEADERS)
    return [(f"{name}-{'picked' if not i else f'fallback-{i}'}", header) for i, header in enumerate(headers)]


def _without_picker(addresses: Sequence[str]) -> dict[str, Any]:
    return {
        "name": WITHOUT_PICKER,
        "type": "STRICT_DNS",
        "connect_timeout": _CONNECT_TIMEOUT,
        "lb_policy": "LEAST_REQUEST",
        "load_assignment": endpoints(WITHOUT_PICKER, tuple(addresses)),
        "circuit_breakers": NO_LIMITS,
        "outlier_detection": {"consecutive_gateway_failure": 3, "interval": "2s", "base_ejection_time": "5s"},
        "upstream_connection_options": _DEAD_PEERS,
        "typed_extension_protocol_options": http_protocol(_HTTP1),
    }


def _is_numeric(where: str) -> bool:
    host = where.rpartition(":")[0]
    return ":" in host or host.replace(".", "").isdigit()


_HTTP1 = {
    "explicit_http_config": {"http_protocol_options": {}},
    # Shorter than the keep-alive of the engines' servers, so that Envoy closes first.
    "common_http_protocol_options": {"idle_timeout": "4s"},
}
_H2C = {
    "explicit_http_config": {"http2_protocol_options": {"connection_keepalive": {"interval": "30s", "timeout": "10s"}}},
    "common_http_protocol_options": {"idle_timeout": "300s"},
}

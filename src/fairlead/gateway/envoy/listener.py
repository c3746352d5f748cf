"""The address that clients connect to: HTTP/1.1 and HTTP/2, plain or TLS, and what is taken of their headers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fairlead.gateway.envoy.filters import http_filters
from fairlead.gateway.envoy.local_replies import local_replies
from fairlead.gateway.envoy.logs import file_log, picker_logs
from fairlead.gateway.envoy.options import EnvoyOptions, ListenerTls, PickerAddress
from fairlead.gateway.envoy.routes import route_config
from fairlead.gateway.envoy.typed import extension, typed
from fairlead.gateway.protocol import (
    ENCODE_HEADER,
    ENDPOINT_HEADER,
    PREFILL_HEADER,
    TEST_ENDPOINT_HEADER,
)

_STREAM_IDLE_TIMEOUT = "900s"
"""How long a stream may be silent: the wait for the first token of a long prompt in a deep queue fits in."""

_BODY_TIMEOUT = "300s"
"""From a request's first byte to its last: slower clients are cut off."""

_CONNECTION_BUFFER_BYTES = 1024 * 1024

_TLS_SECRET = "listener"

_INTERNAL_PREFIXES = (ENDPOINT_HEADER, "x-fairlead-")
_INTERNAL = (PREFILL_HEADER, ENCODE_HEADER, "x-data-parallel-host-port", "x-kv-cache-source-host-port",
             "x-data-parallel-rank", "x-envoy-original-dst-host", TEST_ENDPOINT_HEADER)  # fmt: skip
"""Headers that say where requests go, to Envoy, to sidecars of engines or to ranks within them: the picker's alone to
set."""


def requests_listener(
    port: int, pickers: Sequence[PickerAddress], log: Path, options: EnvoyOptions, tls_secret_file: Path | None
) -> dict[str, Any]:
    """The listener; with `tls_secret_file` (see `tls_secret`) it speaks TLS."""
    chain: dict[str, Any] = {"filters": [_connection_manager(pickers, log, options)]}
    if tls_secret_file is not None:
        chain["transport_socket"] = _tls(tls_secret_file)
    return {
        "name": "requests",
        # One socket for all threads: a port that somebody else has is then an error at the start.
        "enable_reuse_port": False,
        "address": {"socket_address": {"address": options.bind, "port_value": port}},
        "per_connection_buffer_limit_bytes": _CONNECTION_BUFFER_BYTES,
        "filter_chains": [chain],
    }


def tls_secret(tls: ListenerTls) -> dict[str, Any]:
    """The file by which Envoy finds the certificate, and finds it again when its folder changes."""
    certificate = {
        "certificate_chain": {"filename": str(tls.certificate)},
        "private_key": {"filename": str(tls.key)},
        "watched_directory": {"path": str(tls.certificate.parent)},
    }
    name = "envoy.extensions.transport_sockets.tls.v3.Secret"
    return {"resources": [typed(name, name=_TLS_SECRET, tls_certificate=certificate)]}


def _tls(secret_file: Path) -> dict[str, Any]:
    source = {"path_config_source": {"path": str(secret_file)}, "resource_api_version": "V3"}
    return extension(
        "envoy.transport_sockets.tls",
        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        common_tls_context={
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_certificate_sds_secret_configs": [{"name": _TLS_SECRET, "sds_config": source}],
        },
    )


def _connection_manager(pickers: Sequence[PickerAddress], log: Path, options: EnvoyOptions) -> dict[str, Any]:
    return extension(
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
        request_timeout=_BODY_TIMEOUT,
        common_http_protocol_options={
            "idle_timeout": "3600s",
            "max_headers_count": 100,
            # A name with an underscore may be read as one with a hyphen behind the gateway.
            "headers_with_underscores_action": "DROP_HEADER",
        },
        http2_protocol_options={"max_concurrent_streams": 1000},
        early_header_mutation_extensions=[_without_internal_headers()],
        http_filters=http_filters(fail_open=bool(options.without_picker)),
        route_config=route_config(fail_open=bool(options.without_picker)),
        access_log=[file_log(log), *picker_logs(pickers)],
        local_reply_config=local_replies(),
    )


def _without_internal_headers() -> dict[str, Any]:
    prefixes = [{"remove_on_match": {"key_matcher": {"prefix": prefix}}} for prefix in _INTERNAL_PREFIXES]
    return extension(
        "envoy.http.early_header_mutation.header_mutation",
        "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
        mutations=[*prefixes, *({"remove": name} for name in _INTERNAL)],
    )

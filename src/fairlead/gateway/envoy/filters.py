"""The way of a request through Envoy's filters: the picker decides, the answer's token counts are noted, the router
connects."""

from __future__ import annotations

from importlib import resources
from typing import Any

from fairlead.gateway.envoy.typed import extension, typed
from fairlead.gateway.protocol import CONTROL_HEADERS

EXT_PROC = "envoy.filters.http.ext_proc"

_HOLD_TIMEOUT = "3600s"
"""How long the picker may take, as it may hold a request until a first replica has started; how long it really holds
is its own configuration. That the picker is alive is asked by PING."""

_PREFIXES = ("x-llm-d-", "x-gateway-", "x-slo-", "x-session-")
"""Of control headers; the others are named one by one."""


def http_filters(*, fail_open: bool) -> list[dict[str, Any]]:
    """In the order requests pass them; answers pass them backwards."""
    return [
        _picker(fail_open),
        _usage(),
        extension("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router"),
    ]


def _picker(fail_open: bool) -> dict[str, Any]:
    return extension(
        EXT_PROC,
        "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor",
        grpc_service={"envoy_grpc": {"cluster_name": "picker"}},
        failure_mode_allow=fail_open,
        status_on_error={"code": "ServiceUnavailable"},
        processing_mode=processing_mode("FULL_DUPLEX_STREAMED"),
        message_timeout=_HOLD_TIMEOUT,
        # What it says of a request for the answer, see `routes`.
        metadata_options={"receiving_namespaces": {"untyped": ["envoy.lb"]}},
        # The picker is shown what it reads: a third of the bytes, and no secrets.
        forward_rules={"allowed_headers": {"patterns": _control_headers()}},
    )


def processing_mode(request_body_mode: str) -> dict[str, str]:
    """The request's phase is the picker's, the answer's is not."""
    return {
        "request_header_mode": "SEND",
        "request_body_mode": request_body_mode,
        "request_trailer_mode": "SEND" if request_body_mode == "FULL_DUPLEX_STREAMED" else "SKIP",
        "response_header_mode": "SKIP",
        "response_body_mode": "NONE",
        "response_trailer_mode": "SKIP",
    }


def body_mode(request_body_mode: str) -> dict[str, Any]:
    """`typed_per_filter_config` of a route whose requests send their bodies to the picker in this mode."""
    return {
        EXT_PROC: typed(
            "envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute",
            overrides={"processing_mode": processing_mode(request_body_mode)},
        )
    }


def _control_headers() -> list[dict[str, str]]:
    single = sorted(name for name in CONTROL_HEADERS if not name.startswith(_PREFIXES))
    return [{"exact": name} for name in (":method", ":path", *single)] + [{"prefix": prefix} for prefix in _PREFIXES]


def _usage() -> dict[str, Any]:
    """Token counts of answers, as dynamic metadata; see `usage.lua`."""
    source = resources.files(__package__).joinpath("usage.lua").read_text()
    return extension(
        "envoy.filters.http.lua",
        "envoy.extensions.filters.http.lua.v3.Lua",
        default_source_code={"inline_string": source},
    )

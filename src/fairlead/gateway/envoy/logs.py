"""What is written of each request: a line in a file, and an entry for the picker that routed it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fairlead.gateway.envoy.clusters import PICKER, log_cluster
from fairlead.gateway.envoy.options import PickerAddress
from fairlead.gateway.envoy.typed import extension
from fairlead.gateway.protocol import FIRST_BODY_TAG, PICK_HEADER, USAGE_NAMESPACE

_LINE = {
    "time": "%START_TIME%",
    "request_id": "%REQUEST_HEADER(X-REQUEST-ID)%",
    "pick_id": f"%REQUEST_HEADER({PICK_HEADER})%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "protocol": "%PROTOCOL%",
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
    "first_body_byte_ms": "%COMMON_DURATION(DS_RX_BEG:US_RX_BODY_BEG:ms)%",
    "prompt_tokens": f"%DYNAMIC_METADATA({USAGE_NAMESPACE}:prompt)%",
    "output_tokens": f"%DYNAMIC_METADATA({USAGE_NAMESPACE}:output)%",
    "cached_tokens": f"%DYNAMIC_METADATA({USAGE_NAMESPACE}:cached)%",
}


def file_log(path: Path) -> dict[str, Any]:
    """One line of JSON per request."""
    return extension(
        "envoy.access_loggers.file",
        "envoy.extensions.access_loggers.file.v3.FileAccessLog",
        path=str(path),
        log_format={"json_format": _LINE},
    )


def picker_logs(pickers: Sequence[PickerAddress]) -> list[dict[str, Any]]:
    """Entries go to the picker whose pick they tell of; entries without a pick go nowhere."""
    if len(pickers) == 1:
        return [_picker_log(PICKER, "")]
    by_name = all(picker.replica for picker in pickers)
    return [_picker_log(log_cluster(index), picker.replica if by_name else "") for index, picker in enumerate(pickers)]


def _picker_log(cluster: str, replica: str) -> dict[str, Any]:
    match: dict[str, Any] = {"string_match": {"prefix": f"{replica}-"}} if replica else {"present_match": True}
    log = extension(
        "envoy.access_loggers.http_grpc",
        "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
        common_config={
            "log_name": "requests",
            "transport_api_version": "V3",
            "grpc_service": {"envoy_grpc": {"cluster_name": cluster}},
            "buffer_flush_interval": "0.05s",
            "buffer_size_bytes": 16_384,
            "custom_tags": [{"tag": FIRST_BODY_TAG, "value": "%COMMON_DURATION(DS_RX_BEG:US_RX_BODY_BEG:us)%"}],
        },
        additional_request_headers_to_log=[PICK_HEADER],
    )
    return {**log, "filter": {"header_filter": {"header": {"name": PICK_HEADER, **match}}}}

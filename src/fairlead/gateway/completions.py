"""Ends of requests, learned in batches from Envoy's access log instead of from the response path.

Protocol: envoy.service.accesslog.v3.AccessLogService.
"""

from __future__ import annotations

from collections.abc import Iterable

from envoy.data.accesslog.v3 import accesslog_pb2
from google.protobuf import duration_pb2

from fairlead.gateway.load import LoadTable
from fairlead.gateway.metrics import GatewayMetrics
from fairlead.gateway.protocol import PICK_HEADER


class Completions:
    """Takes access-log entries and lowers the counts of what they end."""

    def __init__(self, loads: LoadTable, metrics: GatewayMetrics) -> None:
        self._loads = loads
        self._metrics = metrics

    def take(self, entries: Iterable[accesslog_pb2.HTTPAccessLogEntry]) -> None:
        """Entries of requests that the gateway answered itself change nothing."""
        for entry in entries:
            common = entry.common_properties
            attempts = common.upstream_request_attempt_count
            request = self._loads.ended(entry.request.request_headers.get(PICK_HEADER, ""))
            picked = request.address if request else None
            if picked is not None and (attempts > 1 or common.response_flags.upstream_connection_failure):
                self._loads.connect_failed(picked)
            if picked is None and not attempts:
                continue
            self._metrics.completed(
                code=entry.response.response_code.value,
                duration_s=_seconds(common.duration),
                first_byte_s=(
                    _seconds(common.time_to_first_downstream_tx_byte)
                    if common.HasField("time_to_first_downstream_tx_byte")
                    else None
                ),
                attempts=attempts,
            )


def _seconds(duration: duration_pb2.Duration) -> float:
    return float(duration.seconds + duration.nanos / 1e9)

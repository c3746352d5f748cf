"""Ends of requests, learned in batches from Envoy's access log instead of from the response path.

Times, attempts and flags are Envoy's own; token counts and the number of events come from dynamic metadata that a
filter of Fairlead's Envoy writes (`envoy.usage`). Entries of requests that the gateway answered itself have no pick
and are passed over.

Protocol: envoy.service.accesslog.v3.AccessLogService.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping

from envoy.data.accesslog.v3 import accesslog_pb2
from envoy.service.accesslog.v3 import als_pb2
from google.protobuf import duration_pb2, struct_pb2
from google.protobuf.message import DecodeError

from fairlead.gateway.protocol import FIRST_BODY_TAG, PICK_HEADER, USAGE_NAMESPACE
from fairlead.gateway.route import Completion, Directing
from fairlead.gateway.transport.call import Stream

_INVALID_ARGUMENT = 3
_MOST_TOKENS = 1e12
_TURN_ENTRIES = 8
_EMPTY = als_pb2.StreamAccessLogsResponse().SerializeToString()
_Message = als_pb2.StreamAccessLogsMessage.FromString


class AccessLog:
    """A stream of access-log messages: a `transport.Call` that tells the director of each end.

    A batch may tell of hundreds of requests. They are taken a few at a time, between which requests that come are
    decided on; otherwise each batch would hold those up for as long as it takes.
    """

    __slots__ = ("_directing", "_stream", "_waiting")

    def __init__(self, stream: Stream, directing: Directing) -> None:
        self._stream = stream
        self._directing = directing
        self._waiting: deque[accesslog_pb2.HTTPAccessLogEntry] = deque()

    def message(self, data: bytes) -> None:
        """A batch of entries."""
        try:
            batch = _Message(data)
        except DecodeError:
            self._stream.fail(_INVALID_ARGUMENT, "not a StreamAccessLogsMessage")
            return
        begins = not self._waiting
        self._waiting.extend(batch.http_logs.log_entry)
        if begins and self._waiting:
            self._take()

    def half_closed(self) -> None:
        """Envoy ends its log."""
        self._stream.send((_EMPTY,), end=True)

    def closed(self) -> None:
        """Envoy has gone; what it had not sent is lost, and scrapes correct the counts."""

    def _take(self) -> None:
        """The next few; more of them the more there are, so that the log never falls behind."""
        waiting = self._waiting
        for _ in range(min(len(waiting), max(_TURN_ENTRIES, len(waiting) >> 3))):
            completion = completion_of(waiting.popleft())
            if completion is not None:
                self._directing.completed(completion)
        if waiting:
            asyncio.get_running_loop().call_soon(self._take)


def completion_of(entry: accesslog_pb2.HTTPAccessLogEntry) -> Completion | None:
    """The end an entry tells of; None when the request was never routed."""
    pick_id = entry.request.request_headers.get(PICK_HEADER)
    if not pick_id:
        return None
    common = entry.common_properties
    flags = common.response_flags
    attempts = common.upstream_request_attempt_count
    code = entry.response.response_code.value
    first_s = _first_body_s(common.custom_tags.get(FIRST_BODY_TAG, ""))
    if first_s is None and common.HasField("time_to_first_downstream_tx_byte"):
        first_s = _seconds(common.time_to_first_downstream_tx_byte)
    spaces = common.metadata.filter_metadata
    usage = spaces[USAGE_NAMESPACE].fields if USAGE_NAMESPACE in spaces else None
    if first_s is not None and usage is not None and "token_wait_ms" in usage:
        first_s += usage["token_wait_ms"].number_value / 1e3
    unconnected = flags.upstream_connection_failure
    return Completion(
        pick_id,
        code,
        _seconds(common.duration),
        first_byte_s=first_s,
        last_byte_s=(
            _seconds(common.time_to_last_upstream_rx_byte) if common.HasField("time_to_last_upstream_rx_byte") else None
        ),
        attempts=attempts,
        served=_address(common) if common.HasField("time_to_first_upstream_rx_byte") else "",
        prompt_tokens=_number(usage, "prompt"),
        output_tokens=_number(usage, "output"),
        cached_tokens=_number(usage, "cached"),
        connect_failed=attempts > 1 or unconnected,
        died=flags.upstream_connection_termination or flags.upstream_remote_reset or flags.upstream_protocol_error,
        client_left=flags.downstream_connection_termination or flags.downstream_remote_reset,
        stream_events=_number(usage, "events"),
    )


def _address(common: accesslog_pb2.AccessLogCommon) -> str:
    """ip:port of the endpoint; brackets around an IPv6 address."""
    socket = common.upstream_remote_address.socket_address
    host = socket.address
    if not host:
        return ""
    return f"[{host}]:{socket.port_value}" if ":" in host else f"{host}:{socket.port_value}"


def _number(fields: Mapping[str, struct_pb2.Value] | None, key: str) -> int | None:
    if fields is None or key not in fields:
        return None
    value = fields[key].number_value
    # An engine may say what it likes: digits by the hundred are an infinity here.
    return int(value) if 0.0 <= value < _MOST_TOKENS else None


def _first_body_s(text: str) -> float | None:
    """A duration in microseconds as Envoy writes it; `-` where there was none."""
    return int(text) / 1e6 if text.isdigit() else None


def _seconds(duration: duration_pb2.Duration) -> float:
    return float(duration.seconds + duration.nanos / 1e9)

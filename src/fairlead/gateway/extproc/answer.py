"""An answer as a foreign gateway shows it in passing: when it began and ended, who gave it, and its token counts.

Each part costs two references: only the first and last bytes of the whole are ever read.
"""

from __future__ import annotations

from envoy.service.ext_proc.v3 import external_processor_pb2 as pb

from fairlead.gateway.extproc.listener import BodyMode
from fairlead.gateway.extproc.metadata import LB_NAMESPACE, served_by
from fairlead.gateway.extproc.usage import KEPT_BYTES, usage_in
from fairlead.gateway.protocol import TEST_SERVED_HEADER
from fairlead.gateway.route import Completion, Route

_ENVOY_COULD_NOT = b"upstream connect error or disconnect/reset before headers"
"""How Envoy begins its own answer in place of an endpoint's."""
_EVENT_STREAM = "text/event-stream"
_EVENT = b"data:"
"""Begins an event; generated text that has it as well is counted too, which a number of tokens near it bears."""


class Answer:
    """What is kept of an answer."""

    __slots__ = (
        "_began_s", "_code", "_events", "_first", "_first_s", "_last", "_last_s", "_lb_metadata", "_served",
        "_streamed", "body_mode", "reported",
    )  # fmt: skip

    def __init__(self, request: pb.ProcessingRequest, request_mode: BodyMode, began_s: float) -> None:
        """`request` is the gateway's first message."""
        self.body_mode = request_mode
        if request.HasField("protocol_config"):
            self.body_mode = BodyMode.of(request.protocol_config.response_body_mode, request_mode)
        self.reported = False
        self._began_s = began_s
        self._code = 0
        self._served = ""
        self._lb_metadata = False
        self._streamed = False
        self._events = 0
        self._first = b""
        self._last = b""
        self._first_s: float | None = None
        self._last_s: float | None = None

    @property
    def expected(self) -> bool:
        """Whether more of the answer was to come: a gateway that shows no bodies may show no answer at all."""
        return bool(self._code) or self.body_mode is not BodyMode.NONE

    def head(self, message: pb.ProcessingRequest, now_s: float) -> None:
        """The answer's headers."""
        for header in message.response_headers.headers.headers:
            if header.key == ":status":
                text = header.raw_value or header.value.encode()
                self._code = int(text) if text.isdigit() else 0
            elif header.key == "content-type":
                self._streamed = _EVENT_STREAM in (header.raw_value.decode("latin-1") or header.value)
        self._served = served_by(message)
        self._lb_metadata = LB_NAMESPACE in message.metadata_context.filter_metadata
        self._last_s = now_s

    def part(self, body: bytes | memoryview, now_s: float) -> None:
        """A part of the answer's body."""
        self._last_s = now_s
        size = len(body)
        if not size:
            return
        if self._first_s is None:
            self._first_s = now_s
        text = bytes(body)
        if self._streamed:
            self._events += text.count(_EVENT)
        if len(self._first) < KEPT_BYTES:
            self._first += text[: KEPT_BYTES - len(self._first)]
        self._last = text[-KEPT_BYTES:] if size >= KEPT_BYTES else self._last[size - KEPT_BYTES :] + text

    def conformance_headers(self) -> tuple[tuple[str, str]]:
        """What the conformance tests look for in answers."""
        served = self._served or (
            "fail: missing destination endpoint served metadata"
            if self._lb_metadata
            else "fail: missing envoy lb metadata"
        )
        return ((TEST_SERVED_HEADER, served),)

    def completion(self, route: Route, now_s: float, *, left: bool) -> Completion:
        """The end of the request; `left` when the gateway dropped it before the answer was whole."""
        usage = usage_in(self._first, self._last)
        failed = self._code == 503 and not self._streamed and self._first.startswith(_ENVOY_COULD_NOT)
        unconnected = failed and b"connection" in self._first and b"termination" not in self._first
        elsewhere = bool(self._served) and self._served != route.pick.address
        first_s = self._first_s if self._first_s is not None else (self._last_s if self._code else None)
        return Completion(
            route.pick_id,
            self._code,
            now_s - self._began_s,
            first_byte_s=first_s - self._began_s if first_s is not None else None,
            last_byte_s=self._last_s - self._began_s if self._last_s is not None else None,
            attempts=2 if elsewhere else 1,
            served=self._served or ("" if failed or not self._code else route.pick.address),
            prompt_tokens=usage.prompt_tokens,
            output_tokens=usage.output_tokens,
            cached_tokens=usage.cached_tokens,
            connect_failed=unconnected or elsewhere,
            died=failed and not unconnected,
            client_left=left,
            stream_events=self._events if self._streamed else None,
        )

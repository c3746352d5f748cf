"""One request as Envoy's external processor sees it: messages in, messages out, no transport.

Headers are held until the body has ended where the model name is in the body; where the path names the model they go on
at once, and the body, which is not read, follows part by part. The answers leave in the order the protocol wants:
headers (with the endpoint), the body in frames, trailers if there were any. After that the session is over and the
stream is closed, so that no response byte passes through Python.

Protocol: envoy.service.ext_proc.v3 with request bodies FULL_DUPLEX_STREAMED; endpoint picker protocol of
the Gateway API Inference Extension.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from envoy.config.core.v3 import base_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from envoy.type.v3 import http_status_pb2

from fairlead.gateway import errors
from fairlead.gateway.director import Director, Route
from fairlead.gateway.errors import JSON, Reply
from fairlead.gateway.protocol import ENDPOINT_HEADER, FALLBACK_HEADERS, PICK_HEADER

MAX_FRAME_BYTES = 62_000
"""Largest body frame of an answer: Envoy's ext_proc limit of 64 kB with room for the message around it."""

MAX_BODY_BYTES = 64 * 1024 * 1024

_REPLACE = base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD


@dataclass(slots=True)
class Session:
    """State of one request. `feed` each message until `done`."""

    director: Director
    max_body_bytes: int = MAX_BODY_BYTES
    outcome: Route | Reply | None = None
    done: bool = False
    _body: list[bytes] = field(default_factory=list)
    _body_bytes: int = 0

    def feed(self, message: pb.ProcessingRequest) -> list[pb.ProcessingResponse]:
        """The answers to send now. Response-phase messages of foreign gateways are waved through."""
        kind = message.WhichOneof("request")
        if kind == "request_headers":
            return self._headers(message.request_headers)
        if kind == "request_body":
            return self._part(message.request_body)
        if kind == "request_trailers":
            return self._trailers()
        self.done = True
        return []

    def _headers(self, headers: pb.HttpHeaders) -> list[pb.ProcessingResponse]:
        method, target = "", ""
        for header in headers.headers.headers:
            if header.key == ":method":
                method = _value(header)
            elif header.key == ":path":
                target = _value(header)
        outcome = self.director.decide_on_headers(method, target)
        if outcome is None and headers.end_of_stream:
            outcome = errors.bad_request("The request has no body; a JSON body with `model` is needed.", "model")
        if isinstance(outcome, Reply):
            return self._answer(outcome)
        if outcome is None:
            return []
        self.outcome, self.done = outcome, headers.end_of_stream
        return [_routed(outcome)]

    def _part(self, part: pb.HttpBody) -> list[pb.ProcessingResponse]:
        self._body_bytes += len(part.body)
        if self._body_bytes > self.max_body_bytes:
            self._body.clear()
            refusal = errors.too_large(self.max_body_bytes)
            return self._answer(refusal if self.outcome is None else errors.in_v2_form(refusal))
        if self.outcome is not None:
            self.done = part.end_of_stream
            return list(_frames(part.body, ends=part.end_of_stream))
        if part.body:
            self._body.append(part.body)
        return self._finish(trailers=False) if part.end_of_stream else []

    def _trailers(self) -> list[pb.ProcessingResponse]:
        if self.outcome is None:
            return self._finish(trailers=True)
        self.done = True
        return [pb.ProcessingResponse(request_trailers=pb.TrailersResponse())]

    def _finish(self, *, trailers: bool) -> list[pb.ProcessingResponse]:
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        outcome = self.director.route(body)
        if isinstance(outcome, Reply):
            return self._answer(outcome)
        self.outcome, self.done = outcome, True
        answers = [_routed(outcome, body_bytes=len(body))]
        answers.extend(_frames(body, ends=not trailers))
        if trailers:
            answers.append(pb.ProcessingResponse(request_trailers=pb.TrailersResponse()))
        return answers

    def _answer(self, reply: Reply) -> list[pb.ProcessingResponse]:
        self.outcome, self.done = reply, True
        headers = {"content-type": JSON, **reply.headers}
        immediate = pb.ImmediateResponse(
            status=http_status_pb2.HttpStatus(code=reply.status),
            headers=pb.HeaderMutation(set_headers=[_header(k, v.encode()) for k, v in headers.items()]),
            body=reply.body,
            details=f"fairlead_{reply.reason}",
        )
        return [pb.ProcessingResponse(immediate_response=immediate)]


def _routed(route: Route, body_bytes: int | None = None) -> pb.ProcessingResponse:
    """The headers go on to the endpoint; `body_bytes` is said where the whole body is known."""
    pick = route.pick
    address = pick.address.encode()
    mutation = pb.HeaderMutation(
        set_headers=[
            _header(ENDPOINT_HEADER, address),
            _header(PICK_HEADER, route.pick_id.encode()),
        ]
    )
    if body_bytes is not None:
        mutation.set_headers.append(_header("content-length", b"%d" % body_bytes))
    for name, fallback in zip(FALLBACK_HEADERS, pick.fallbacks, strict=False):
        mutation.set_headers.append(_header(name, fallback.encode()))
    response = pb.ProcessingResponse(
        request_headers=pb.HeadersResponse(response=pb.CommonResponse(header_mutation=mutation, clear_route_cache=True))
    )
    response.dynamic_metadata["envoy.lb"] = {ENDPOINT_HEADER: pick.address}
    return response


def _frames(body: bytes, *, ends: bool) -> Iterable[pb.ProcessingResponse]:
    view = memoryview(body)
    last = max(0, len(body) - 1) // MAX_FRAME_BYTES
    for index in range(last + 1):
        frame = bytes(view[index * MAX_FRAME_BYTES : (index + 1) * MAX_FRAME_BYTES])
        streamed = pb.StreamedBodyResponse(body=frame, end_of_stream=ends and index == last)
        mutation = pb.BodyMutation(streamed_response=streamed)
        yield pb.ProcessingResponse(request_body=pb.BodyResponse(response=pb.CommonResponse(body_mutation=mutation)))


def _header(name: str, value: bytes) -> base_pb2.HeaderValueOption:
    return base_pb2.HeaderValueOption(header=base_pb2.HeaderValue(key=name, raw_value=value), append_action=_REPLACE)


def _value(header: base_pb2.HeaderValue) -> str:
    return header.raw_value.decode("latin-1") if header.raw_value else str(header.value)

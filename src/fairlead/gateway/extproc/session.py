"""One request of a gateway: its head and body in, where it goes out. Envoy's protocol is known here and nowhere else.

The head is held back until the body has ended and the decision is made; then head, body and trailers are answered in
one write. The session of Fairlead's own Envoy ends there, and the answer's bytes never pass the picker. That of a
foreign gateway may go on through the answer (`answer.Answer`).

Protocol: envoy.service.ext_proc.v3.ExternalProcessor as the Endpoint Picker Protocol uses it. A gateway may also hold
the body itself (BUFFERED); one that sends none (NONE), or only after the head was answered (STREAMED), is served where
the head alone decides.
"""

from __future__ import annotations

from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from google.protobuf.message import DecodeError

from fairlead.clock import Clock
from fairlead.gateway import errors
from fairlead.gateway.errors import Reply
from fairlead.gateway.extproc import refusals, wire
from fairlead.gateway.extproc.answer import Answer
from fairlead.gateway.extproc.listener import BodyMemory, BodyMode, Listener
from fairlead.gateway.extproc.metadata import addresses, subset_of
from fairlead.gateway.protocol import (
    CONTROL_HEADERS,
    ENDPOINT_HEADER,
    FALLBACK_HEADERS,
    PICK_HEADER,
    TEST_ENDPOINT_HEADER,
    TEST_SERVED_HEADER,
    TRAILERS_HEADER,
)
from fairlead.gateway.route import Directing, Held, Outcome, RequestHead, Route
from fairlead.gateway.transport.call import Stream

_INVALID_ARGUMENT = 3
_FULL_DUPLEX = BodyMode.FULL_DUPLEX_STREAMED
_BUFFERED = frozenset((BodyMode.BUFFERED, BodyMode.BUFFERED_PARTIAL))
_PICK_HEADER = PICK_HEADER.encode()
_ProcessingRequest = pb.ProcessingRequest.FromString


class Session:
    """State of one request: a `transport.Call`."""

    __slots__ = (
        "_answer", "_clock", "_counted", "_directing", "_done", "_head", "_held", "_listener", "_memory", "_mode",
        "_parts", "_route", "_size", "_stream", "_trailers",
    )  # fmt: skip

    def __init__(
        self, stream: Stream, directing: Directing, listener: Listener, memory: BodyMemory, clock: Clock
    ) -> None:
        self._stream = stream
        self._directing = directing
        self._listener = listener
        self._memory = memory
        self._clock = clock
        self._head: RequestHead | None = None
        self._mode = listener.assumed_body_mode
        self._parts: list[bytes | memoryview] = []
        self._size = 0
        self._counted = False
        self._trailers = False
        self._held: Held | None = None
        self._route: Route | None = None
        self._answer: Answer | None = None
        self._done = False

    def message(self, data: bytes) -> None:
        """The gateway's next message."""
        if self._done or not data:
            return
        kind = data[0]
        if kind == wire.REQUEST_BODY and (part := wire.body_part(data)) is not None:
            self._part(*part)
        elif kind == wire.RESPONSE_BODY and self._answer is not None and (part := wire.body_part(data)) is not None:
            self._answer_part(*part)
        else:
            try:
                message = _ProcessingRequest(data)
            except DecodeError:
                self._leave()
                self._stream.fail(_INVALID_ARGUMENT, "not a ProcessingRequest")
                return
            self._take(message)

    def half_closed(self) -> None:
        """The gateway has nothing more to say of the request."""
        if not self._done:
            self._leave(left=self._answer is None or self._answer.expected)
            self._stream.send((), end=True)

    def closed(self) -> None:
        """The request is over for the gateway: the client has left, or the answer is whole."""
        if not self._done:
            self._leave()

    def timed_out(self) -> None:
        """The body has taken too long."""
        if not self._done:
            self._refuse_unread(refusals.body_timeout())

    def _take(self, message: pb.ProcessingRequest) -> None:
        kind = message.WhichOneof("request")
        if kind == "request_headers":
            self._begin(message)
        elif kind == "request_body":
            self._part(message.request_body.body, message.request_body.end_of_stream)
        elif kind == "request_trailers":
            self._request_trailers()
        elif kind == "response_headers":
            self._answer_head(message)
        elif kind == "response_body":
            self._answer_part(message.response_body.body, message.response_body.end_of_stream)
        elif kind == "response_trailers":
            self._answer_trailers()

    # The request's head.

    def _begin(self, message: pb.ProcessingRequest) -> None:
        if self._head is not None:
            return
        received_s = self._clock.monotonic_s()
        method = target = ""
        read: dict[str, str] = {}
        for header in message.request_headers.headers.headers:
            name = header.key
            if name == ":path":
                target = _value(header.raw_value, header.value)
            elif name == ":method":
                method = _value(header.raw_value, header.value)
            elif name in CONTROL_HEADERS:
                read[name] = _value(header.raw_value, header.value)
        ends = message.request_headers.end_of_stream
        head = self._head = RequestHead(method, target, read, None, received_s, ends)
        if message.HasField("protocol_config"):
            self._mode = BodyMode.of(message.protocol_config.request_body_mode, self._mode)
        if self._listener.foreign:
            self._foreign_head(message, head)
        outcome = self._directing.decide_on_headers(head)
        if outcome is not None:
            self._decided_by_head(outcome, ends=ends)
        elif ends:
            self._refuse_unread(
                errors.bad_request("The request has no body; a JSON body with `model` is needed.", "model")
            )
        elif self._mode is _FULL_DUPLEX or self._mode in _BUFFERED:
            self._counted = True
            self._memory.begin(self, received_s)
            if self._mode is not _FULL_DUPLEX:
                self._stream.send((wire.CONTINUE_REQUEST_HEADERS,))
        else:
            self._refuse_unread(refusals.no_body_sent(self._mode.name))

    def _foreign_head(self, message: pb.ProcessingRequest, head: RequestHead) -> None:
        """What a foreign gateway says beside the headers."""
        head.subset = subset_of(message)
        if self._listener.conformance and (chosen := head.headers.get(TEST_ENDPOINT_HEADER)):
            head.subset = tuple(addresses(chosen))
        if self._listener.observes:
            self._answer = Answer(message, self._mode, head.received_s)

    def _decided_by_head(self, outcome: Outcome, *, ends: bool) -> None:
        if isinstance(outcome, Reply):
            self._refuse(outcome)
            return
        self._route = outcome
        answer = wire.request_headers(self._headers(outcome), self._metadata(outcome))
        over = ends or self._mode is BodyMode.NONE
        self._send([answer], phase_over=over)

    # The request's body.

    def _part(self, body: bytes | memoryview, ends: bool) -> None:
        if self._head is None or self._held is not None:
            return
        size = len(body)
        if self._size + size > self._listener.max_body_bytes:
            self._refuse_unread(errors.too_large(self._listener.max_body_bytes))
            return
        if self._route is not None:
            self._size += size
            self._pass_on(body, ends)
            return
        if not self._memory.take(size, self._size):
            self._refuse_unread(refusals.no_memory())
            return
        self._size += size
        if size:
            self._parts.append(body)
        if ends or self._mode is BodyMode.BUFFERED:
            # A body that the gateway holds comes at once; it does not end the stream where trailers follow.
            self._body_is_whole()
        elif self._mode is BodyMode.BUFFERED_PARTIAL:
            self._refuse_unread(refusals.too_large_for_gateway(self._size))

    def _pass_on(self, body: bytes | memoryview, ends: bool) -> None:
        """The head has decided: the body is not for the picker."""
        if self._mode is _FULL_DUPLEX:
            self._send(wire.request_frames(body, ends=ends), phase_over=ends)
        else:
            self._send([wire.CONTINUE_REQUEST_BODY], phase_over=ends)

    def _request_trailers(self) -> None:
        if self._head is None or self._held is not None:
            return
        if self._route is not None or self._mode is not _FULL_DUPLEX:
            if self._mode is _FULL_DUPLEX and not self._listener.foreign:
                # The head has gone without the word of trailers, see `_headers`.
                self._refuse_unread(errors.bad_request("Trailers after a body of this path are not taken."))
            else:
                self._send([wire.CONTINUE_REQUEST_TRAILERS], phase_over=True)
        else:
            self._trailers = True
            self._body_is_whole()

    def _body_is_whole(self) -> None:
        parts, head = self._parts, self._head
        assert head is not None
        if len(parts) == 1 and isinstance(parts[0], bytes):
            body = parts[0]
        else:
            body = b"".join(parts)
        # The frames go back from this copy: the messages that the parts are slices of are free now.
        self._parts = [body]
        self._memory.whole(self)
        held = self._directing.route(head, body, self._decided)
        if not self._done and self._counted:
            self._held = held

    def _decided(self, outcome: Outcome) -> None:
        """The director's word, at once or after the request was held."""
        if self._done:
            return
        self._held = None
        if isinstance(outcome, Reply):
            self._refuse(outcome)
            return
        self._route = outcome
        body = outcome.body
        metadata = self._metadata(outcome)
        headers = self._headers(outcome)
        if self._mode is not _FULL_DUPLEX:
            if body is not None:
                headers.append(wire.set_header(b"content-length", b"%d" % len(body)))
            messages = [wire.buffered_request(headers, metadata, body)]
        else:
            whole = self._parts[0] if body is None else body
            headers.append(wire.set_header(b"content-length", b"%d" % len(whole)))
            messages = [wire.request_headers(headers, metadata)]
            messages += wire.request_frames(whole, ends=not self._trailers)
            if self._trailers:
                messages.append(wire.CONTINUE_REQUEST_TRAILERS)
        self._stop_reading()
        self._send(messages, phase_over=True)

    # What is said of a route.

    def _headers(self, route: Route) -> list[bytes]:
        pick = route.pick
        listener = self._listener
        if listener.foreign:
            headers = [wire.known_header(ENDPOINT_HEADER, _listed(route, listener.fallbacks))]
            if listener.conformance:
                headers.append(wire.known_header("x-echo-set-header", f"{TEST_SERVED_HEADER}:{pick.address}"))
        else:
            headers = [
                wire.known_header(ENDPOINT_HEADER, pick.address),
                wire.set_header(_PICK_HEADER, route.pick_id.encode()),
            ]
            for name, fallback in zip(FALLBACK_HEADERS[: listener.fallbacks], pick.fallbacks, strict=False):
                headers.append(wire.known_header(name, fallback))
            if self._trailers:
                headers.append(wire.known_header(TRAILERS_HEADER, "yes"))
        for name, value in route.headers:
            headers.append(wire.set_header(name.encode(), value.encode()))
        return headers

    def _metadata(self, route: Route) -> bytes:
        listener = self._listener
        if not listener.foreign:
            return wire.endpoint_metadata(route.pick.address, route.answer_headers)
        if listener.scores and route.scores:
            return wire.scored_metadata(_listed(route, listener.fallbacks), route.scores)
        return wire.endpoint_metadata(_listed(route, listener.fallbacks))

    # The answer, where a foreign gateway shows it.

    def _answer_head(self, message: pb.ProcessingRequest) -> None:
        answer = self._answer
        if answer is None:
            self._send([wire.CONTINUE_RESPONSE_HEADERS])
            return
        answer.head(message, self._clock.monotonic_s())
        told = self._route.answer_headers if self._route is not None else ()
        if self._listener.conformance:
            told = (*told, *answer.conformance_headers())
        self._stream.send((wire.response_headers(told) if told else wire.CONTINUE_RESPONSE_HEADERS,))
        if message.response_headers.end_of_stream:
            self._answered()

    def _answer_part(self, body: bytes | memoryview, ends: bool) -> None:
        answer = self._answer
        if answer is None:
            self._send([wire.CONTINUE_RESPONSE_BODY])
            return
        answer.part(body, self._clock.monotonic_s())
        if answer.body_mode is _FULL_DUPLEX:
            self._stream.send(wire.response_frames(body, ends=ends))
        else:
            self._stream.send((wire.CONTINUE_RESPONSE_BODY,))
        if ends:
            self._answered()

    def _answer_trailers(self) -> None:
        self._send([wire.CONTINUE_RESPONSE_TRAILERS])
        self._answered()

    def _answered(self) -> None:
        """The answer is whole; the gateway closes the call, as trailers may follow."""
        self._complete(left=False)

    def _complete(self, *, left: bool) -> None:
        route, answer = self._route, self._answer
        if route is not None and answer is not None and not answer.reported:
            answer.reported = True
            self._directing.completed(answer.completion(route, self._clock.monotonic_s(), left=left))

    # Ends.

    def _send(self, messages: list[bytes], *, phase_over: bool = False) -> None:
        """Send, and end the call when the request's phase is over and nobody wants to see the answer."""
        ends = phase_over and self._answer is None
        if ends:
            self._done = True
        self._stream.send(messages, end=ends)

    def _refuse_unread(self, reply: Reply) -> None:
        """Refuse what the director has not seen."""
        assert self._head is not None
        self._refuse(refusals.in_form_of(self._head, reply))

    def _refuse(self, reply: Reply) -> None:
        """The gateway's own answer: nothing follows it. A route there was ends with it."""
        self._leave()
        self._stream.send((wire.immediate(reply),), end=True)

    def _leave(self, *, left: bool = True) -> None:
        self._done = True
        self._stop_reading()
        if self._held is not None:
            self._held.abandon()
            self._held = None
        self._complete(left=left)

    def _stop_reading(self) -> None:
        self._parts = []
        if self._counted:
            self._counted = False
            self._memory.end(self, self._size)


def _listed(route: Route, fallbacks: int) -> str:
    pick = route.pick
    return ",".join((pick.address, *pick.fallbacks[:fallbacks])) if fallbacks and pick.fallbacks else pick.address


def _value(raw: bytes, text: str) -> str:
    return raw.decode("latin-1") if raw else text

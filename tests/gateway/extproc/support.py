"""A gateway's side of a session, a director that can make requests wait, and builders of messages."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from envoy.config.core.v3 import base_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb

from fairlead.clock import VirtualClock
from fairlead.gateway import errors
from fairlead.gateway.extproc import OWN, BodyMemory, Listener, Session
from fairlead.gateway.pick import Pick
from fairlead.gateway.route import Completion, Outcome, RequestHead, Route


class Wire:
    """Keeps what a session sends."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.ended = False
        self.failed: tuple[int, str] | None = None

    def send(self, messages: Sequence[bytes], *, end: bool = False) -> None:
        assert not self.ended
        self.messages.extend(messages)
        self.ended = end

    def fail(self, code: int, message: str) -> None:
        self.failed, self.ended = (code, message), True

    @property
    def answers(self) -> list[pb.ProcessingResponse]:
        return [pb.ProcessingResponse.FromString(m) for m in self.messages]


@dataclass
class Waiting:
    decide: Callable[[Outcome], None]
    head: RequestHead
    body: bytes
    abandoned: bool = False

    def abandon(self) -> None:
        self.abandoned = True


@dataclass
class Table:
    """A director that sends model `m` to the first address that the subset allows, and makes `later` wait."""

    addresses: tuple[str, ...] = ("10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80")
    body: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()
    scores: dict[str, float] = field(default_factory=dict)
    waiting: list[Waiting] = field(default_factory=list)
    completions: list[Completion] = field(default_factory=list)
    heads: list[RequestHead] = field(default_factory=list)

    def decide_on_headers(self, head: RequestHead) -> Outcome | None:
        self.heads.append(head)
        if head.target.startswith("/v2/models/m"):
            return self._to("m", head)
        if head.target == "/v1/models":
            return errors.answer({"data": []}, "models")
        return None

    def route(self, head: RequestHead, body: bytes, decided: Callable[[Outcome], None]) -> Waiting | None:
        assert type(body) is bytes
        try:
            model = json.loads(body)["model"]
        except (ValueError, KeyError, TypeError):
            decided(errors.bad_request("no model", "model"))
            return None
        if model == "later":
            self.waiting.append(Waiting(decided, head, body))
            return self.waiting[-1]
        decided(self.route_to(model, head))
        return None

    def completed(self, completion: Completion) -> None:
        self.completions.append(completion)

    def route_to(self, model: str, head: RequestHead) -> Outcome:
        return self._to(model, head) if model == "m" else errors.unknown_model(model, 1)

    def _to(self, model: str, head: RequestHead) -> Outcome:
        fit = [a for a in self.addresses if head.subset is None or a in head.subset]
        if not fit:
            return errors.unavailable("none fits", "no_ready_endpoints", 1)
        pick = Pick(fit[0], tuple(fit[1:]), "first")
        return Route("ns/p", model, pick, "pick-1", body=self.body, headers=self.headers, scores=self.scores)


@dataclass
class Talk:
    """One session and what it said."""

    table: Table = field(default_factory=Table)
    listener: Listener = OWN
    memory: BodyMemory = field(default_factory=BodyMemory)
    clock: VirtualClock = field(default_factory=VirtualClock)
    wire: Wire = field(default_factory=Wire)

    def __post_init__(self) -> None:
        self.session = Session(self.wire, self.table, self.listener, self.memory, self.clock)

    def say(self, *messages: pb.ProcessingRequest) -> list[pb.ProcessingResponse]:
        """The answers to these messages."""
        before = len(self.wire.messages)
        for message in messages:
            self.session.message(message.SerializeToString())
        return self.wire.answers[before:]


def pairs(values: dict[str, str]) -> base_pb2.HeaderMap:
    return base_pb2.HeaderMap(headers=[base_pb2.HeaderValue(key=k, raw_value=v.encode()) for k, v in values.items()])


def headers(method="POST", path="/v1/chat/completions", *, end=False, modes=None, subset=None, **more):
    """A request's head; `modes` are those of the request's body and the answer's, `subset` a list or a text."""
    values = {
        ":method": method,
        ":path": path,
        "x-request-id": "r1",
        **{k.replace("_", "-"): v for k, v in more.items()},
    }
    message = pb.ProcessingRequest(request_headers=pb.HttpHeaders(headers=pairs(values), end_of_stream=end))
    if modes is not None:
        message.protocol_config.request_body_mode, message.protocol_config.response_body_mode = modes
    if subset is not None:
        message.metadata_context.filter_metadata["envoy.lb.subset_hint"]["x-gateway-destination-endpoint-subset"] = (
            subset
        )
    return message


def body(data: bytes, end=False):
    return pb.ProcessingRequest(request_body=pb.HttpBody(body=data, end_of_stream=end))


def trailers():
    return pb.ProcessingRequest(request_trailers=pb.HttpTrailers())


def answer_headers(code=200, content_type="application/json", *, end=False, served=None):
    values = {":status": str(code), "content-type": content_type}
    message = pb.ProcessingRequest(response_headers=pb.HttpHeaders(headers=pairs(values), end_of_stream=end))
    if served is not None:
        message.metadata_context.filter_metadata["envoy.lb"]["x-gateway-destination-endpoint-served"] = served
    return message


def answer_body(data: bytes, end=False):
    return pb.ProcessingRequest(response_body=pb.HttpBody(body=data, end_of_stream=end))


def set_headers(answer: pb.ProcessingResponse) -> dict[str, bytes]:
    common = getattr(answer, answer.WhichOneof("response")).response
    return {h.header.key: h.header.raw_value for h in common.header_mutation.set_headers}


def frames(answers):
    """The streamed parts of answers that carry a request's or a response's body."""
    parts = [a.request_body if a.HasField("request_body") else a.response_body for a in answers]
    return [p.response.body_mutation.streamed_response for p in parts]

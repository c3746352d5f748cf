"""The external-processor session: messages in, messages out."""

import json

import pytest
from envoy.config.core.v3 import base_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

from fairlead.clock import VirtualClock
from fairlead.gateway.director import Director, Route
from fairlead.gateway.endpoints import Endpoint, Pool, Registry
from fairlead.gateway.extproc import MAX_FRAME_BYTES, Session
from fairlead.gateway.load import LoadTable


def _session(**options):
    registry, loads = Registry(), LoadTable()
    registry.set_pool(Pool("ns/p", ("m",), tuple(Endpoint(f"127.0.0.1:{port}") for port in (1, 2, 3, 4))))
    return Session(Director(registry, loads, VirtualClock()), **options), loads


def _headers(method="POST", path="/v1/chat/completions", *, end=False, request_id="r1"):
    pairs = {":method": method, ":path": path, "x-request-id": request_id}
    headers = [base_pb2.HeaderValue(key=k, raw_value=v.encode()) for k, v in pairs.items()]
    return pb.ProcessingRequest(
        request_headers=pb.HttpHeaders(headers=base_pb2.HeaderMap(headers=headers), end_of_stream=end)
    )


def _body(data, end=False):
    return pb.ProcessingRequest(request_body=pb.HttpBody(body=data, end_of_stream=end))


@given(st.lists(st.integers(0, 70_000), max_size=6), st.booleans())
def test_the_body_comes_back_whole_in_small_frames_after_the_headers(sizes, trailers):
    session, loads = _session()
    text = json.dumps({"model": "m", "x": "y" * sum(sizes)}).encode()
    cuts = [0]
    for size in sizes:
        cuts.append(min(len(text), cuts[-1] + size))
    parts = [text[a:b] for a, b in zip(cuts, [*cuts[1:], len(text)], strict=True)]
    answers = session.feed(_headers())
    assert answers == []
    for index, part in enumerate(parts):
        assert not session.done
        answers = session.feed(_body(part, end=not trailers and index == len(parts) - 1))
    if trailers:
        answers = session.feed(pb.ProcessingRequest(request_trailers=pb.HttpTrailers()))
    assert session.done
    kinds = [a.WhichOneof("response") for a in answers]
    assert kinds[0] == "request_headers"
    assert kinds[-1] == ("request_trailers" if trailers else "request_body")
    frames = [a.request_body.response.body_mutation.streamed_response for a in answers if a.HasField("request_body")]
    assert b"".join(f.body for f in frames) == text
    assert all(len(f.body) <= MAX_FRAME_BYTES for f in frames)
    assert [f.end_of_stream for f in frames] == [False] * (len(frames) - 1) + [not trailers]
    assert loads.candidate("127.0.0.1:1", 0.0).in_flight == 1


def test_the_endpoint_is_in_header_and_metadata_and_replaces_what_was_there():
    session, _ = _session()
    session.feed(_headers())
    answer = session.feed(_body(b'{"model": "m"}', end=True))[0]
    common = answer.request_headers.response
    set_headers = {h.header.key: h.header.raw_value for h in common.header_mutation.set_headers}
    assert set_headers.pop("x-fairlead-pick")
    assert set_headers == {
        "x-gateway-destination-endpoint": b"127.0.0.1:1",
        "x-fairlead-fallback-endpoint-1": b"127.0.0.1:2",
        "x-fairlead-fallback-endpoint-2": b"127.0.0.1:3",
        "content-length": b"14",
    }
    replace = base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
    assert all(h.append_action == replace for h in common.header_mutation.set_headers)
    assert common.clear_route_cache
    assert answer.dynamic_metadata["envoy.lb"]["x-gateway-destination-endpoint"] == "127.0.0.1:1"
    assert isinstance(session.outcome, Route)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (_headers("GET", "/v1/models", end=True), 200),
        (_headers("GET", "/v1/models?x=1", end=True), 200),
        (_headers("POST", "/v1/completions", end=True), 400),
        (_headers("DELETE", "/v1/models", end=True), 405),
        (_headers("POST", "/admin"), 404),
    ],
)
def test_what_the_headers_decide_is_answered_at_once(message, code):
    session, _ = _session()
    (answer,) = session.feed(message)
    assert answer.immediate_response.status.code == code
    assert session.done


@given(st.lists(st.binary(max_size=70_000), max_size=4), st.booleans())
def test_a_path_with_a_model_is_routed_at_once_and_its_body_passes_unread(parts, trailers):
    session, loads = _session()
    (head,) = session.feed(_headers(path="/v2/models/m/infer?x=1"))
    set_headers = {h.header.key for h in head.request_headers.response.header_mutation.set_headers}
    assert "x-gateway-destination-endpoint" in set_headers
    assert "content-length" not in set_headers, "the client's own stays true"
    assert loads.candidate("127.0.0.1:1", 0.0).in_flight == 1
    parts = [*parts, b""]
    frames = []
    for index, part in enumerate(parts):
        assert not session.done
        frames += session.feed(_body(part, end=not trailers and index == len(parts) - 1))
    if trailers:
        (last,) = session.feed(pb.ProcessingRequest(request_trailers=pb.HttpTrailers()))
        assert last.HasField("request_trailers")
    assert session.done
    assert isinstance(session.outcome, Route)
    streamed = [f.request_body.response.body_mutation.streamed_response for f in frames]
    assert b"".join(f.body for f in streamed) == b"".join(parts)
    assert all(len(f.body) <= MAX_FRAME_BYTES for f in streamed)
    assert [f.end_of_stream for f in streamed] == [False] * (len(streamed) - 1) + [not trailers]


@pytest.mark.parametrize("path", ["/v2/models/m", "/v2/models/m/ready", "/v2/models/m/versions/1"])
def test_requests_without_a_body_are_routed_by_their_path(path):
    session, _ = _session()
    (answer,) = session.feed(_headers("GET", path, end=True))
    assert answer.HasField("request_headers")
    assert session.done


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (_headers("GET", "/v2/models/nobody", end=True), 404),
        (_headers("POST", "/v1/models/nobody:predict"), 404),
        (_headers("GET", "/v2/models/m/infer", end=True), 405),
    ],
)
def test_refusals_of_paths_with_a_model_have_the_form_of_their_protocol(message, code):
    session, _ = _session()
    (answer,) = session.feed(message)
    assert answer.immediate_response.status.code == code
    assert isinstance(json.loads(answer.immediate_response.body)["error"], str)


def test_the_servers_own_resources_of_protocol_v2_are_answered():
    for path, key in (("/v2", "name"), ("/v2/health/live", "live"), ("/v2/health/ready", "ready")):
        session, _ = _session()
        (answer,) = session.feed(_headers("GET", path, end=True))
        assert answer.immediate_response.status.code == 200
        assert json.loads(answer.immediate_response.body)[key]


def test_a_streamed_body_beyond_the_limit_ends_the_request():
    session, _ = _session(max_body_bytes=100)
    session.feed(_headers(path="/v2/models/m/infer"))
    assert len(session.feed(_body(b"x" * 60))) == 1
    (answer,) = session.feed(_body(b"x" * 60))
    assert answer.immediate_response.status.code == 413
    assert session.done


def test_a_body_beyond_the_limit_is_refused_without_being_kept():
    session, _ = _session(max_body_bytes=100)
    session.feed(_headers())
    assert session.feed(_body(b"x" * 60)) == []
    (answer,) = session.feed(_body(b"x" * 60))
    assert answer.immediate_response.status.code == 413
    assert session.done


@given(st.binary(max_size=200))
def test_any_body_gets_an_answer(data):
    session, _ = _session()
    session.feed(_headers())
    answers = session.feed(_body(data, end=True))
    assert session.done
    assert answers
    if answers[0].HasField("immediate_response"):
        assert "error" in json.loads(answers[0].immediate_response.body)

"""The external-processor session: messages in, messages out."""

import json

import pytest
from envoy.config.core.v3 import base_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

from fairlead.clock import VirtualClock
from fairlead.gateway.extproc import FOREIGN, MAX_FRAME_BYTES, BodyMemory, BodyMode, Listener
from fairlead.gateway.extproc.listener import READING_TIMEOUT_S
from gateway.extproc.support import Table, Talk, Wire, body, frames, headers, set_headers, trailers

MODEL = b'{"model": "m"}'


@given(st.lists(st.integers(0, 70_000), max_size=6), st.booleans())
def test_the_body_comes_back_whole_in_small_frames_after_the_headers(sizes, with_trailers):
    talk = Talk()
    text = json.dumps({"model": "m", "x": "y" * sum(sizes)}).encode()
    cuts = [0]
    for size in sizes:
        cuts.append(min(len(text), cuts[-1] + size))
    parts = [text[a:b] for a, b in zip(cuts, [*cuts[1:], len(text)], strict=True)]
    assert talk.say(headers()) == []
    for index, part in enumerate(parts):
        assert not talk.wire.ended
        answers = talk.say(body(part, end=not with_trailers and index == len(parts) - 1))
    if with_trailers:
        answers = talk.say(trailers())
    assert talk.wire.ended
    assert answers[0].WhichOneof("response") == "request_headers"
    assert set_headers(answers[0])["content-length"] == b"%d" % len(text)
    assert ("x-fairlead-trailers" in set_headers(answers[0])) == with_trailers
    rest = answers[1:-1] if with_trailers else answers[1:]
    if with_trailers:
        assert answers[-1].WhichOneof("response") == "request_trailers"
    assert {a.WhichOneof("response") for a in rest} == {"request_body"}
    streamed = frames(rest)
    assert b"".join(f.body for f in streamed) == text
    assert all(len(f.body) <= MAX_FRAME_BYTES for f in streamed)
    assert [f.end_of_stream for f in streamed] == [False] * (len(streamed) - 1) + [not with_trailers]
    assert talk.memory.used_bytes == 0


def test_the_endpoint_is_in_header_and_metadata_and_replaces_what_was_there():
    talk = Talk()
    answer = talk.say(headers(), body(MODEL, end=True))[0]
    assert set_headers(answer) == {
        "x-gateway-destination-endpoint": b"10.0.0.1:80",
        "x-fairlead-fallback-endpoint-1": b"10.0.0.2:80",
        "x-fairlead-fallback-endpoint-2": b"10.0.0.3:80",
        "x-fairlead-pick": b"pick-1",
        "content-length": b"14",
    }
    common = answer.request_headers.response
    replace = base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
    assert all(h.append_action == replace for h in common.header_mutation.set_headers)
    assert common.clear_route_cache
    assert answer.dynamic_metadata["envoy.lb"]["x-gateway-destination-endpoint"] == "10.0.0.1:80"


def test_only_headers_that_decisions_read_reach_the_director():
    talk = Talk()
    talk.say(headers(cookie="secret", x_session_id="s", x_slo_ttft_ms="5"))
    (head,) = talk.table.heads
    assert (head.method, head.target) == ("POST", "/v1/chat/completions")
    assert head.headers == {"x-request-id": "r1", "x-session-id": "s", "x-slo-ttft-ms": "5"}
    assert head.subset is None


def test_a_route_replaces_the_body_and_adds_headers():
    talk = Talk(Table(body=b'{"model": "other"}', headers=(("traceparent", "00-1"), ("x-more", "y" * 300))))
    answers = talk.say(headers(), body(MODEL, end=True))
    found = set_headers(answers[0])
    assert (found["traceparent"], found["x-more"]) == (b"00-1", b"y" * 300)
    assert found["content-length"] == b"18"
    assert frames(answers[1:])[0].body == b'{"model": "other"}'


def test_a_refusal_has_its_code_headers_and_body():
    talk = Talk(Table(addresses=()))
    (answer,) = talk.say(headers(), body(MODEL, end=True))
    immediate = answer.immediate_response
    assert immediate.status.code == 503
    found = {h.header.key: h.header.raw_value for h in immediate.headers.set_headers}
    assert found == {"content-type": b"application/json", "retry-after": b"1"}
    assert json.loads(immediate.body)["error"]["code"] == "no_ready_endpoints"
    assert immediate.details == "fairlead_no_ready_endpoints"
    assert talk.wire.ended


def test_the_head_alone_may_be_answered():
    talk = Talk()
    (answer,) = talk.say(headers("GET", "/v1/models", end=True))
    assert answer.immediate_response.status.code == 200
    assert talk.wire.ended


def test_a_head_without_a_body_that_needs_one_is_refused():
    talk = Talk()
    (answer,) = talk.say(headers(end=True))
    assert answer.immediate_response.status.code == 400


@given(st.lists(st.binary(max_size=70_000), max_size=4), st.booleans())
def test_a_path_with_a_model_is_routed_at_once_and_its_body_passes_unread(parts, with_trailers):
    talk = Talk(listener=Listener(foreign=with_trailers))
    (head,) = talk.say(headers(path="/v2/models/m/infer?x=1"))
    found = set_headers(head)
    assert "x-gateway-destination-endpoint" in found
    assert "content-length" not in found, "the client's own stays true"
    parts = [*parts, b""]
    answers = []
    for index, part in enumerate(parts):
        assert not talk.wire.ended
        answers += talk.say(body(part, end=not with_trailers and index == len(parts) - 1))
    if with_trailers:
        (last,) = talk.say(trailers())
        assert last.HasField("request_trailers")
    assert talk.wire.ended
    streamed = frames(answers)
    assert b"".join(f.body for f in streamed) == b"".join(parts)
    assert all(len(f.body) <= MAX_FRAME_BYTES for f in streamed)
    assert [f.end_of_stream for f in streamed] == [False] * (len(streamed) - 1) + [not with_trailers]


def test_trailers_after_a_body_that_passed_unread_are_refused_of_our_own_envoy():
    talk = Talk()
    talk.say(headers(path="/v2/models/m/infer"), body(b"x"))
    (answer,) = talk.say(trailers())
    assert answer.immediate_response.status.code == 400


def test_a_path_with_a_model_and_no_body_ends_with_its_head():
    talk = Talk()
    (answer,) = talk.say(headers("GET", "/v2/models/m/ready", end=True))
    assert answer.HasField("request_headers")
    assert talk.wire.ended


@pytest.mark.parametrize("path", ["/v2/models/m/infer", "/v1/chat/completions"])
def test_a_body_beyond_the_limit_is_refused_without_being_kept(path):
    talk = Talk(listener=Listener(max_body_bytes=100))
    talk.say(headers(path=path), body(b"x" * 60))
    (answer,) = talk.say(body(b"x" * 60))
    assert answer.immediate_response.status.code == 413
    assert talk.wire.ended
    assert talk.memory.used_bytes == 0


def test_refusals_have_the_form_of_the_protocol_that_was_asked():
    for path, kind in (("/v1/messages", "error"), ("/v1/completions", None)):
        talk = Talk(listener=Listener(max_body_bytes=1))
        (answer,) = talk.say(headers(path=path), body(b"xx"))
        assert json.loads(answer.immediate_response.body).get("type") == kind


def test_bodies_of_all_sessions_share_their_memory():
    memory = BodyMemory(limit_bytes=100)
    talks = [Talk(memory=memory) for _ in range(2)]
    for talk in talks:
        talk.say(headers(), body(b"x" * 50))
    late = Talk(memory=memory)
    late.say(headers())
    (answer,) = late.say(body(b"x"))
    assert answer.immediate_response.status.code == 503
    assert memory.used_bytes == 100
    talks[0].session.closed()
    assert memory.used_bytes == 50
    talks[1].say(body(b"x" * 30))
    assert memory.used_bytes == 80


async def test_a_body_that_takes_too_long_ends_with_408_and_a_whole_one_may_wait():
    clock, memory = VirtualClock(), BodyMemory()
    slow, held = Talk(memory=memory, clock=clock), Talk(memory=memory, clock=clock)
    slow.say(headers(), body(b"x"))
    held.say(headers(), body(b'{"model": "later"}', end=True))
    await clock.advance(READING_TIMEOUT_S - 1)
    fresh = Talk(memory=memory, clock=clock)
    fresh.say(headers())
    assert memory.expire(clock.monotonic_s()) == 0
    await clock.advance(1)
    assert memory.expire(clock.monotonic_s()) == 1
    assert slow.wire.answers[-1].immediate_response.status.code == 408
    assert not held.wire.ended
    assert memory.used_bytes == len(b'{"model": "later"}')


def test_a_held_request_is_answered_when_it_is_decided():
    talk = Talk()
    assert talk.say(headers(), body(b'{"model": "later"}', end=True)) == []
    (waiting,) = talk.table.waiting
    waiting.decide(talk.table.route_to("m", waiting.head))
    answers = talk.wire.answers
    assert [a.WhichOneof("response") for a in answers] == ["request_headers", "request_body"]
    assert frames(answers[1:])[0].body == b'{"model": "later"}'
    assert talk.wire.ended
    assert talk.memory.used_bytes == 0


@pytest.mark.parametrize("end", ["closed", "half_closed"])
def test_a_held_request_whose_client_leaves_is_abandoned(end):
    talk = Talk()
    talk.say(headers(), body(b'{"model": "later"}', end=True))
    getattr(talk.session, end)()
    (waiting,) = talk.table.waiting
    assert waiting.abandoned
    assert talk.memory.used_bytes == 0
    assert talk.wire.messages == []


@given(st.binary(max_size=200))
def test_any_body_gets_an_answer(data):
    talk = Talk()
    answers = talk.say(headers(), body(data, end=True))
    assert talk.wire.ended
    if answers[0].HasField("immediate_response"):
        assert "error" in json.loads(answers[0].immediate_response.body)


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=5))
def test_garbage_ends_the_call_with_a_status(messages):
    talk = Talk()
    for data in messages:
        talk.session.message(data)
    assert talk.wire.failed is None or talk.wire.failed[0] == 3
    talk.session.closed()
    assert talk.memory.used_bytes == 0


_kinds = st.sampled_from(
    [headers(), headers(end=True), headers(path="/v2/models/m"), body(b""), body(b"{"), body(MODEL, end=True),
     body(b'{"model": "later"}', end=True), trailers(), pb.ProcessingRequest(response_headers=pb.HttpHeaders()),
     pb.ProcessingRequest(response_body=pb.HttpBody(body=b"x", end_of_stream=True)),
     pb.ProcessingRequest(response_trailers=pb.HttpTrailers()), pb.ProcessingRequest()]
)  # fmt: skip


@given(st.lists(_kinds, max_size=8), st.sampled_from([Listener(), FOREIGN]))
def test_messages_in_any_order_leave_no_memory_taken_and_nothing_after_the_end(messages, listener):
    talk = Talk(listener=listener)
    for message in messages:
        talk.say(message)
    talk.session.closed()
    assert talk.memory.used_bytes == 0
    assert not talk.memory._readers


# Foreign gateways.


@pytest.mark.parametrize("mode", [BodyMode.BUFFERED, BodyMode.BUFFERED_PARTIAL])
@pytest.mark.parametrize("changed", [None, b'{"model": "other"}'])
def test_a_gateway_that_buffers_gets_its_answer_with_the_body(mode, changed):
    talk = Talk(Table(body=changed), listener=FOREIGN)
    (first,) = talk.say(headers(modes=(mode, 0)))
    assert first == pb.ProcessingResponse(request_headers=pb.HeadersResponse())
    (answer,) = talk.say(body(MODEL, end=True))
    length = {"content-length": b"%d" % len(changed)} if changed else {}
    assert set_headers(answer) == {"x-gateway-destination-endpoint": b"10.0.0.1:80", **length}
    assert answer.request_body.response.clear_route_cache
    assert answer.request_body.response.body_mutation.body == (changed or b"")
    assert answer.request_body.response.HasField("body_mutation") == (changed is not None)
    assert answer.dynamic_metadata["envoy.lb"]["x-gateway-destination-endpoint"] == "10.0.0.1:80"


def test_a_held_body_that_trailers_follow_is_decided_on_at_once():
    talk = Talk(listener=FOREIGN)
    talk.say(headers(modes=(BodyMode.BUFFERED, 0)))
    (answer,) = talk.say(body(MODEL))
    assert set_headers(answer)
    assert talk.say(trailers()) == [pb.ProcessingResponse(request_trailers=pb.TrailersResponse())]


def test_a_body_that_a_gateways_buffer_does_not_take_is_refused():
    talk = Talk(listener=FOREIGN)
    talk.say(headers(modes=(BodyMode.BUFFERED_PARTIAL, 0)))
    (answer,) = talk.say(body(b'{"model": "m", "prompt": "'))
    assert answer.immediate_response.status.code == 413


@pytest.mark.parametrize("mode", [BodyMode.NONE, BodyMode.STREAMED])
def test_a_gateway_that_shows_no_body_before_it_routes_is_told_so(mode):
    talk = Talk(listener=FOREIGN)
    (answer,) = talk.say(headers(modes=(mode, 0)))
    assert answer.immediate_response.status.code == 500
    assert mode.name in json.loads(answer.immediate_response.body)["error"]["message"]


@pytest.mark.parametrize("mode", [BodyMode.NONE, BodyMode.STREAMED])
def test_a_gateway_that_shows_no_body_is_served_where_the_head_decides(mode):
    talk = Talk(listener=Listener(foreign=True))
    (answer,) = talk.say(headers(path="/v2/models/m/infer", modes=(mode, 0)))
    assert set_headers(answer)["x-gateway-destination-endpoint"]
    assert talk.wire.ended == (mode is BodyMode.NONE)
    if mode is BodyMode.STREAMED:
        assert talk.say(body(b"x")) == [pb.ProcessingResponse(request_body=pb.BodyResponse())]
        assert talk.say(body(b"y", end=True)) == [pb.ProcessingResponse(request_body=pb.BodyResponse())]
        assert talk.wire.ended


def test_a_gateway_that_does_not_say_how_it_sends_bodies_is_served_as_assumed():
    talk = Talk(listener=Listener(foreign=True, assumed_body_mode=BodyMode.BUFFERED))
    assert len(talk.say(headers())) == 1
    assert set_headers(talk.say(body(MODEL, end=True))[0])


@pytest.mark.parametrize(
    ("subset", "expected"),
    [
        (["10.0.0.2:80", "10.0.0.3:80"], ("10.0.0.2:80", "10.0.0.3:80")),
        ("10.0.0.3:80, 10.0.0.9:80", ("10.0.0.3:80", "10.0.0.9:80")),
        (["10.0.0.2:80,10.0.0.3:80"], ("10.0.0.2:80", "10.0.0.3:80")),
    ],
)
def test_a_subset_comes_as_a_list_or_a_text(subset, expected):
    talk = Talk(listener=FOREIGN)
    answers = talk.say(headers(subset=subset), body(MODEL, end=True))
    assert talk.table.heads[0].subset == expected
    assert set_headers(answers[0])["x-gateway-destination-endpoint"].decode() == expected[0]


@pytest.mark.parametrize("subset", [[], "", "10.9.9.9:80", [1, 2]])
def test_a_subset_that_nothing_fits_is_503(subset):
    talk = Talk(listener=FOREIGN)
    (answer,) = talk.say(headers(subset=subset), body(MODEL, end=True))
    assert answer.immediate_response.status.code == 503


def test_fairleads_own_envoy_gives_no_subsets():
    talk = Talk()
    talk.say(headers(subset=[]))
    assert talk.table.heads[0].subset is None


@pytest.mark.parametrize(("fallbacks", "expected"), [(0, "10.0.0.1:80"), (1, "10.0.0.1:80,10.0.0.2:80")])
def test_fallbacks_of_a_foreign_gateway_are_a_list_in_header_and_metadata(fallbacks, expected):
    talk = Talk(Table(scores={"10.0.0.1:80": 1.0}), listener=Listener(foreign=True, fallbacks=fallbacks, scores=True))
    answer = talk.say(headers(), body(MODEL, end=True))[0]
    assert set_headers(answer)["x-gateway-destination-endpoint"].decode() == expected
    assert answer.dynamic_metadata["envoy.lb"]["x-gateway-destination-endpoint"] == expected
    assert dict(answer.dynamic_metadata["envoy.lb"]["x-gateway-destination-endpoint-scores"]) == {"10.0.0.1:80": 1.0}
    assert talk.wire.ended


def test_the_conformance_header_chooses_only_where_it_is_obeyed():
    chosen = {"test_epp_endpoint_selection": "10.0.0.3:80"}
    for listener, expected in ((FOREIGN, b"10.0.0.1:80"), (Listener(foreign=True, conformance=True), b"10.0.0.3:80")):
        answer = Talk(listener=listener).say(headers(**chosen), body(MODEL, end=True))[0]
        assert set_headers(answer)["x-gateway-destination-endpoint"].partition(b",")[0] == expected


def test_the_wire_of_the_tests_refuses_what_follows_an_end():
    wire = Wire()
    wire.send([b""], end=True)
    with pytest.raises(AssertionError):
        wire.send([b""])


def test_large_bodies_that_never_end_leave_room_for_small_ones():
    memory = BodyMemory(limit_bytes=1024 * 1024)
    taken = 0
    while memory.take(65_536, taken):
        taken += 65_536
    assert taken >= 700_000
    assert memory.take(1_200)
    assert not memory.take(65_536, 65_536)

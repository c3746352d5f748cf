"""Answers that a foreign gateway shows: passed on as they are, and what is learned of them."""

import json

import pytest
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.extproc import FOREIGN, BodyMode, Listener
from gateway.extproc.support import Table, Talk, answer_body, answer_headers, body, frames, headers, set_headers

DUPLEX = (BodyMode.FULL_DUPLEX_STREAMED, BodyMode.FULL_DUPLEX_STREAMED)
MODEL = b'{"model": "m"}'


def _routed(listener=FOREIGN, modes=DUPLEX, **options):
    talk = Talk(Table(**options), listener=listener)
    talk.say(headers(modes=modes), body(MODEL, end=True))
    assert not talk.wire.ended
    return talk


async def test_a_streamed_answer_is_timed_and_counted_and_passed_on():
    talk = _routed()
    await talk.clock.advance(0.5)
    assert talk.say(answer_headers(content_type="text/event-stream; charset=utf-8", served="10.0.0.1:80")) == [
        pb.ProcessingResponse(response_headers=pb.HeadersResponse())
    ]
    await talk.clock.advance(0.25)
    chunks = [b'data: {"choices": [{"delta": {"content": "a\\"usage\\":{"}}]}\n\n'] * 3
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}}
    chunks += [f'data: {{"choices": [], "usage": {json.dumps(usage)}}}\n\n'.encode(), b"data: [DONE]\n\n"]
    for index, chunk in enumerate(chunks):
        (answer,) = talk.say(answer_body(chunk, end=index == len(chunks) - 1))
        (frame,) = frames([answer])
        assert (frame.body, frame.end_of_stream) == (chunk, index == len(chunks) - 1)
        await talk.clock.advance(0.125)
    (done,) = talk.table.completions
    assert (done.pick_id, done.code, done.served, done.attempts) == ("pick-1", 200, "10.0.0.1:80", 1)
    assert (done.first_byte_s, done.last_byte_s, done.duration_s) == (0.75, 1.25, 1.25)
    assert (done.prompt_tokens, done.output_tokens, done.cached_tokens, done.stream_events) == (7, 3, 4, 5)
    assert not (done.died or done.client_left or done.connect_failed)
    talk.session.closed()
    assert len(talk.table.completions) == 1


def test_an_answer_that_ends_with_trailers_is_reported_with_them():
    talk = _routed()
    talk.say(answer_headers(), answer_body(b'{"usage": {"prompt_tokens": 1}}'))
    assert not talk.table.completions
    (answer,) = talk.say(pb.ProcessingRequest(response_trailers=pb.HttpTrailers()))
    assert answer.HasField("response_trailers")
    assert talk.table.completions[0].prompt_tokens == 1


def test_an_answer_without_a_body_is_over_with_its_headers():
    talk = _routed()
    talk.say(answer_headers(204, end=True))
    assert talk.table.completions[0].code == 204


def test_a_client_that_leaves_within_the_answer_is_told_apart():
    talk = _routed()
    talk.say(answer_headers(content_type="text/event-stream"), answer_body(b"data: {}\n\n"))
    talk.session.closed()
    (done,) = talk.table.completions
    assert (done.client_left, done.code, done.output_tokens) == (True, 200, None)


@pytest.mark.parametrize(
    ("reason", "connect_failed"), [("remote connection failure", True), ("connection termination", False)]
)
def test_the_gateways_own_word_for_a_dead_endpoint_is_understood(reason, connect_failed):
    text = f"upstream connect error or disconnect/reset before headers. reset reason: {reason}".encode()
    talk = _routed()
    talk.say(answer_headers(503, "text/plain"), answer_body(text, end=True))
    (done,) = talk.table.completions
    assert (done.connect_failed, done.died, done.served) == (connect_failed, not connect_failed, "")


def test_another_endpoint_than_the_first_that_served_tells_of_a_retry():
    talk = _routed(listener=Listener(foreign=True, observes=True, fallbacks=1))
    talk.say(answer_headers(served="10.0.0.2:80", end=True))
    (done,) = talk.table.completions
    assert (done.served, done.attempts, done.connect_failed) == ("10.0.0.2:80", 2, True)


def test_the_attribute_of_the_upstream_is_read_where_the_metadata_is_missing():
    talk = _routed()
    message = answer_headers(end=True)
    message.attributes["envoy.filters.http.ext_proc"]["upstream.address"] = "10.0.0.3:80"
    talk.say(message)
    assert talk.table.completions[0].served == "10.0.0.3:80"


@pytest.mark.parametrize(
    ("served", "expected"), [("10.0.0.1:80", b"10.0.0.1:80"), (None, b"fail: missing envoy lb metadata")]
)
def test_the_conformance_tests_are_told_who_served(served, expected):
    talk = _routed(listener=Listener(foreign=True, observes=True, conformance=True))
    (answer,) = talk.say(answer_headers(served=served))
    assert set_headers(answer) == {"x-conformance-test-served-endpoint": expected}


@pytest.mark.parametrize("mode", [BodyMode.STREAMED, BodyMode.BUFFERED])
def test_other_modes_of_an_answers_body_are_waved_through(mode):
    talk = _routed(modes=(BodyMode.FULL_DUPLEX_STREAMED, mode))
    talk.say(answer_headers())
    (answer,) = talk.say(answer_body(b'{"usage": {"input_tokens": 5, "output_tokens": 2}}', end=True))
    assert answer == pb.ProcessingResponse(response_body=pb.BodyResponse())
    assert talk.table.completions[0].output_tokens == 2


def test_a_refused_request_has_no_completion():
    talk = Talk(listener=FOREIGN)
    talk.say(headers(), body(b'{"model": "x"}', end=True))
    talk.session.closed()
    assert talk.table.completions == []


@pytest.mark.parametrize(("mode", "left"), [(BodyMode.NONE, False), (BodyMode.FULL_DUPLEX_STREAMED, True)])
def test_a_gateway_that_hangs_up_after_routing_ends_the_count(mode, left):
    talk = _routed(modes=(BodyMode.FULL_DUPLEX_STREAMED, mode))
    talk.session.half_closed()
    (done,) = talk.table.completions
    assert (done.code, done.client_left) == (0, left)
    assert talk.wire.ended


def test_a_gateway_that_closes_after_a_whole_answer_adds_nothing():
    talk = _routed()
    talk.say(answer_headers(end=True))
    talk.session.half_closed()
    assert [done.client_left for done in talk.table.completions] == [False]


@given(st.lists(st.binary(min_size=1, max_size=200_000), max_size=5))
def test_any_answer_passes_unchanged(parts):
    talk = _routed()
    talk.say(answer_headers())
    answers = talk.say(*(answer_body(part) for part in parts), answer_body(b"", end=True))
    streamed = frames(answers)
    assert b"".join(f.body for f in streamed) == b"".join(parts)
    assert [f.end_of_stream for f in streamed] == [False] * (len(streamed) - 1) + [True]
    assert len(talk.table.completions) == 1

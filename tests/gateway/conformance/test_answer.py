"""The answer's phase: it passes as it is, and what it tells is counted."""

from __future__ import annotations

import json

import pytest
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb

from gateway.conformance.gateway import Ask, PickerProcess, Report, running, until
from gateway.conformance.test_request import BUFFERED, COMPLETIONS, DUPLEX, MODES, NONE, STREAMED, completion
from gateway.extproc.support import answer_body, answer_headers, body, frames, headers, set_headers

SSE = "text/event-stream"
USAGE = {"prompt_tokens": 7, "completion_tokens": 10, "total_tokens": 17, "prompt_tokens_details": {"cached_tokens": 4}}
WHOLE = json.dumps({"id": "x", "choices": [], "usage": USAGE}).encode()


def response_trailers() -> pb.ProcessingRequest:
    return pb.ProcessingRequest(response_trailers=pb.HttpTrailers())


@pytest.fixture
def routed(picker: PickerProcess, ask: Ask) -> Ask:
    """A request at its endpoint; each case has a model of its own to find its metrics by."""
    picker.pool(Report(), Report())
    return ask


def go(ask: Ask, model: str, modes: tuple[int, int] = MODES["modes"], **more: object) -> Ask:
    ask.say(headers(path=COMPLETIONS, modes=modes), body(completion(model=model, **more), end=True))
    ask.hear(2)
    return ask


def counted(picker: PickerProcess, what: str, model: str) -> float:
    return picker.metric(f"llm_d_epp_{what}", model_name=model)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("whole", [WHOLE]),
        ("in two", [WHOLE[:30], WHOLE[30:]]),
        ("byte by byte", [WHOLE[n : n + 1] for n in range(len(WHOLE))]),
        ("empty end", [WHOLE, b""]),
    ],
)
def test_a_whole_answer_passes_and_its_tokens_are_counted(picker, routed, name, parts):
    go(routed, name).say(answer_headers())
    assert routed.hear()[0].HasField("response_headers")
    for n, part in enumerate(parts):
        routed.say(answer_body(part, end=n == len(parts) - 1))
    streamed = frames(routed.hear(len(parts)))
    assert [frame.body for frame in streamed] == parts
    assert [frame.end_of_stream for frame in streamed] == [False] * (len(parts) - 1) + [True]
    until(lambda: counted(picker, "request_input_tokens_count", name) == 1)
    assert counted(picker, "request_input_tokens_sum", name) == 7
    assert counted(picker, "request_output_tokens_sum", name) == 10
    assert counted(picker, "request_cached_tokens_sum", name) == 4
    until(lambda: picker.in_flight() == 0)


@pytest.mark.parametrize("text", [b"no healthy upstream", b"", b"\xff\xfe\x00"])
def test_an_answer_of_another_form_passes_too(picker, routed, text):
    go(routed, "strange").say(answer_headers(code=500), answer_body(text, end=True))
    _, part = routed.hear(2)
    assert frames([part])[0].body == text
    until(lambda: picker.in_flight() == 0)
    assert counted(picker, "request_input_tokens_count", "strange") == 0


def test_a_stream_passes_piece_by_piece_and_is_timed(picker, routed):
    usage = b'data: {"usage": %s}\n\ndata: [DONE]\n\n' % json.dumps(USAGE).encode()
    go(routed, "stream", stream=True).say(answer_headers(content_type=SSE))
    routed.hear()
    for part in (b'data: {"choices": [{"text": "a"}]}\n\n', b'data: {"choices": [{"text": "b"}]}\n\n', usage):
        # The answer to each comes before the next is there.
        routed.say(answer_body(part))
        assert frames(routed.hear())[0].body == part
    routed.say(answer_body(b"", end=True))
    assert frames(routed.hear())[0].end_of_stream
    until(lambda: counted(picker, "request_ttft_seconds_count", "stream") == 1)
    assert counted(picker, "request_output_tokens_sum", "stream") == 10


def test_an_answer_that_ends_with_trailers(picker, routed):
    go(routed, "trailers").say(answer_headers(content_type="application/grpc"), answer_body(WHOLE))
    routed.say(response_trailers())
    head, part, last = routed.hear(3)
    assert head.HasField("response_headers")
    assert not frames([part])[0].end_of_stream
    assert last.HasField("response_trailers")
    assert routed.done() == []
    until(lambda: counted(picker, "request_output_tokens_sum", "trailers") == 10)
    until(lambda: picker.in_flight() == 0)


def test_an_answer_without_a_body_ends_with_its_head(picker, routed):
    go(routed, "bodiless").say(answer_headers(code=204, end=True))
    assert routed.hear()[0].HasField("response_headers")
    until(lambda: picker.in_flight() == 0)


@pytest.mark.parametrize("size", [1, 62_000, 62_001, 10_000_000])
def test_large_parts_come_back_in_frames(routed, size):
    go(routed, "large").say(answer_headers())
    routed.hear()
    data = bytes(n % 251 for n in range(size))
    cuts = [data[at : at + 3_000_000] for at in range(0, size, 3_000_000)]
    for n, part in enumerate(cuts):
        routed.say(answer_body(part, end=n == len(cuts) - 1))
    streamed = frames(routed.hear(sum(-(-len(part) // 62_000) for part in cuts)))
    assert b"".join(frame.body for frame in streamed) == data
    assert [frame.end_of_stream for frame in streamed] == [False] * (len(streamed) - 1) + [True]
    assert max(len(frame.body) for frame in streamed) <= 62_000


@pytest.mark.parametrize("mode", [BUFFERED, STREAMED])
def test_gateways_that_do_not_stream_answers_through_get_plain_ones(picker, channel, mode):
    picker.pool(Report())
    model = f"mode {mode}"
    ask = go(Ask(channel), model, (DUPLEX, mode)).say(answer_headers(), answer_body(WHOLE, end=True))
    head, part = ask.hear(2)
    assert head.HasField("response_headers")
    assert not part.response_body.response.HasField("body_mutation")
    until(lambda: counted(picker, "request_output_tokens_sum", model) == 10)
    ask.cancel()


def test_a_gateway_that_shows_no_answer_bodies_still_ends_the_count(picker, channel):
    picker.pool(Report())
    ask = go(Ask(channel), "silent", (DUPLEX, NONE)).say(answer_headers())
    ask.hear()
    assert ask.done() == []
    until(lambda: picker.in_flight() == 0)


def test_an_answer_whose_request_was_never_shown_passes(ask):
    """Modes may be set so; llm-d's own tests do it."""
    ask.say(answer_headers(content_type=SSE), answer_body(b"data: {}\n\n"), answer_body(b"", end=True))
    assert [a.WhichOneof("response") for a in ask.hear(3)] == ["response_headers", "response_body", "response_body"]


def test_the_endpoint_that_served_is_the_one_that_counts(picker, channel):
    """The gateway went on to a fallback: the first did not take the connection."""
    first, second = picker.pool(Report(), Report(30))
    picker.engines[0].close()
    ask = go(Ask(channel), "fallback").say(answer_headers(served=second), answer_body(WHOLE, end=True))
    ask.hear(2)
    until(lambda: picker.in_flight() == 0)
    states = {e["address"]: e["state"] for e in picker.state()["pools"][0]["endpoints"]}
    assert states == {first: "unreachable", second: "ok"}
    ask.cancel()


def test_an_answer_that_breaks_off_is_counted_no_more(picker, channel):
    picker.pool(Report())
    ask = go(Ask(channel), "broken").say(answer_headers(content_type=SSE), answer_body(b"data: {}\n\n"))
    ask.hear(2)
    assert picker.in_flight() == 1
    ask.cancel()
    until(lambda: picker.in_flight() == 0)


@pytest.mark.parametrize(
    ("served", "namespace", "told"),
    [
        ("10.0.0.7:3000", True, "10.0.0.7:3000"),
        (None, True, "fail: missing destination endpoint served metadata"),
        (None, False, "fail: missing envoy lb metadata"),
    ],
)
def test_the_conformance_tests_are_told_who_served(tmp_path, served, namespace, told):
    with (
        running(PickerProcess(tmp_path, ("--one-pool", "--conformance"))) as picker,
        picker.channel() as channel,
    ):
        picker.pool(Report())
        head = answer_headers(served=served)
        if namespace and served is None:
            head.metadata_context.filter_metadata["envoy.lb"]["other"] = "x"
        ask = go(Ask(channel), "m").say(head)
        assert set_headers(ask.hear()[0])["x-conformance-test-served-endpoint"].decode() == told
        ask.cancel()


def test_a_session_gets_a_token_and_comes_back(picker, channel):
    config = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins:\n"
    (picker.folder / "session.yaml").write_text(config + "- type: queue-scorer\n- type: session-affinity-scorer\n")
    addresses = picker.pool(Report(), Report(), Report())
    pods = [{"address": address, "pod": f"ns/pod-{n}"} for n, address in enumerate(addresses)]
    picker.write({"pools": [{"key": "default/pool", "models": [], "endpoints": pods, "config": "session.yaml"}]})
    until(lambda: all(e["pod"] for e in picker.state()["pools"][0]["endpoints"]))

    def ask_with(**more: str) -> str:
        ask = Ask(channel).say(headers(path=COMPLETIONS, **MODES, **more), body(completion(), end=True))
        ask.hear(2)
        ask.say(answer_headers(end=True))
        token: str = set_headers(ask.hear()[0])["x-session-token"].decode()
        ask.cancel()
        return token

    first = ask_with()
    assert {ask_with(x_session_token=first) for _ in range(6)} == {first}

"""The request's phase as gateways speak it: what is answered when, in which order, and in frames of what size."""

from __future__ import annotations

import itertools
import json
import random

import grpc
import pytest
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb

from gateway.conformance.gateway import Ask, PickerProcess, Report, running, until
from gateway.extproc.support import answer_body, answer_headers, body, frames, headers, set_headers, trailers

ENDPOINT = "x-gateway-destination-endpoint"
NONE, STREAMED, BUFFERED, PARTIAL, DUPLEX = range(5)
MODES = {"modes": (DUPLEX, DUPLEX)}
COMPLETIONS = "/v1/completions"


def completion(text: str = "hello", **more: object) -> bytes:
    return json.dumps({"model": "m", "prompt": text, "max_tokens": 4, **more}).encode()


def chunks(data: bytes, size: int) -> list[pb.ProcessingRequest]:
    parts = [data[at : at + size] for at in range(0, len(data), size)] or [b""]
    return [body(part, end=n == len(parts) - 1) for n, part in enumerate(parts)]


def endpoint_of(answer: pb.ProcessingResponse) -> str:
    """The endpoint, which header and metadata have to name alike."""
    (named,) = {
        set_headers(answer)[ENDPOINT].decode(),
        answer.dynamic_metadata.fields["envoy.lb"].struct_value.fields[ENDPOINT].string_value,
    }
    return named


@pytest.fixture(scope="module", params=["fast", "grpcio"])
def picker(request, tmp_path_factory):
    """One for each transport."""
    arguments = ("--one-pool", "--transport", request.param)
    with running(PickerProcess(tmp_path_factory.mktemp("p"), arguments)) as one:
        yield one


@pytest.fixture(scope="module", autouse=True)
def pool(picker):
    return picker.pool(Report(), Report(), Report())


@pytest.mark.parametrize(
    ("size", "chunk"),
    [(40, 1), (41, 41), (61_999, 7_000), (62_000, 62_000), (62_001, 65_536), (1_000_000, 16_384), (10_000_000, 65_536)],
)
@pytest.mark.parametrize("ending", ["body", "empty part", "trailers"])
def test_headers_then_body_then_trailers_once_the_body_has_ended(ask: Ask, pool, size, chunk, ending):
    data = completion().ljust(size)
    parts = chunks(data, chunk)
    if ending != "body":
        parts[-1].request_body.end_of_stream = False
    ask.say(headers(path=COMPLETIONS, **MODES), *parts)
    if ending == "empty part":
        ask.say(body(b"", end=True))
    elif ending == "trailers":
        ask.say(trailers())
    first = ask.hear()[0]
    assert first.HasField("request_headers")
    assert endpoint_of(first) in pool
    assert first.request_headers.response.clear_route_cache
    found = set_headers(first)
    assert found["content-length"] == b"%d" % len(data)
    assert not {"transfer-encoding", ":path", ":method", "host"} & set(found)
    number = -(-len(data) // 62_000)
    answers = ask.hear(number + (ending == "trailers"))
    if ending == "trailers":
        assert answers.pop().HasField("request_trailers")
    streamed = frames(answers)
    assert b"".join(frame.body for frame in streamed) == data
    assert all(len(frame.body) <= 62_000 for frame in streamed)
    assert [frame.end_of_stream for frame in streamed] == [False] * (number - 1) + [ending != "trailers"]
    assert ask.done() == []


def test_nothing_is_answered_before_the_body_has_ended(picker, channel, ask):
    """Another request that comes later is decided first."""
    ask.say(headers(path=COMPLETIONS, **MODES), body(b'{"model": "m", '))
    other = Ask(channel).say(headers(path=COMPLETIONS, **MODES), body(completion(), end=True))
    assert other.hear()[0].HasField("request_headers")
    other.cancel()
    ask.say(body(b'"prompt": "x"}', end=True))
    assert ask.hear()[0].HasField("request_headers")


@pytest.mark.parametrize("seed", range(4))
def test_a_body_may_be_cut_anywhere(ask, seed):
    rng = random.Random(seed)
    data = completion("ä" * 200, temperature=0)
    cuts = sorted({0, len(data), *(rng.randrange(len(data)) for _ in range(12))})
    parts = [body(data[a:b], end=b == len(data)) for a, b in itertools.pairwise(cuts)]
    ask.say(headers(path=COMPLETIONS, **MODES), *parts)
    head, part = ask.hear(2)
    assert head.HasField("request_headers")
    assert frames([part])[0].body == data


def test_a_gateway_that_holds_the_body_gets_all_changes_with_it(ask, pool):
    ask.say(headers(path=COMPLETIONS, modes=(BUFFERED, BUFFERED), x_llm_d_model_name_rewrite="other"))
    assert ask.hear()[0].HasField("request_headers")
    ask.say(body(completion(), end=True))
    (answer,) = ask.hear()
    assert endpoint_of(answer) in pool
    common = answer.request_body.response
    assert json.loads(common.body_mutation.body)["model"] == "other"
    assert set_headers(answer)["content-length"] == b"%d" % len(common.body_mutation.body)
    assert common.clear_route_cache
    assert ask.done() == []


def test_a_body_that_the_gateway_could_not_hold_whole_is_refused(ask):
    ask.say(headers(path=COMPLETIONS, modes=(PARTIAL, NONE)), body(completion()[:20], end=False))
    assert ask.hear()[0].HasField("request_headers")
    assert ask.hear()[0].immediate_response.status.code == 413
    assert ask.rest() == []


@pytest.mark.parametrize("mode", [NONE, STREAMED])
def test_a_gateway_that_shows_no_body_first_is_told_what_to_set(ask, mode):
    ask.say(headers(path=COMPLETIONS, modes=(mode, mode)))
    refused = ask.hear()[0].immediate_response
    assert refused.status.code == 500
    assert b"request_body_mode" in refused.body


@pytest.mark.parametrize("mode", [NONE, STREAMED, BUFFERED, DUPLEX])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_request_without_a_body_goes_to_some_endpoint(ask, pool, mode, method):
    ask.say(headers(method, "/v1/models?x=1", end=True, modes=(mode, mode)))
    assert endpoint_of(ask.hear()[0]) in pool


@pytest.mark.parametrize("path", [COMPLETIONS, "/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize("mode", [BUFFERED, DUPLEX])
def test_a_post_without_a_body_is_for_an_engine_to_refuse(ask, pool, path, mode):
    ask.say(headers(path=path, end=True, modes=(mode, mode)))
    assert endpoint_of(ask.hear()[0]) in pool


@pytest.mark.parametrize("size", [0, 1, 62_001])
def test_a_body_that_the_picker_does_not_read_passes_as_it_is(ask, pool, size):
    """As gateways with routes of their own send; llm-d calls it passthrough."""
    data = bytes(range(256)) * (size // 256 + 1)
    ask.say(headers(path="/vllm.grpc.engine.VllmEngine/Generate", **MODES))
    assert endpoint_of(ask.hear()[0]) in pool
    ask.say(body(data[:size]), body(b"", end=True))
    number = 1 + max(1, -(-size // 62_000))
    streamed = frames(ask.hear(number))
    assert b"".join(frame.body for frame in streamed) == data[:size]
    assert [frame.end_of_stream for frame in streamed] == [False] * (number - 1) + [True]


def test_a_request_for_a_model_that_nobody_listed_goes_to_the_pool(ask, pool):
    ask.say(headers(path=COMPLETIONS, **MODES), body(completion(model="conformance-fake-model"), end=True))
    assert endpoint_of(ask.hear()[0]) in pool


@pytest.mark.parametrize("name", ["x-llm-d-model-name-rewrite", "x-gateway-model-name-rewrite"])
def test_the_model_is_renamed_by_header(ask, name):
    ask.say(headers(path=COMPLETIONS, **MODES, **{name: "target"}), body(completion(), end=True))
    _, part = ask.hear(2)
    assert json.loads(frames([part])[0].body)["model"] == "target"


def test_the_new_name_of_a_header_wins(ask):
    both = {"x-gateway-model-name-rewrite": "old", "x-llm-d-model-name-rewrite": "new"}
    ask.say(headers(path=COMPLETIONS, **MODES, **both), body(completion(), end=True))
    assert json.loads(frames(ask.hear(2)[1:])[0].body)["model"] == "new"


def test_header_values_as_text_are_read_as_raw_ones_are(ask):
    message = headers(path=COMPLETIONS, **MODES, x_llm_d_model_name_rewrite="target")
    for header in message.request_headers.headers.headers:
        header.value, header.raw_value = header.raw_value.decode(), b""
    ask.say(message, body(completion(), end=True))
    assert json.loads(frames(ask.hear(2)[1:])[0].body)["model"] == "target"


@pytest.mark.parametrize("phase", ["head", "body", "decided", "answering"])
@pytest.mark.parametrize("way", ["cancel", "half-close"])
def test_a_client_that_leaves_is_counted_no_more(picker, ask, phase, way):
    ask.say(headers(path=COMPLETIONS, **MODES))
    if phase != "head":
        ask.say(body(completion(), end=phase != "body"))
    if phase in ("decided", "answering"):
        ask.hear(2)
        until(lambda: picker.in_flight() == 1)
    if phase == "answering":
        ask.say(pb.ProcessingRequest(response_headers=pb.HttpHeaders()))
        ask.hear()
    if way == "cancel":
        ask.cancel()
    else:
        ask.done()
    until(lambda: picker.in_flight() == 0)


@pytest.mark.parametrize("data", [b"\xff\xff", b"\x12\x7f"])
def test_what_is_no_message_ends_the_call_alone(channel, ask, data):
    ask.say(data)
    with pytest.raises(grpc.RpcError) as caught:
        ask.rest()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    other = Ask(channel).say(headers(path=COMPLETIONS, **MODES), body(completion(), end=True))
    assert other.hear()[0].HasField("request_headers")
    other.cancel()


def test_messages_without_meaning_here_are_passed_over(ask):
    ask.say(pb.ProcessingRequest(), pb.ProcessingRequest(observability_mode=True), b"")
    ask.say(headers(path=COMPLETIONS, **MODES), body(completion(), end=True))
    assert ask.hear()[0].HasField("request_headers")


@pytest.mark.parametrize("path", ["/team/a/v1/completions", "/x/v1/chat/completions?y=1", "/a/v1/messages", ""])
def test_paths_may_have_more_before_them_and_none_is_read_as_completions(ask, path):
    """As llm-d takes them, whose own tests show no path at all."""
    message = headers(path=path, **MODES, x_llm_d_model_name_rewrite="other")
    if not path:
        kept = [h for h in message.request_headers.headers.headers if not h.key.startswith(":")]
        del message.request_headers.headers.headers[:]
        message.request_headers.headers.headers.extend(kept)
    data = json.dumps({"model": "m", "prompt": "x", "messages": [{"role": "user", "content": "x"}], "max_tokens": 1})
    ask.say(message, body(data.encode(), end=True))
    _, part = ask.hear(2)
    assert json.loads(frames([part])[0].body)["model"] == "other"


@pytest.mark.parametrize("data", [b"no healthy upstream", b'{"prompt": "hello world"}'])
def test_without_a_path_the_body_has_to_be_a_request_all_the_same(ask, data):
    message = headers(path="/team/v1/completions", **MODES)
    ask.say(message, body(data, end=True))
    assert ask.hear()[0].immediate_response.status.code == 400


def test_what_later_versions_of_the_protocol_add_is_passed_over(ask):
    later = b"\xfa\x3f\x03new\xf8\x41\x01"  # Fields 1023, with bytes, and 1055, with a number.
    data = completion()
    ask.say(headers(path=COMPLETIONS, **MODES).SerializeToString() + later)
    ask.say(body(data[:10]).SerializeToString() + later, later + body(data[10:], end=True).SerializeToString())
    assert frames(ask.hear(2)[1:])[0].body == data


def test_metadata_and_attributes_may_come_with_every_message(ask):
    data = completion()
    messages = [headers(path=COMPLETIONS, **MODES), body(data[:10]), body(data[10:], end=True)]
    for message in messages:
        message.metadata_context.filter_metadata["some.filter"]["key"] = "x" * 300
        message.attributes["envoy.filters.http.ext_proc"]["request.host"] = "example.com"
    ask.say(*messages)
    assert frames(ask.hear(2)[1:])[0].body == data


def test_header_values_need_not_be_text(ask):
    message = headers(path=COMPLETIONS, **MODES, x_llm_d_inference_objective="o", prefer="p")
    for header in message.request_headers.headers.headers:
        if not header.key.startswith(":"):
            header.raw_value = b"\xff\xfe\x80"
    ask.say(message, body(completion(), end=True))
    assert ask.hear()[0].HasField("request_headers")


def test_a_second_head_changes_nothing(ask):
    ask.say(headers(path=COMPLETIONS, **MODES), headers("GET", "/v1/models", end=True), body(completion(), end=True))
    head, part = ask.hear(2)
    assert head.HasField("request_headers")
    assert frames([part])[0].body == completion()


def test_an_answer_before_the_request_is_decided_passes(picker, ask):
    """Another filter of the gateway refused the request, or its client took too long."""
    ask.say(headers(path=COMPLETIONS, **MODES), body(b'{"model": '))
    ask.say(answer_headers(408), answer_body(b"too late", end=True))
    head, part = ask.hear(2)
    assert (head.WhichOneof("response"), part.WhichOneof("response")) == ("response_headers", "response_body")
    assert ask.done() == []
    until(lambda: picker.in_flight() == 0)

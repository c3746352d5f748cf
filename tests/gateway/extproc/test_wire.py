"""Messages put together by hand are those that protobuf makes."""

from envoy.config.core.v3 import base_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.extproc import wire

_names = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=200)
_headers = st.lists(st.tuples(_names, _names), min_size=1, max_size=6)
_endpoints = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=60)


def _mutation(headers):
    replace = base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
    return pb.HeaderMutation(
        set_headers=[
            base_pb2.HeaderValueOption(
                header=base_pb2.HeaderValue(key=name, raw_value=value.encode()), append_action=replace
            )
            for name, value in headers
        ]
    )


def _by_hand(headers):
    return [wire.set_header(name.encode(), value.encode()) for name, value in headers]


def _metadata(message, endpoints):
    message.dynamic_metadata["envoy.lb"] = {"x-gateway-destination-endpoint": endpoints}
    return message.SerializeToString()


@given(_headers, _endpoints)
def test_headers_of_a_request(headers, endpoints):
    common = pb.CommonResponse(header_mutation=_mutation(headers), clear_route_cache=True)
    expected = pb.ProcessingResponse(request_headers=pb.HeadersResponse(response=common))
    got = wire.request_headers(_by_hand(headers), wire.endpoint_metadata(endpoints))
    assert got == _metadata(expected, endpoints)


@given(_headers, _endpoints, st.none() | st.binary(max_size=40_000))
def test_a_whole_body_with_headers(headers, endpoints, body):
    change = None if body is None else pb.BodyMutation(body=body)
    common = pb.CommonResponse(header_mutation=_mutation(headers), body_mutation=change, clear_route_cache=True)
    expected = _metadata(pb.ProcessingResponse(request_body=pb.BodyResponse(response=common)), endpoints)
    got = wire.buffered_request(_by_hand(headers), wire.endpoint_metadata(endpoints), body)
    assert pb.ProcessingResponse.FromString(got) == pb.ProcessingResponse.FromString(expected)
    if body != b"":
        assert got == expected


@given(_headers)
def test_headers_of_an_answer(headers):
    common = pb.CommonResponse(header_mutation=_mutation(headers))
    expected = pb.ProcessingResponse(response_headers=pb.HeadersResponse(response=common))
    assert wire.response_headers(headers) == expected.SerializeToString()


@given(st.integers(0, 200_000), st.booleans(), st.booleans())
def test_frames_of_a_body(size, ends, view):
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    for make, kind in ((wire.request_frames, "request_body"), (wire.response_frames, "response_body")):
        got = make(memoryview(body) if view else body, ends=ends)
        streamed = []
        for frame in got:
            message = pb.ProcessingResponse.FromString(frame)
            assert message.SerializeToString() == frame
            streamed.append(getattr(message, kind).response.body_mutation.streamed_response)
        assert b"".join(s.body for s in streamed) == body
        assert all(len(s.body) <= wire.MAX_FRAME_BYTES for s in streamed)
        assert [s.end_of_stream for s in streamed] == [False] * (len(streamed) - 1) + [ends]


@given(st.binary(max_size=70_000), st.booleans(), st.booleans())
def test_parts_of_bodies_are_read_as_protobuf_reads_them(data, ends, answer):
    part = pb.HttpBody(body=data, end_of_stream=ends)
    message = pb.ProcessingRequest(response_body=part) if answer else pb.ProcessingRequest(request_body=part)
    text = message.SerializeToString()
    assert text[0] == (wire.RESPONSE_BODY if answer else wire.REQUEST_BODY)
    read = wire.body_part(text)
    assert read is not None
    assert (bytes(read[0]), read[1]) == (data, ends)


@given(st.binary(max_size=200))
def test_other_shapes_are_left_to_protobuf(data):
    text = bytes((wire.REQUEST_BODY,)) + data
    read = wire.body_part(text)
    if read is not None:
        try:
            message = pb.ProcessingRequest.FromString(text)
        except DecodeError:
            return  # What is wrong is in the metadata, which nobody reads.
        assert (bytes(read[0]), read[1]) == (message.request_body.body, message.request_body.end_of_stream)


@given(st.binary(max_size=300), st.booleans(), st.none() | st.text(max_size=300))
def test_metadata_after_a_part_is_passed_over(data, ends, metadata):
    message = pb.ProcessingRequest(request_body=pb.HttpBody(body=data, end_of_stream=ends))
    message.metadata_context.SetInParent()
    if metadata is not None:
        message.metadata_context.filter_metadata["a"]["b"] = metadata
    read = wire.body_part(message.SerializeToString())
    assert read is not None
    assert (bytes(read[0]), read[1]) == (data, ends)


def test_attributes_after_a_part_are_left_to_protobuf():
    message = pb.ProcessingRequest(request_body=pb.HttpBody(body=b"x"))
    message.attributes["a"]["b"] = "c"
    assert wire.body_part(message.SerializeToString()) is None


def test_scores_stand_beside_the_endpoints():
    message = pb.ProcessingResponse.FromString(wire.scored_metadata("a:1,b:2", {"a:1": 0.5, "b:2": 0.25}))
    assert message.dynamic_metadata["envoy.lb"]["x-gateway-destination-endpoint"] == "a:1,b:2"
    assert dict(message.dynamic_metadata["envoy.lb"]["x-gateway-destination-endpoint-scores"]) == {
        "a:1": 0.5,
        "b:2": 0.25,
    }

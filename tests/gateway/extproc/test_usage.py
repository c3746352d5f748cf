"""Token counts from the two ends of an answer."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.extproc.usage import KEPT_BYTES, Usage, usage_in


def _ends(text: bytes) -> Usage:
    return usage_in(text[:KEPT_BYTES], text[-KEPT_BYTES:])


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}, (9, 4, None)),
        ({"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 8}}, (9, 4, 8)),
        ({"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": None}, (9, 4, None)),
        ({"input_tokens": 9, "output_tokens": 4, "input_tokens_details": {"cached_tokens": 2}}, (9, 4, 2)),
        ({"input_tokens": 1, "output_tokens": 4, "cache_read_input_tokens": 8}, (9, 4, 8)),
        ({"prompt_tokens": 9}, (9, None, None)),
        ({"prompt_tokens": "many"}, (None, None, None)),
        (None, (None, None, None)),
    ],
)
def test_every_api_is_understood(usage, expected):
    text = json.dumps({"choices": [{"message": {"content": 'say "usage": {}'}}], "usage": usage}).encode()
    assert tuple(_ends(text)) == expected


def test_anthropic_streams_tell_of_the_prompt_first_and_of_the_output_last():
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 25, "output_tokens": 1}}}
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 15}}
    middle = b'event: content_block_delta\ndata: {"delta": {"text": "hello"}}\n\n' * 1000
    text = b"event: message_start\ndata: %b\n\n%bevent: message_delta\ndata: %b\n\nevent: message_stop\n\n" % (
        json.dumps(start).encode(),
        middle,
        json.dumps(end).encode(),
    )
    assert _ends(text) == Usage(25, 15, None)


def test_the_last_usage_of_a_stream_that_repeats_it_counts():
    lines = [json.dumps({"usage": {"prompt_tokens": 5, "completion_tokens": n}}) for n in range(500)]
    assert _ends("".join(f"data: {line}\n\n" for line in lines).encode()) == Usage(5, 499, None)


def test_streams_with_an_empty_usage_in_each_event_have_that_of_the_last():
    text = b'data: {"usage":null}\n\n' * 2000 + b'data: {"usage" : {"prompt_tokens": 1}}\n\ndata: [DONE]\n\n'
    assert _ends(text).prompt_tokens == 1


@given(st.binary(max_size=400), st.binary(max_size=400))
def test_nothing_makes_it_fail(first, last):
    assert isinstance(usage_in(first + b'"usage":{' + last, last + b'"usage":' + first), Usage)

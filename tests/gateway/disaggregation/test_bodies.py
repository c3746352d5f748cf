"""The bodies of legs, and headers for sidecars."""

import json

import pytest

from fairlead.engines import engine_for
from fairlead.engines.handoff import Handoff, HandoffError, Meeting
from fairlead.gateway.disaggregation import cannot_split, sidecar_headers, spread_encoders
from fairlead.gateway.disaggregation.bodies import decode_body, prefill_body, taken_from, whole_body
from fairlead.gateway.requests import HANDOFF_FIELDS, Api, top_level


def handoff(runtime: str) -> Handoff:
    found = engine_for(runtime).handoff
    assert found is not None
    return found


VLLM, SGLANG, TRTLLM = handoff("vllm"), handoff("sglang"), handoff("tensorrt-llm")
MESSAGES = b'[ {"role":"user", "content":"\\u00fc 1.50"} ]'
BODY = (
    b'{"model":"m","messages":' + MESSAGES + b',"stream":true,"stream_options":{"include_usage":true},"max_tokens":9}'
)
HERE = Meeting("10.0.0.1", room=7)


def test_prefill_computes_one_token_of_the_prompt_as_it_was_written():
    body = prefill_body(Api.CHAT, VLLM, top_level(BODY), HERE)
    assert MESSAGES in body
    fields = json.loads(body)
    assert (fields["stream"], fields["max_tokens"], fields["kv_transfer_params"]["do_remote_decode"]) == (
        False,
        1,
        True,
    )
    assert "stream_options" not in fields


def test_decode_gets_the_request_with_the_place_of_the_cache():
    body = decode_body(VLLM, top_level(BODY), {"remote_engine_id": "e"}, HERE)
    assert json.loads(body) == {**json.loads(BODY), "kv_transfer_params": {"remote_engine_id": "e"}}
    assert MESSAGES in body


def test_both_engines_of_sglang_meet():
    one, two = (
        json.loads(each)
        for each in (
            prefill_body(Api.CHAT, SGLANG, top_level(BODY), HERE),
            decode_body(SGLANG, top_level(BODY), {}, HERE),
        )
    )
    assert one["bootstrap_room"] == two["bootstrap_room"] == 7
    assert one["bootstrap_host"] == "10.0.0.1"
    assert two["stream"] is True


def test_a_response_has_its_own_limit():
    body = b'{"model":"m","input":"x","max_output_tokens":5,"background":true}'
    fields = json.loads(prefill_body(Api.RESPONSES, VLLM, top_level(body), HERE))
    assert fields["max_output_tokens"] == 1
    assert "max_tokens" not in fields and "background" not in fields


@pytest.mark.parametrize("name", HANDOFF_FIELDS)
def test_places_that_a_client_names_go_nowhere(name):
    body = json.dumps({**json.loads(BODY), name: {"remote_host": "evil"}}).encode()
    fields = top_level(body)
    assert b"evil" not in prefill_body(Api.CHAT, VLLM, fields, HERE)
    assert b"evil" not in decode_body(VLLM, fields, {}, HERE)
    assert b"evil" not in whole_body(body, fields)
    assert whole_body(BODY, top_level(BODY)) is BODY


@pytest.mark.parametrize(
    ("api", "runtime", "fields", "whole"),
    [
        (Api.CHAT, VLLM, {}, False),
        (Api.CHAT, TRTLLM, {"n": 1, "echo": False, "prompt_logprobs": None}, False),
        (Api.ANTHROPIC, VLLM, {}, False),
        (Api.ANTHROPIC, TRTLLM, {}, True),
        (Api.RESPONSES, SGLANG, {}, True),
        (Api.EMBEDDINGS, VLLM, {}, True),
        (Api.CHAT, VLLM, {"n": 2}, True),
        (Api.CHAT, VLLM, {"n": 10}, True),
        (Api.COMPLETIONS, VLLM, {"echo": True}, True),
        (Api.COMPLETIONS, VLLM, {"prompt_logprobs": 0}, True),
        (Api.COMPLETIONS, VLLM, {"prompt_embeds": "AAAA" * 9}, True),
        (Api.COMPLETIONS, VLLM, {"use_beam_search": True}, True),
        (Api.COMPLETIONS, VLLM, {"prompt": ["a", "b"]}, True),
        (Api.COMPLETIONS, VLLM, {"prompt": ["a"]}, False),
        (Api.COMPLETIONS, VLLM, {"prompt": [1, 2]}, False),
        (Api.COMPLETIONS, VLLM, {"prompt": [[1], [2]]}, True),
    ],
)
def test_requests_that_stay_whole(api, runtime, fields, whole):
    body = json.dumps({"model": "m", **fields}).encode()
    assert bool(cannot_split(api, runtime, top_level(body))) is whole


@pytest.mark.parametrize("answer", [b"", b"x", b"[]", b"{}", b'{"kv_transfer_params": null}', b"[" * 5000, b"\xff"])
def test_answers_without_a_place(answer):
    with pytest.raises(HandoffError):
        taken_from(VLLM, answer)


def test_usage_of_the_prefill_engine():
    answer = {"kv_transfer_params": {"remote_engine_id": "e"}, "usage": {"prompt_tokens": 10}}
    assert taken_from(VLLM, json.dumps(answer).encode())[1:] == (10, None)
    answer["usage"] = {"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": 8}}
    assert taken_from(VLLM, json.dumps(answer).encode())[1:] == (10, 8)
    answer["usage"] = {"input_tokens": 10, "cache_read_input_tokens": 8}
    assert taken_from(VLLM, json.dumps(answer).encode())[1:] == (10, 8)
    answer["usage"] = "?"
    assert taken_from(VLLM, json.dumps(answer).encode())[1:] == (None, None)


def test_headers_for_a_sidecar():
    assert sidecar_headers() == ()
    assert sidecar_headers("10.0.0.1:8000", ["10.0.0.2:1", "10.0.0.3:1"]) == (
        ("x-prefiller-host-port", "10.0.0.1:8000"),
        ("x-encoder-hosts-ports", "10.0.0.2:1,10.0.0.3:1"),
    )


def test_encoders_are_spread():
    assert spread_encoders(["a", "b", "c"], 2, 0.7) == ("c", "a")
    assert spread_encoders(["a", "b"], 5, 0.0) == ("a", "b")
    assert spread_encoders(["a"], 0, 0.5) == spread_encoders([], 3, 0.5) == ()
    assert {spread_encoders(["a", "b", "c"], 1, draw / 30) for draw in range(30)} == {("a",), ("b",), ("c",)}

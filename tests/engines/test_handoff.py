"""One request becomes two: what prefill and decode engines are asked."""

import pytest

from fairlead.engines import HandoffError, Meeting, engine_for

BODY = {
    "model": "m",
    "prompt": "hello",
    "max_tokens": 100,
    "min_tokens": 10,
    "stream": True,
    "stream_options": {"include_usage": True},
    "temperature": 0,
}
MEETING = Meeting("10.0.0.7", room=42)
NIXL = {
    "do_remote_prefill": True,
    "do_remote_decode": False,
    "remote_block_ids": [[1, 2, 3]],
    "remote_engine_id": "b7c1",
    "remote_request_id": "cmpl-1",
    "remote_host": "10.0.0.7",
    "remote_port": 5600,
    "tp_size": 2,
}


@pytest.mark.parametrize("runtime", ["vllm", "sglang", "tensorrt-llm", "simulated"])
def test_prefill_makes_one_token_and_does_not_stream(runtime):
    request = engine_for(runtime).handoff.prefill_request(BODY, MEETING)
    assert (request["max_tokens"], request["stream"], request["temperature"]) == (1, False, 0)
    assert not {"stream_options", "min_tokens"} & set(request)
    chat = engine_for(runtime).handoff.prefill_request({**BODY, "max_completion_tokens": 50}, MEETING)
    assert chat["max_completion_tokens"] == 1
    assert BODY["stream"] is True


def test_vllm_decode_gets_what_prefill_said_whole():
    handoff = engine_for("vllm").handoff
    assert not handoff.concurrent
    transfer = handoff.prefill_request(BODY, MEETING)["kv_transfer_params"]
    assert (transfer["do_remote_decode"], transfer["do_remote_prefill"]) == (True, False)
    taken = handoff.take({"id": "x", "kv_transfer_params": NIXL})
    assert handoff.decode_request(BODY, taken, MEETING) == {**BODY, "kv_transfer_params": NIXL}


@pytest.mark.parametrize("answer", [{}, {"kv_transfer_params": None}, {"kv_transfer_params": {}}])
def test_vllm_without_a_connector_is_told(answer):
    with pytest.raises(HandoffError, match="KV connector"):
        engine_for("vllm").handoff.take(answer)


def test_sglang_engines_meet_in_a_room():
    handoff = engine_for("sglang").handoff
    assert handoff.concurrent
    place = {"bootstrap_host": "10.0.0.7", "bootstrap_port": 8998, "bootstrap_room": 42}
    prefill = handoff.prefill_request(BODY, MEETING)
    decode = handoff.decode_request(BODY, handoff.take({}), MEETING)
    assert place.items() <= prefill.items()
    assert decode == {**BODY, **place}
    assert handoff.decode_request(BODY, {}, Meeting("h", 9000, 1))["bootstrap_port"] == 9000


def test_trtllm_decode_goes_on_from_token_ids():
    handoff = engine_for("tensorrt-llm").handoff
    assert handoff.prefill_request(BODY, MEETING)["disaggregated_params"] == {"request_type": "context_only"}
    params = {"request_type": "context_only", "first_gen_tokens": [7], "ctx_request_id": 3, "encoded_opaque_state": "x"}
    taken = handoff.take({"choices": [{"disaggregated_params": params}], "prompt_token_ids": [1, 2]})
    decode = handoff.decode_request(BODY, taken, MEETING)
    assert decode["disaggregated_params"] == {**params, "request_type": "generation_only"}
    assert (decode["prompt"], decode["stream"]) == ([1, 2], True)
    chat = {"model": "m", "messages": []}
    assert handoff.decode_request(chat, taken, MEETING)["prompt_token_ids"] == [1, 2]
    with pytest.raises(HandoffError, match="cache transceiver"):
        handoff.take({"choices": [{}]})


@pytest.mark.parametrize("runtime", ["llama-cpp", "tgi", "triton", "furiosa-llm", "vllm-tpu", "jetstream", "mlserver"])
def test_engines_without_a_hand_off(runtime):
    assert engine_for(runtime).handoff is None

"""Calls to running engines: what is sent, and how answers read. vLLM's answers are recorded from a real one."""

import pytest

from fairlead.engines import ENGINES, Adapter, CallOutcome, EngineSourceError, EngineSpec, HttpCall, engine_for
from fairlead.engines.llama_cpp import scale_adapters

VLLM_LOADED = b"Success: LoRA adapter 'extra' added successfully."
VLLM_LOADED_BEFORE = (
    b'{"error":{"message":"The lora adapter \'extra\' has already been loaded. If you want to load the adapter in '
    b'place, set \'load_inplace\' to True.","type":"InvalidUserInput","param":null,"code":400}}'
)
VLLM_NO_SUCH_PATH = (
    b'{"error":{"message":"Loading lora bad failed: No adapter found for /nonexistent","type":"NotFoundError",'
    b'"param":null,"code":404}}'
)
VLLM_NOT_THERE = (
    b'{"error":{"message":"The lora adapter \'extra\' cannot be found.","type":"NotFoundError",'
    b'"param":null,"code":404}}'
)


def test_vllm_adapter_calls():
    api = engine_for("vllm").adapters
    assert api.load(Adapter("style", "file:///lora")) == HttpCall(
        "POST", "/v1/load_lora_adapter", {"lora_name": "style", "lora_path": "/lora"}
    )
    assert api.unload("style") == HttpCall("POST", "/v1/unload_lora_adapter", {"lora_name": "style"})
    with pytest.raises(EngineSourceError):
        api.load(Adapter("style", "s3://bucket/lora"))


def test_vllm_answers():
    api = engine_for("vllm").adapters
    assert api.loaded(200, VLLM_LOADED) == CallOutcome("done")
    assert api.loaded(400, VLLM_LOADED_BEFORE).state == "unchanged"
    failed = api.loaded(404, VLLM_NO_SUCH_PATH)
    assert (failed.holds, failed.reason) == (
        False,
        "HTTP 404: Loading lora bad failed: No adapter found for /nonexistent",
    )
    assert api.unloaded(404, VLLM_NOT_THERE).holds
    assert api.unloaded(500, b"Internal Server Error") == CallOutcome("failed", "HTTP 500: Internal Server Error")


@pytest.mark.parametrize(
    ("runtime", "load", "unload"),
    [
        ("sglang", "/load_lora_adapter", "/unload_lora_adapter"),
        ("triton", "/v2/repository/models/a/load", "/v2/repository/models/a/unload"),
        ("mlserver", "/v2/repository/models/a/load", "/v2/repository/models/a/unload"),
        ("simulated", "/v1/load_lora_adapter", "/v1/unload_lora_adapter"),
    ],
)
def test_where_adapters_are_loaded(runtime, load, unload):
    api = engine_for(runtime).adapters
    assert (api.load(Adapter("a", "/x")).path, api.unload("a").path) == (load, unload)


@pytest.mark.parametrize("runtime", ["tgi", "llama-cpp", "tensorrt-llm", "furiosa-llm", "jetstream", "openvino"])
def test_engines_that_load_nothing_later(runtime):
    assert engine_for(runtime).adapters is None


def test_how_requests_name_an_adapter():
    assert engine_for("vllm").adapters.model_field("base", "style") == "style"
    assert engine_for("sglang").adapters.model_field("base", "style") == "base:style"


def test_llama_adapters_have_scales():
    assert scale_adapters({0: 1.0, 1: 0.0}).body == [{"id": 0, "scale": 1.0}, {"id": 1, "scale": 0.0}]


def test_sleep_and_wake():
    assert engine_for("vllm").sleeping.sleep() == HttpCall("POST", "/sleep?level=1")
    assert engine_for("vllm").sleeping.wake().path == "/wake_up"
    assert engine_for("sglang").sleeping.wake().path == "/resume_memory_occupation"
    assert engine_for("vllm-tpu").sleeping is None


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_warm_up_asks_for_the_model(engine):
    for call in engine.warm_up(EngineSpec("m", source="/m")):
        assert call.body["model"] == "m"


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_streams_get_less_than_the_pod(engine):
    assert engine.drain_s(EngineSpec("m", source="/m", drain_s=30)) == 25
    assert engine.drain_s(EngineSpec("m", source="/m", drain_s=2)) == 0


@pytest.mark.parametrize("runtime", ["vllm", "triton", "simulated"])
def test_the_command_line_says_how_long_streams_have(runtime):
    argv = engine_for(runtime).command(EngineSpec("m", source="/m", drain_s=65)).argv
    assert "60" in argv

"""Command lines and metric mapping of each adapter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.engines import UNKNOWN, EngineSourceError, EngineSpec, UnknownRuntime, engine_for
from fairlead.simulator.paced import EngineSettings, SimulatedEngine


def test_vllm_serves_a_path_under_every_name():
    spec = EngineSpec("m", aliases=("n", "m"), source="/models/m", args=("--max-model-len", "512"))
    assert engine_for("vllm").command(spec).argv == (
        "vllm", "serve", "/models/m", "--served-model-name", "m", "n", "--host", "$(POD_IP)", "--port", "8000",
        "--max-model-len", "512",
    )  # fmt: skip


@pytest.mark.parametrize(("source", "argument"), [("file:///a/b", "/a/b"), ("hf://org/name", "org/name"), ("/x", "/x")])
def test_vllm_sources(source, argument):
    assert engine_for("vllm").command(EngineSpec("m", source=source)).argv[2] == argument


@pytest.mark.parametrize("source", ["", "s3://bucket/x", "hf://", "file://relative"])
def test_vllm_refuses_sources_it_cannot_load(source):
    with pytest.raises(EngineSourceError, match="runtime vllm cannot serve"):
        engine_for("vllm").command(EngineSpec("m", source=source))


def test_simulated_command_can_be_replaced_and_extended():
    spec = EngineSpec("m", command=("python", "-m", "x"), args=("--itl-ms", "5"), drain_s=3)
    argv = engine_for("simulated").command(spec).argv
    assert argv[:3] == ("python", "-m", "x")
    assert argv[-2:] == ("--itl-ms", "5")
    assert argv[argv.index("--drain-timeout-s") + 1] == "0"


def test_unknown_runtime_lists_the_known():
    with pytest.raises(UnknownRuntime, match="simulated, vllm"):
        engine_for("llama")


@pytest.mark.parametrize("runtime", ["simulated", "vllm"])
def test_the_simulated_engines_page_fills_every_signal_it_can(runtime):
    engine = SimulatedEngine("m", EngineSettings(num_gpu_blocks=10))
    engine.running = 3
    signals = engine_for(runtime).signals(engine.metrics_page())
    assert (signals.running_requests, signals.waiting_requests) == (3, 0)
    assert signals.kv_cache_usage_ratio == 0.0
    assert (signals.kv_block_tokens, signals.kv_cache_capacity_tokens) == (16, 160)
    assert signals.succeeded_requests_total == 0
    assert signals.running_adapters is None
    assert signals.ttft is not None
    assert signals.ttft.count == 0
    assert signals.ttft.bounds_s[-1] == float("inf")


def test_ranks_are_added_and_the_newest_lora_series_wins():
    page = b"""\
vllm:num_requests_running{engine="0"} 2.0
vllm:num_requests_running{engine="1"} 3.0
vllm:kv_cache_usage_perc{engine="0"} 0.2
vllm:kv_cache_usage_perc{engine="1"} 0.4
vllm:lora_requests_info{max_lora="4",running_lora_adapters="old",waiting_lora_adapters=""} 100.0
vllm:lora_requests_info{max_lora="4",running_lora_adapters="a,b",waiting_lora_adapters="c"} 200.0
"""
    signals = engine_for("vllm").signals(page)
    assert signals.running_requests == 5
    assert signals.waiting_requests is None
    assert signals.kv_cache_usage_ratio == pytest.approx(0.3)
    assert (signals.running_adapters, signals.waiting_adapters, signals.max_adapters) == (("a", "b"), ("c",), 4)


@given(st.binary(max_size=400))
def test_any_page_gives_signals(page):
    assert engine_for("vllm").signals(b"vllm:num_requests_running" + page) is not None


def test_an_empty_page_says_nothing():
    assert engine_for("vllm").signals(b"") == UNKNOWN

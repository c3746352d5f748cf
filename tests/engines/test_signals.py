"""What each server's metrics page says. The vLLM page is a real one; the others are built from documented names."""

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.engines import ENGINES, UNKNOWN, EngineSignals, engine_for

PAGES = Path(__file__).parents[1] / "data" / "engines"


def signals(runtime: str, page: str) -> EngineSignals:
    return engine_for(runtime).signals((PAGES / page).read_bytes())


def known(read: EngineSignals) -> dict[str, object]:
    """The fields that are not None, histograms as (count, sum in seconds)."""
    fields = {f.name: getattr(read, f.name) for f in dataclasses.fields(read)}
    histograms = ("ttft", "itl", "e2e", "queue")
    return {
        name: (value.count, pytest.approx(value.sum_s)) if name in histograms else value
        for name, value in fields.items()
        if value is not None
    }


@pytest.mark.parametrize("runtime", ["vllm", "vllm-tpu", "simulated"])
def test_the_real_vllm(runtime):
    read = signals(runtime, "vllm-0.32-metrics.txt")
    assert (read.running_requests, read.waiting_requests) == (4, 1)
    assert read.kv_cache_usage_ratio == pytest.approx(0.00409, abs=1e-5)
    assert (read.kv_block_tokens, read.kv_cache_capacity_tokens) == (32, 524288)
    assert (read.running_adapters, read.waiting_adapters) == (("style", "extra"), ("style", "extra"))
    assert read.max_adapters == 2
    assert read.is_sleeping is False
    assert read.prefix_cache_queried_tokens_total > read.prefix_cache_hit_tokens_total > 0
    assert read.prompt_tokens_total == read.prefix_cache_queried_tokens_total
    assert read.preemptions_total == 0
    assert read.succeeded_requests_total == read.e2e.count
    assert read.ttft.count >= read.e2e.count
    assert read.itl.count > read.generation_tokens_total * 0.9
    assert read.queue.bounds_s[-1] == float("inf")
    assert list(read.queue.bounds_s) == sorted(read.queue.bounds_s)
    assert list(read.queue.cumulative) == sorted(read.queue.cumulative)
    assert read.queue.cumulative[-1] == read.queue.count
    # It does not speculate, and keeps to itself how many adapters it holds.
    unknown = {f.name for f in dataclasses.fields(read) if getattr(read, f.name) is None}
    assert unknown == {
        "swapped_requests",
        "loaded_adapters",
        "spec_decode_drafted_tokens_total",
        "spec_decode_accepted_tokens_total",
    }


def test_sglang_adds_its_ranks_up():
    assert known(signals("sglang", "sglang-0.5-metrics.txt")) == {
        "running_requests": 5,
        "waiting_requests": 4,
        "swapped_requests": 1,
        "kv_cache_usage_ratio": pytest.approx(0.2),
        "kv_cache_capacity_tokens": 40000,
        "kv_block_tokens": 64,
        "loaded_adapters": 3,
        "max_adapters": 8,
        "preemptions_total": 7,
        "prompt_tokens_total": 9000,
        "generation_tokens_total": 4000,
        "prefix_cache_queried_tokens_total": 9000,
        "prefix_cache_hit_tokens_total": 3500,
        "succeeded_requests_total": 42,
        "ttft": (3, 2.23),
        "itl": (4, 0.088),
        "e2e": (3, 11.7),
        "queue": (2, 0.32),
    }


def test_histograms_of_ranks_are_added_bucket_by_bucket():
    queue = signals("sglang", "sglang-0.5-metrics.txt").queue
    assert dict(zip(queue.bounds_s, queue.cumulative, strict=True)) == {
        0.01: 0, 0.05: 1, 0.1: 1, 0.5: 2, 1.0: 2, 5.0: 2, 10.0: 2, float("inf"): 2,
    }  # fmt: skip


def test_tensorrt_llm():
    assert known(signals("tensorrt-llm", "tensorrt-llm-1-metrics.txt")) == {
        "running_requests": 5,
        "waiting_requests": 2,
        "swapped_requests": 1,
        "kv_cache_usage_ratio": pytest.approx(0.4),
        "kv_block_tokens": 32,
        "kv_cache_capacity_tokens": 32000,
        "prompt_tokens_total": 9000,
        "generation_tokens_total": 4000,
        "prefix_cache_queried_tokens_total": 9000,
        "prefix_cache_hit_tokens_total": 2048,
        "succeeded_requests_total": 11,
        "spec_decode_drafted_tokens_total": 100,
        "spec_decode_accepted_tokens_total": 60,
        "ttft": (2, 0.23),
        "itl": (2, 0.028),
        "e2e": (2, 3.7),
        "queue": (2, 0.32),
    }


def test_triton_with_the_tensorrt_llm_backend():
    read = signals("triton", "triton-trtllm-metrics.txt")
    assert known(read) == {
        "running_requests": 6,
        "waiting_requests": 3,
        "kv_cache_usage_ratio": pytest.approx(0.25),
        "kv_block_tokens": 64,
        "kv_cache_capacity_tokens": 6240 * 64,
        "succeeded_requests_total": 40,
        "ttft": (20, 5.0),
    }
    assert read.ttft.bounds_s == pytest.approx((0.1, 0.5, float("inf")))


def test_triton_with_other_backends_tells_what_is_pending():
    page = (PAGES / "triton-trtllm-metrics.txt").read_bytes().split(b"# HELP nv_trt_llm")[0]
    read = engine_for("triton").signals(page)
    assert (read.waiting_requests, read.running_requests, read.kv_block_tokens) == (7, None, None)


def test_llama_server():
    assert known(signals("llama-cpp", "llama-cpp-metrics.txt")) == {
        "running_requests": 3,
        "waiting_requests": 2,
        "prompt_tokens_total": 1234,
        "generation_tokens_total": 567,
    }


def test_furiosa():
    assert known(signals("furiosa-llm", "furiosa-llm-2026-metrics.txt")) == {
        "running_requests": 4,
        "waiting_requests": 1,
        "kv_cache_usage_ratio": pytest.approx(0.35),
        "prefix_cache_queried_tokens_total": 1600,
        "prefix_cache_hit_tokens_total": 800,
        "prompt_tokens_total": 1600,
        "generation_tokens_total": 700,
        "succeeded_requests_total": 8,
        "ttft": (2, 0.23),
        "itl": (2, 0.028),
        "e2e": (2, 3.7),
    }


def test_tgi():
    assert known(signals("tgi", "tgi-3-metrics.txt")) == {
        "running_requests": 4,
        "waiting_requests": 6,
        "prompt_tokens_total": 2400,
        "generation_tokens_total": 600,
        "succeeded_requests_total": 12,
        "itl": (12, 0.2),
        "e2e": (12, 14.5),
        "queue": (12, 0.6),
    }


def test_jetstream():
    assert known(signals("jetstream", "jetstream-0.3-metrics.txt")) == {
        "waiting_requests": 3,
        "succeeded_requests_total": 9,
        "ttft": (1, 0.03),
        "itl": (2, 0.04),
        "e2e": (1, 3.0),
        "queue": (2, 0.32),
    }


def test_mlserver():
    assert known(signals("mlserver", "mlserver-1-metrics.txt")) == {
        "running_requests": 2,
        "succeeded_requests_total": 13,
    }


def test_openvino_counts_inferences_and_seconds():
    read = signals("openvino", "openvino-2025-metrics.txt")
    assert known(read) == {"running_requests": 3, "succeeded_requests_total": 15, "e2e": (15, 0.052)}
    assert read.e2e.cumulative == (3, 15, 15)
    assert read.e2e.bounds_s[:2] == pytest.approx((0.001, 0.01))


def test_ranks_are_added_and_the_newest_lora_series_wins():
    page = b"""\
vllm:num_requests_running{engine="0"} 2.0
vllm:num_requests_running{engine="1"} 3.0
vllm:engine_sleep_state{engine="0",sleep_state="awake"} 0.0
vllm:engine_sleep_state{engine="0",sleep_state="discard_all"} 1.0
vllm:kv_cache_usage_perc{engine="0"} 0.2
vllm:kv_cache_usage_perc{engine="1"} 0.4
vllm:lora_requests_info{max_lora="4",running_lora_adapters="old",waiting_lora_adapters=""} 100.0
vllm:lora_requests_info{max_lora="4",running_lora_adapters="a,b",waiting_lora_adapters="c"} 200.0
"""
    read = engine_for("vllm").signals(page)
    assert read.running_requests == 5
    assert read.waiting_requests is None
    assert read.is_sleeping is True
    assert read.kv_cache_usage_ratio == pytest.approx(0.3)
    assert (read.running_adapters, read.waiting_adapters, read.max_adapters) == (("a", "b"), ("c",), 4)


def test_aborted_and_failed_requests_did_not_succeed():
    page = b"""\
vllm:request_success_total{engine="0",finished_reason="stop"} 3.0
vllm:request_success_total{engine="0",finished_reason="length"} 4.0
vllm:request_success_total{engine="0",finished_reason="abort"} 5.0
vllm:request_success_total{engine="0",finished_reason="error"} 6.0
vllm:request_success_total{engine="1",finished_reason="length"} 7.0
"""
    assert engine_for("vllm").signals(page).succeeded_requests_total == 14


def test_older_names_of_vllm():
    page = b'vllm:gpu_cache_usage_perc{model_name="m"} 0.5\nvllm:num_requests_swapped{model_name="m"} 2\n'
    read = engine_for("vllm").signals(page)
    assert (read.kv_cache_usage_ratio, read.swapped_requests) == (0.5, 2)


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_an_empty_page_says_nothing(engine):
    assert engine.signals(b"") == UNKNOWN


@given(st.binary(max_size=400), st.sampled_from(sorted(ENGINES)))
def test_any_page_gives_signals(page, runtime):
    beginnings = (b"vllm:num_requests_running", b"vllm:time_to_first_token_seconds_bucket{", b"sglang:token_usage ")
    for beginning in beginnings:
        assert isinstance(engine_for(runtime).signals(beginning + page), EngineSignals)


@given(st.sampled_from(sorted(PAGES.glob("*.txt"))), st.integers(0, 60_000), st.binary(max_size=8))
def test_damaged_pages_give_signals(path, at, damage):
    page = path.read_bytes()
    broken = page[:at] + damage + page[at + len(damage) :]
    for engine in ENGINES.values():
        assert isinstance(engine.signals(broken), EngineSignals)


def test_counts_that_add_up_to_infinity_are_no_answer():
    for engine, series in (("vllm", b"vllm:num_requests_running"), ("sglang", b"sglang:num_running_reqs")):
        page = b"".join(b'%b{engine="%d",model_name="m"} 1e308\n' % (series, rank) for rank in range(3))
        assert engine_for(engine).signals(page).running_requests is None

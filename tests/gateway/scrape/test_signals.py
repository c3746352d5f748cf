"""What is read of pages, and what is not believed."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.engines import ENGINES, EngineSignals, engine_for
from fairlead.gateway.scrape.signals import SIGNAL_NAMES, has_restarted, plausible, reader_for

DATA = Path(__file__).parents[2] / "data" / "engines"
PAGES = {
    "vllm": "vllm-0.32", "sglang": "sglang-0.5", "tensorrt-llm": "tensorrt-llm-1", "triton": "triton-trtllm",
    "llama-cpp": "llama-cpp", "furiosa-llm": "furiosa-llm-2026", "jetstream": "jetstream-0.3", "tgi": "tgi-3",
    "mlserver": "mlserver-1", "openvino": "openvino-2025",
}  # fmt: skip


@pytest.mark.parametrize("runtime", PAGES)
def test_recorded_pages_say_the_same_as_to_a_whole_reader(runtime):
    page = (DATA / f"{PAGES[runtime]}-metrics.txt").read_bytes()
    signals, _ = reader_for(engine_for(runtime))(page)
    whole = engine_for(runtime).signals(page)
    assert {n: getattr(signals, n) for n in SIGNAL_NAMES} == {n: getattr(whole, n) for n in SIGNAL_NAMES}
    assert signals.ttft is None


def test_the_start_of_the_process():
    page = (DATA / "vllm-0.32-metrics.txt").read_bytes()
    assert reader_for(engine_for("vllm"))(page)[1] == pytest.approx(1.79587057543e9)
    assert reader_for(engine_for("vllm"))(b"")[1] is None


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("vllm:num_requests_running NaN", "running_requests"),
        ("vllm:num_requests_running -3", "running_requests"),
        ("vllm:num_requests_running 1e12", "running_requests"),
        ("vllm:num_requests_running +Inf", "running_requests"),
        ("vllm:num_requests_waiting 9e300", "waiting_requests"),
        ("vllm:kv_cache_usage_perc NaN", "kv_cache_usage_ratio"),
        ("vllm:kv_cache_usage_perc -0.5", "kv_cache_usage_ratio"),
        ("vllm:kv_cache_usage_perc 90", "kv_cache_usage_ratio"),
        ("vllm:prompt_tokens_total -1", "prompt_tokens_total"),
        ('vllm:cache_config_info{block_size="0",num_gpu_blocks="5"} 1', "kv_cache_capacity_tokens"),
        (f'vllm:cache_config_info{{block_size="{10**18}",num_gpu_blocks="5"}} 1', "kv_block_tokens"),
    ],
)
def test_what_cannot_be_true_is_unknown(line, name):
    signals, _ = reader_for(engine_for("vllm"))(f"{line}\n".encode())
    assert getattr(signals, name) is None


def test_what_can_be_true_is_kept():
    signals = EngineSignals(running_requests=0, waiting_requests=7, kv_cache_usage_ratio=1.0, max_adapters=4)
    assert plausible(signals) is signals


@given(st.binary(max_size=600), st.sampled_from(sorted(ENGINES)))
def test_garbage_never_raises(page, runtime):
    reader_for(engine_for(runtime))(page)


def test_restarts():
    before, now = EngineSignals(prompt_tokens_total=5.0), EngineSignals(prompt_tokens_total=4.0)
    assert has_restarted(before, None, now, None)
    assert not has_restarted(before, 10.0, now, 10.2)
    assert has_restarted(now, 10.0, before, 20.0)
    assert not has_restarted(EngineSignals(), None, now, None)
    assert not has_restarted(before, None, EngineSignals(), None)

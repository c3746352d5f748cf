import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.perf import Footprint, Parallelism, accelerator, model_geometry, precision

PUBLISHED = json.loads((Path(__file__).parents[1] / "data" / "perf" / "models.json").read_text())


def footprint(model, device="H100", kv_dtype="auto", **spread):
    return Footprint(accelerator(device), model_geometry(PUBLISHED[model]["config"]), Parallelism(**spread), kv_dtype)


def test_weights_are_divided_by_tensor_and_expert_ranks():
    assert footprint("Llama-3.1-70B").weights_bytes == pytest.approx(141.1e9, rel=0.001)
    assert footprint("Llama-3.1-70B", tp=4).weights_bytes == pytest.approx(141.1e9 / 4, rel=0.001)
    whole = footprint("DeepSeek-V3").weights_bytes
    assert footprint("DeepSeek-V3", tp=8).weights_bytes == pytest.approx(whole / 8, rel=0.001)
    # Attention and shared experts are held by every rank, routed experts by one of eight.
    assert whole / 8 < footprint("DeepSeek-V3", dp=8, ep=8).weights_bytes < whole / 4


def test_stages_hold_their_layers_and_an_end_of_the_model():
    half = footprint("Llama-3.1-70B", pp=2).weights_bytes
    assert 141.1e9 / 2 < half < 141.1e9 / 2 * 1.05


def test_kv_heads_are_repeated_once_they_are_fewer_than_devices():
    assert footprint("Llama-3.1-70B").kv_bytes_per_token == 327680
    assert footprint("Llama-3.1-70B", tp=8).kv_bytes_per_token == 327680 / 8
    assert footprint("Qwen3-235B-A22B", tp=8).kv_bytes_per_token == 192512 / 4
    assert footprint("DeepSeek-V3", tp=8).kv_bytes_per_token == 70272
    assert footprint("Llama-3.1-70B", kv_dtype="fp8", tp=8, pp=2).kv_bytes_per_token == 327680 / 32


def test_capacity_of_an_8b_model_on_an_h100():
    """80 GiB · 0.9 − 15 GiB of weights leaves about 55 GiB, 131,072 bytes a token."""
    tokens = footprint("Llama-3.1-8B").kv_capacity_tokens(memory_fraction=0.9)
    assert tokens == pytest.approx(450_000, rel=0.03)


def test_weights_that_do_not_fit_leave_no_cache():
    assert footprint("Llama-3.1-70B").kv_capacity_tokens() == 0
    assert footprint("Llama-3.1-70B", tp=4).kv_capacity_tokens() > 300_000


def test_windows_hold_more_sequences():
    oss = footprint("gpt-oss-120b", "B200")
    assert oss.kv_capacity_tokens(context_tokens=64) == pytest.approx(oss.kv_capacity_tokens(), rel=0.01)
    assert oss.kv_capacity_tokens(context_tokens=100_000) == pytest.approx(2 * oss.kv_capacity_tokens(), rel=0.01)


@given(st.floats(0.3, 0.99), st.integers(512, 16384), st.floats(0, 8e9))
def test_capacity_grows_with_memory_and_shrinks_with_what_is_kept_back(fraction, batched, reserve):
    eight = footprint("Llama-3.1-8B")
    tokens = eight.kv_capacity_tokens(memory_fraction=fraction, max_batched_tokens=batched, reserve_bytes=reserve)
    more = dict(memory_fraction=min(1, fraction * 1.01), max_batched_tokens=batched, reserve_bytes=reserve)
    assert eight.kv_capacity_tokens(**more) >= tokens
    less = dict(memory_fraction=fraction, max_batched_tokens=batched * 2, reserve_bytes=reserve + 1e9)
    assert eight.kv_capacity_tokens(**less) <= tokens


def test_times_are_bytes_over_bandwidth():
    four = footprint("Llama-3.1-70B", tp=4)
    assert four.kv_transfer_s(1000, 50e9) == pytest.approx(1000 * 327680 / (4 * 50e9))
    assert four.kv_transfer_s(1000, 50e9, latency_s=0.01) == pytest.approx(0.01 + 1000 * 327680 / (4 * 50e9))
    assert four.kv_transfer_s(0, 50e9, latency_s=0.01) == 0
    assert four.load_s(1e9) == pytest.approx(35.3, rel=0.01)
    assert four.sleep_s() == four.wake_s() == pytest.approx(35.3e9 / 64e9, rel=0.01)
    assert (four.sleep_s(2), four.wake_s(2, 1e9)) == (0, four.load_s(1e9))
    assert footprint("DeepSeek-V3", tp=8).kv_transfer_s(1000, 50e9) == pytest.approx(1000 * 70272 / 50e9)


def test_bad_arguments_are_named():
    eight = footprint("Llama-3.1-8B")
    with pytest.raises(ValueError, match=r"memory_fraction is 1\.5"):
        eight.kv_capacity_tokens(memory_fraction=1.5)
    with pytest.raises(ValueError, match="level is 3"):
        eight.sleep_s(3)
    with pytest.raises(ValueError, match="level 2 reads from a source"):
        eight.wake_s(2)
    with pytest.raises(ValueError, match="kv_dtype is 'fp3'; known: bf16"):
        footprint("Llama-3.1-8B", kv_dtype="fp3")
    with pytest.raises(ValueError, match="no precision is named 'fp3'"):
        precision("fp3")

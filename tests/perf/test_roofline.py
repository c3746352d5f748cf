"""Laws of the roofline over accelerators, published models and ways to spread them."""

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.perf import (
    AcceleratorError,
    Efficiencies,
    Parallelism,
    Roofline,
    StepCost,
    accelerator,
    model_geometry,
    precision,
    prefill_pairs,
)

PUBLISHED = json.loads((Path(__file__).parents[1] / "data" / "perf" / "models.json").read_text())
MODELS = {name: model_geometry(entry["config"]) for name, entry in PUBLISHED.items()}
NAMES = ["Llama-3.1-8B", "Llama-3.1-70B", "Mixtral-8x7B", "DeepSeek-V3", "gpt-oss-120b", "Gemma-3-27B", "Llama-4-Scout"]
DEVICES = ["A100-80", "H100-SXM", "H100-PCIe", "B200", "MI300X", "TPU-v5e", "RNGD", "L4"]

models = st.sampled_from(NAMES).map(MODELS.__getitem__)
devices = st.sampled_from(DEVICES).map(accelerator)
# prompt tokens, cached tokens before them, decoding tokens, context of each
iterations = st.tuples(st.integers(0, 8192), st.integers(0, 30_000), st.integers(0, 512), st.integers(1, 30_000))


def seconds(cost, iteration):
    prompt, cached, decoding, context = iteration
    return cost.step_s(prompt, prefill_pairs(prompt, cached), decoding, decoding * context)


@st.composite
def costs(draw):
    tp = draw(st.sampled_from([1, 2, 4, 8]))
    return Roofline(draw(devices), draw(models), Parallelism(tp=tp), kv_dtype=draw(st.sampled_from(["auto", "fp8"])))


def test_it_is_a_step_cost():
    assert isinstance(Roofline(accelerator("H100"), MODELS["Llama-3.1-8B"]), StepCost)


def test_a_decoding_step_reads_the_weights_once():
    """Batch one on an H100: 14 GB of layers and 1.05 GB of output matrix at 3.35 TB/s, nothing else to pay."""
    ideal = Efficiencies(1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0)
    cost = Roofline(accelerator("H100"), MODELS["Llama-3.1-8B"], efficiencies=ideal)
    layers = 32 * (4096 * 128 * (2 * 32 + 2 * 8) + 3 * 4096 * 14336)
    expected = 2 * (layers + 4096 * 128256) / 3.35e12
    assert cost.step_s(0, 0, 1, 0) == pytest.approx(expected, rel=1e-3)
    assert cost.context_s == pytest.approx(131072 / 3.35e12)


def test_a_long_prompt_is_bound_by_arithmetic():
    ideal = Efficiencies(1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0)
    cost = Roofline(accelerator("H100"), MODELS["Llama-3.1-8B"], efficiencies=ideal)
    model = MODELS["Llama-3.1-8B"]
    pairs = prefill_pairs(8192)
    flops = 8192 * model.linear_flops_per_token + 32 * pairs * 4 * 32 * 128
    assert cost.step_s(8192, pairs, 0, 0) == pytest.approx(flops / 989e12, rel=0.02)


@given(costs(), iterations)
def test_an_iteration_takes_time_unless_it_is_empty(cost, iteration):
    assert cost.step_s(0, 0, 0, 0) == 0
    prompt, _, decoding, _ = iteration
    if prompt or decoding:
        assert seconds(cost, iteration) > 0


@given(costs(), iterations, iterations)
def test_more_of_anything_is_never_faster(cost, one, other):
    """Each part of the larger iteration is at least that of the smaller."""
    larger = tuple(map(max, one, other))
    assert seconds(cost, larger) >= seconds(cost, one) * (1 - 1e-12)


@given(costs(), iterations, st.integers(0, 10**6))
def test_it_is_affine_in_the_context_of_decoding_sequences(cost, iteration, more):
    prompt, cached, decoding, context = iteration
    pairs = prefill_pairs(prompt, cached)
    if not prompt + decoding:
        return
    change = cost.step_s(prompt, pairs, decoding, context + more) - cost.step_s(prompt, pairs, decoding, context)
    assert change == pytest.approx(more * cost.context_s, rel=1e-6, abs=1e-9)


@given(models, devices, iterations, st.sampled_from(["memory_bytes_per_s", "bf16_flops"]))
def test_half_the_hardware_is_slower_and_at_most_twice_as_slow(model, device, iteration, figure):
    halved = msgspec.structs.replace(device, **{figure: getattr(device, figure) / 2})
    whole, half = seconds(Roofline(device, model), iteration), seconds(Roofline(halved, model), iteration)
    assert whole * (1 - 1e-12) <= half <= 2 * whole * (1 + 1e-12)


@given(models, iterations, st.sampled_from([2, 4, 8]))
def test_links_matter_only_between_devices(model, iteration, tp):
    device = accelerator("H100")
    slow = msgspec.structs.replace(device, scale_up_bytes_per_s=1e9)
    assert seconds(Roofline(slow, model), iteration) == seconds(Roofline(device, model), iteration)
    spread = Parallelism(tp=tp)
    slower, faster = (
        seconds(Roofline(slow, model, spread), iteration),
        seconds(Roofline(device, model, spread), iteration),
    )
    assert slower > faster if iteration[0] + iteration[2] else slower == faster == 0


@given(models, st.integers(1, 512), st.integers(1, 30_000))
def test_eight_devices_with_free_links_are_at_most_eight_times_as_fast(model, decoding, context):
    device = msgspec.structs.replace(accelerator("H100"), scale_up_bytes_per_s=1e30)
    free = Efficiencies(collective_s=0.0)
    one = Roofline(device, model, efficiencies=free).step_s(0, 0, decoding, decoding * context)
    eight = Roofline(device, model, Parallelism(tp=8), efficiencies=free).step_s(0, 0, decoding, decoding * context)
    assert one / 8 <= eight * (1 + 1e-9) and eight <= one * (1 + 1e-9)


@given(st.integers(1, 4096))
def test_a_larger_batch_reads_more_experts_until_all_are_read(tokens):
    cost = Roofline(accelerator("H100"), MODELS["DeepSeek-V3"], Parallelism(tp=8))
    assert cost._experts_s(tokens) <= cost._experts_s(tokens + 1)


def test_a_single_token_reads_its_own_experts():
    ideal = Efficiencies(1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0)
    model = MODELS["Mixtral-8x7B"]
    cost = Roofline(accelerator("H100"), model, efficiencies=ideal)
    read = 2 * (model.attention_params + model.dense_params + model.active_expert_params + model.head_params)
    assert cost.step_s(0, 0, 1, 0) == pytest.approx(read / 3.35e12, rel=1e-3)


def test_a_window_bounds_pairs_and_context():
    """All 32 layers of Mistral 7B attend to 4,096 keys: no slope in the context, and a bounded prompt."""
    cost = Roofline(accelerator("H100"), MODELS["Mistral-7B-v0.1"])
    assert cost.context_s == 0
    assert cost.step_s(1000, 1000 * 20_000, 0, 0) == cost.step_s(1000, 1000 * 4096, 0, 0)
    unbounded = Roofline(accelerator("H100"), replace(MODELS["Mistral-7B-v0.1"], windowed_layers=0, window_tokens=None))
    assert cost.step_s(0, 0, 8, 8 * 4096) == pytest.approx(unbounded.step_s(0, 0, 8, 8 * 4096))


def test_narrow_weights_are_faster_where_the_hardware_multiplies_them():
    eight = MODELS["Llama-3.1-70B"].quantised(precision("fp8"))
    for device, gain in (("H100", True), ("A100-80", False)):
        wide = Roofline(accelerator(device), MODELS["Llama-3.1-70B"], Parallelism(tp=4))
        narrow = Roofline(accelerator(device), eight, Parallelism(tp=4))
        assert narrow.step_s(0, 0, 1, 1000) < wide.step_s(0, 0, 1, 1000)
        faster = narrow.step_s(8192, 0, 0, 0) < 0.75 * wide.step_s(8192, 0, 0, 0)
        assert faster == gain, device


def test_ranks_that_share_experts_exchange_tokens():
    model, device = MODELS["DeepSeek-V3"], accelerator("H200")
    spread = Roofline(device, model, Parallelism(tp=1, dp=8, ep=8))
    free = msgspec.structs.replace(device, scale_up_bytes_per_s=1e30)
    assert spread.step_s(0, 0, 64, 64_000) > Roofline(free, model, Parallelism(dp=8, ep=8)).step_s(0, 0, 64, 64_000)
    sharded = Roofline(device, model, Parallelism(tp=1, dp=8))
    assert sharded._communication_s(4096) > spread._communication_s(4096) > 0


def test_a_pipeline_adds_a_hop_for_each_further_stage():
    model, device = MODELS["Llama-3.1-70B"], accelerator("H100")
    one, two, four = (Roofline(device, model, Parallelism(pp=pp))._communication_s(512) for pp in (1, 2, 4))
    assert one == 0
    assert four == pytest.approx(3 * two)


def test_a_group_beyond_the_scale_up_domain_uses_the_network():
    model = MODELS["DeepSeek-V3"]
    within = Roofline(accelerator("GB200"), model, Parallelism(tp=16))
    beyond = Roofline(accelerator("B200"), model, Parallelism(tp=16))
    assert beyond._communication_s(4096) > 5 * within._communication_s(4096)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tp": 3}, "tp is 3; expected a divisor of the 32"),
        ({"pp": 40}, "pp is 40; expected at most the 32 layers"),
        ({"dp": 2}, "dp is 2 for a dense model"),
        ({"tp": 0}, "tp is 0"),
        ({"tp": 4, "ep": 2}, "ep is 2; expected 1 or tp × dp = 4"),
    ],
)
def test_an_impossible_spread_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        Roofline(accelerator("H100"), MODELS["Llama-3.1-8B"], Parallelism(**given))


def test_an_unknown_figure_is_refused_and_not_taken_for_zero():
    with pytest.raises(AcceleratorError, match="cpu: bf16_flops is unknown"):
        Roofline(accelerator("cpu"), MODELS["Llama-3.1-8B"])
    with pytest.raises(AcceleratorError, match="no link is known between 16 devices"):
        Roofline(accelerator("RNGD"), MODELS["DeepSeek-V3"], Parallelism(tp=16)).step_s(0, 0, 1, 1)


@pytest.mark.parametrize(("field", "value"), [("compute", 0.0), ("memory", 1.5), ("layer_s", -1.0)])
def test_impossible_efficiencies_are_refused(field, value):
    with pytest.raises(ValueError, match=f"{field} is {value}"):
        Efficiencies(**{field: value})

"""From the specification of a pool to its engines: published sizes of models, vLLM's defaults, overrides, profiles."""

import pytest

from fairlead.perf import LinearCost, model_geometry
from fairlead.perf.roofline import Roofline
from fairlead.simulator.engine import AdapterSettings, EngineSettings
from fairlead.simulator.fleet import (
    DEFAULT_ACCELERATOR,
    DEFAULT_MODEL,
    PRESETS,
    PoolSpec,
    Scenario,
    ScenarioError,
    replica_model,
    with_defaults,
)
from fairlead.simulator.fleet.config import TraceSpec
from fairlead.simulator.profile import EngineProfile, FrontendCost, save_profile


@pytest.mark.parametrize(
    ("name", "billions"),
    # Parameters as the model cards state them.
    [("llama-3.1-8b", 8.03), ("llama-3.1-70b", 70.6), ("qwen2.5-7b", 7.62), ("mixtral-8x7b", 46.7)],
)
def test_presets_have_the_published_number_of_parameters(name, billions):
    assert model_geometry(PRESETS[name]).total_params == pytest.approx(billions * 1e9, rel=0.005)


def test_the_default_is_llama_8b_on_an_h100_as_vllm_starts_it():
    model = replica_model(PoolSpec())
    assert isinstance(model.cost, Roofline)
    settings = model.settings
    assert (settings.max_num_batched_tokens, settings.max_num_seqs, settings.max_model_len) == (8192, 1024, 131_072)
    # 80 GB × 0.92 - 16 GB of weights, over 128 KiB per token.
    assert 400_000 < settings.num_blocks * settings.block_tokens < 500_000
    assert model.usd_per_h == 1.99
    assert replica_model(PoolSpec(accelerator="L4")).settings.max_num_batched_tokens == 2048


def test_overrides_reach_the_engine_with_their_types():
    spec = PoolSpec(engine={"max_num_seqs": 7, "adapters": {"max_loras": 2, "max_cpu_loras": 3}}, usd_per_h=0.5)
    model = replica_model(spec)
    assert model.settings.max_num_seqs == 7
    assert model.settings.adapters == AdapterSettings(max_loras=2, max_cpu_loras=3)
    assert model.usd_per_h == 0.5


def test_parallelism_adds_accelerators_and_cache():
    one, two = replica_model(PoolSpec()), replica_model(PoolSpec(tensor_parallel=2))
    assert (one.accelerators, two.accelerators) == (1, 2)
    assert two.settings.num_blocks > 2 * one.settings.num_blocks
    assert two.cost.step_s(0, 0, 32, 32_000) < one.cost.step_s(0, 0, 32, 32_000)
    ranks = replica_model(PoolSpec(data_parallel=3))
    assert (ranks.ranks, ranks.accelerators) == (3, 3)
    assert ranks.settings == one.settings


def test_a_profile_replaces_the_roofline(tmp_path):
    path = tmp_path / "profile.json"
    profile = EngineProfile(
        EngineSettings(num_blocks=500), LinearCost(0.01, 0.0001, 0.0, 0.0, 0.0), FrontendCost(request_s=0.002)
    )
    save_profile(profile, path)
    model = replica_model(PoolSpec(profile=str(path), accelerator="H200", engine={"max_num_seqs": 9}))
    assert (model.cost, model.frontend) == (profile.cost, profile.frontend)
    assert (model.settings.num_blocks, model.settings.max_num_seqs) == (500, 9)
    assert model.usd_per_h == 2.5
    save_profile(EngineProfile(), path)
    with pytest.raises(ScenarioError, match="has no cost"):
        replica_model(PoolSpec(profile=str(path)))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"accelerator": "H100", "tensor_parallel": 3}, "tp is 3"),
        ({"accelerator": "L4", "model": "llama-3.1-70b"}, "leaves no room for a KV cache"),
        ({"engine": {"max_num_seqs": 0}}, "max_num_seqs is 0: it must be at least 1"),
        ({"engine": {"max_num_seqs": []}}, "engine: Expected `int`, got `array`"),
        ({"kv_dtype": "int3"}, "int3"),
    ],
)
def test_pools_that_cannot_be(fields, said):
    with pytest.raises(ScenarioError) as raised:
        replica_model(PoolSpec(**fields))
    assert said in str(raised.value)
    assert str(raised.value).startswith("pool main: ")


def test_defaults_are_named_in_what_is_kept():
    scenario = Scenario(trace=TraceSpec(path="trace.csv"), pools=[PoolSpec(name="a")])
    kept = with_defaults(scenario)
    assert (kept.pools[0].accelerator, kept.pools[0].model) == (DEFAULT_ACCELERATOR, DEFAULT_MODEL)
    assert with_defaults(kept) == kept

"""Published models: parameter counts, KV bytes and windows from their configurations."""

import json
from pathlib import Path

import pytest

from fairlead.perf import ModelConfigError, model_geometry

PUBLISHED = json.loads((Path(__file__).parents[1] / "data" / "perf" / "models.json").read_text())
DENSE = {
    "model_type": "llama", "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 4,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 512,
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_within_3_percent_of_the_published(name):
    published = PUBLISHED[name]
    geometry = model_geometry(published["config"])
    active = geometry.active_params
    if published.get("active_without_embedding"):
        active -= geometry.embedding_params
    assert geometry.total_params / 1e9 == pytest.approx(published["total_b"], rel=0.03)
    # Cards round small counts to one or two digits.
    assert active / 1e9 == pytest.approx(published["active_b"], rel=0.03, abs=0.51)


@pytest.mark.parametrize("name", PUBLISHED)
def test_kv_bytes_per_token(name):
    assert model_geometry(PUBLISHED[name]["config"]).kv_bytes_per_token() == PUBLISHED[name]["kv_bytes_per_token"]


@pytest.mark.parametrize(
    ("name", "windowed", "layers", "window"),
    [
        ("Llama-3.1-8B", 0, 32, None),
        ("Qwen3-32B", 0, 64, None),
        ("Qwen1.5-MoE-A2.7B", 0, 24, None),
        ("Mistral-7B-v0.1", 32, 32, 4096),
        ("Gemma-2-9B", 21, 42, 4096),
        ("Gemma-3-27B", 52, 62, 1024),
        ("gpt-oss-120b", 18, 36, 128),
        ("Llama-4-Scout", 36, 48, 8192),
    ],
)
def test_windowed_layers(name, windowed, layers, window):
    geometry = model_geometry(PUBLISHED[name]["config"])
    assert (geometry.windowed_layers, geometry.layers, geometry.window_tokens) == (windowed, layers, window)


def test_a_window_of_the_whole_context_is_none():
    windowed = {**DENSE, "sliding_window": 2047, "max_position_embeddings": 4096}
    assert model_geometry(windowed).windowed_layers == 4
    assert model_geometry({**windowed, "sliding_window": 262144}).window_tokens is None


@pytest.mark.parametrize(
    ("fields", "windowed"),
    [
        ({"model_type": "cohere2"}, 6),
        ({"model_type": "exaone4", "sliding_window_pattern": "LLLG"}, 6),
        ({"model_type": "qwen2", "use_sliding_window": True, "max_window_layers": 5}, 3),
        ({"model_type": "gemma2"}, 4),
        ({"model_type": "gemma3_text", "sliding_window_pattern": 4}, 6),
    ],
)
def test_rules_of_families(fields, windowed):
    config = {**DENSE, "num_hidden_layers": 8, "sliding_window": 64, **fields}
    assert model_geometry(config).windowed_layers == windowed


def test_a_windowed_layer_keeps_its_window_only():
    geometry = model_geometry(PUBLISHED["gpt-oss-120b"]["config"])
    layer = geometry.kv_layer_bytes()
    assert geometry.kv_bytes(100) == 36 * 100 * layer
    assert geometry.kv_bytes(10_000) == (18 * 10_000 + 18 * 128) * layer


def test_a_latent_is_cached_instead_of_heads():
    attention = model_geometry(PUBLISHED["DeepSeek-V3"]["config"]).attention
    assert attention.kv_values_per_token == 512 + 64
    assert attention.prefill_pair_flops == 2 * 128 * (192 + 128)
    assert attention.decode_pair_flops == 2 * 128 * (2 * 512 + 64)


@pytest.mark.parametrize(
    ("quantised", "dense_bits", "arithmetic"),
    [
        ({"quant_method": "fp8"}, 8, "fp8"),
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, 4 + 20 / 128, "bf16"),
        ({"quant_method": "gptq", "bits": 8, "group_size": -1}, 8, "bf16"),
        ({"quant_method": "mxfp4"}, 4.25, "bf16"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, 4 + 20 / 64, "bf16"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, 4.5, "fp4"),
        ({"quant_algo": "FP8"}, 8, "fp8"),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {
                    "group_0": {
                        "weights": {"num_bits": 8, "type": "int"},
                        "input_activations": {"num_bits": 8, "type": "int"},
                    }
                },
            },
            8,
            "int8",
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "int", "group_size": 32}}},
            },
            4 + 20 / 32,
            "bf16",
        ),
    ],
)
def test_quantisation(quantised, dense_bits, arithmetic):
    geometry = model_geometry({**DENSE, "quantization_config": quantised})
    assert geometry.dense_precision.bits == pytest.approx(dense_bits)
    assert geometry.dense_precision.arithmetic == arithmetic
    assert geometry.weights_bytes < model_geometry(DENSE).weights_bytes


def test_modules_left_out_of_quantisation_stay_16_bit():
    oss = model_geometry(PUBLISHED["gpt-oss-120b"]["config"])
    assert (oss.attention_precision.bits, oss.expert_precision.bits) == (16, 4.25)
    # The published checkpoint holds 60.8 GiB.
    assert oss.weights_bytes / 2**30 == pytest.approx(60.8, rel=0.01)
    kimi = model_geometry(PUBLISHED["Kimi-K2.5"]["config"])
    assert (kimi.attention_precision.bits, kimi.dense_precision.bits, kimi.expert_precision.bits) == (16, 16, 4.625)
    config = {**DENSE, "quantization_config": {"quant_method": "fp8", "ignore": ["re:.*self_attn.*", "lm_head"]}}
    partly = model_geometry(config)
    assert (partly.attention_precision.bits, partly.dense_precision.bits) == (16, 8)


def test_a_file_and_a_directory_are_read(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(DENSE))
    assert model_geometry(tmp_path) == model_geometry(str(tmp_path / "config.json")) == model_geometry(DENSE)
    (tmp_path / "hf_quant_config.json").write_text(json.dumps({"quantization": {"quant_algo": "FP8"}}))
    assert model_geometry(tmp_path).dense_precision.name == "fp8"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": None}, "hidden_size or n_embd or d_model is missing"),
        ({"vocab_size": "many"}, "vocab_size is 'many'; expected a whole number"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0"),
        ({"num_attention_heads": True}, "num_attention_heads is True"),
        ({"num_key_value_heads": 3}, "num_key_value_heads is 3; expected a divisor of 4"),
        ({"num_attention_heads": 3}, "head_dim is missing and hidden_size 256 is no multiple of 3"),
        ({"kv_lora_rank": 64}, "qk_nope_head_dim is missing"),
        ({"num_local_experts": 8}, "num_experts_per_tok or .* is missing"),
        ({"num_local_experts": 2, "num_experts_per_tok": 4}, "num_experts_per_tok is 4; expected at most the 2"),
        ({"sliding_window": 64, "layer_types": ["full_attention"]}, "layer_types is .*; expected a list of 4"),
        ({"sliding_window": 64, "layer_types": ["dilated"] * 4}, "layer_types holds 'dilated'"),
        ({"linear_num_key_heads": 16}, "linear_num_key_heads is 16; not modelled: linear attention"),
        ({"quantization_config": {"quant_method": "magic"}}, "quant_method is 'magic'; known: fp8"),
        ({"quantization_config": {"quant_method": "gptq"}}, "bits is None"),
        ({"quantization_config": ["fp8"]}, "quantization_config is .*; expected an object"),
        ({"quantization_config": {"quant_method": "compressed-tensors"}}, "config_groups has no group"),
        ({"text_config": 3}, "text_config is 3"),
    ],
)
def test_an_unusable_field_is_named(change, message):
    with pytest.raises(ModelConfigError, match=message):
        model_geometry({**DENSE, **change})


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(ModelConfigError, match=r"config\.json: No such file"):
        model_geometry(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelConfigError, match="not JSON"):
        model_geometry(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ModelConfigError, match="expected a JSON object, got list"):
        model_geometry(tmp_path)

"""Model geometry from a Hugging Face `config.json`: names differ by family, the shape behind them does not.

Field names and defaults are those of the `transformers` configuration classes and of the models' own files. A family
whose layers are of another kind (state space, linear attention, several head sizes) is refused by the field that says
so, because a wrong number would look like a right one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairlead.perf.models import Attention, FeedForward, ModelGeometry
from fairlead.perf.precision import BF16, ModelConfigError, Quantisation, quantisation

# Configurations leave out what equals their class's default; these classes tie the output matrix to the embedding.
_TIED_BY_DEFAULT = ("gemma", "gpt2", "opt", "bloom", "falcon", "cohere", "gpt_bigcode")
# Two matrices (up, down) instead of three (gate, up, down).
_NOT_GATED = ("gpt2", "opt", "bloom", "falcon", "gpt_neox", "gptj", "phi", "starcoder2", "gpt_bigcode", "nemotron")
_GEMMA3 = {"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 262208}
_DEFAULTS: dict[str, dict[str, int]] = {
    "gemma3": _GEMMA3,
    "gemma3_text": _GEMMA3,
    "gemma2": {"sliding_window": 4096},
    "cohere2": {"sliding_window": 4096, "sliding_window_pattern": 4},
    "llama4_text": {"attention_chunk_size": 8192, "interleave_moe_layer_step": 1, "num_experts_per_tok": 1},
}
# field -> what it announces, none of which is modelled
_NOT_MODELLED = {
    "linear_num_key_heads": "linear attention layers",
    "linear_attn_config": "linear attention layers",
    "hybrid_override_pattern": "state space layers",
    "mamba_d_state": "state space layers",
    "mamba_num_heads": "state space layers",
    "ssm_state_size": "state space layers",
    "block_configs": "layers of different shape",
    "hybrid_layer_pattern": "layers with different heads",
    "global_head_dim": "layers with different heads",
    "num_kv_shared_layers": "a KV cache shared between layers",
    "compress_ratios": "compressed attention",
    "sparse_attention_config": "sparse attention",
    "is_encoder_decoder": "encoder-decoder models",
}
_WINDOWED = ("sliding_attention", "chunked_attention", "local_attention")


def model_geometry(config: Mapping[str, Any] | str | Path) -> ModelGeometry:
    """The geometry of a model from its configuration: a mapping, the path of a `config.json`, or its directory.

    Raises ModelConfigError that names the field which is missing or cannot be used.
    """
    outer = config if isinstance(config, Mapping) else _read(Path(config))
    fields = _Fields.of(outer)
    attention = _attention(fields)
    feed_forward = _feed_forward(fields)
    windowed, window = _windows(fields)
    vocab, hidden = fields.count("vocab_size"), fields.hidden
    quantised = _quantisation(fields)
    # A sparse indexer (DeepSeek-V3.2, GLM-5) reads fewer keys than it caches.
    sparse = ("index_topk: sparse attention is counted as full attention, an upper bound",)
    return ModelGeometry(
        model_type=fields.model_type,
        layers=fields.layers,
        hidden=hidden,
        vocab=vocab,
        attention=attention,
        feed_forward=feed_forward,
        embedding_params=vocab * hidden,
        lm_head_params=0 if _tied(fields) else vocab * hidden,
        windowed_layers=windowed,
        window_tokens=window,
        max_context_tokens=fields.optional("max_position_embeddings", "n_positions", "max_seq_len"),
        attention_precision=quantised.of(("model.layers.{}.self_attn.q_proj", "model.layers.{}.self_attn.o_proj")),
        dense_precision=quantised.of((_dense_module(feed_forward),)),
        expert_precision=quantised.of(("model.layers.{}.mlp.experts.0.up_proj",)),
        notes=sparse if fields.optional("index_topk") else (),
    )


def _read(path: Path) -> Mapping[str, Any]:
    if not path.is_dir():
        return _read_object(path)
    config = _read_object(path / "config.json")
    # ModelOpt of before 2025 says the quantisation in a file of its own.
    apart = path / "hf_quant_config.json"
    if "quantization_config" in config or not apart.exists():
        return config
    said = _read_object(apart).get("quantization") or {}
    return {**config, "quantization_config": {"quant_method": "modelopt", **said}}


def _read_object(path: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelConfigError(f"{path}: {error.strerror}; expected a model's config.json") from error
    except ValueError as error:
        raise ModelConfigError(f"{path}: not JSON: {error}") from error
    if not isinstance(value, Mapping):
        raise ModelConfigError(f"{path}: expected a JSON object, got {type(value).__name__}")
    return value


@dataclass(frozen=True, slots=True)
class _Fields:
    """The fields of the text model, with the outer configuration of a multimodal one behind them."""

    text: Mapping[str, Any]
    outer: Mapping[str, Any]
    model_type: str

    @classmethod
    def of(cls, outer: Mapping[str, Any]) -> _Fields:
        nested = next((outer[key] for key in ("text_config", "llm_config", "language_config") if outer.get(key)), outer)
        if not isinstance(nested, Mapping):
            raise ModelConfigError(f"text_config is {nested!r}; expected an object")
        model_type = str(nested.get("model_type") or outer.get("model_type") or "")
        fields = cls({**_DEFAULTS.get(model_type, {}), **nested}, outer, model_type)
        for field, meaning in _NOT_MODELLED.items():
            if nested.get(field):
                raise ModelConfigError(f"{field} is {_short(nested[field])}; not modelled: {meaning}")
        return fields

    def optional(self, *names: str) -> int | None:
        """The first of these fields that is set, a positive whole number."""
        for name in names:
            value = self.text.get(name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ModelConfigError(f"{name} is {_short(value)}; expected a whole number, 0 or more")
            return value or None
        return None

    def count(self, *names: str) -> int:
        """As `optional`, for fields that a model cannot do without."""
        value = self.optional(*names)
        if value is None:
            given = next((name for name in names if self.text.get(name) is not None), None)
            problem = f"{given} is 0" if given else f"{' or '.join(names)} is missing"
            raise ModelConfigError(f"{problem}; expected a positive whole number (model_type {self.model_type!r})")
        return value

    @property
    def hidden(self) -> int:
        return self.count("hidden_size", "n_embd", "d_model")

    @property
    def layers(self) -> int:
        return self.count("num_hidden_layers", "n_layer", "n_layers", "num_layers")

    @property
    def heads(self) -> int:
        return self.count("num_attention_heads", "n_head", "n_heads")

    @property
    def experts(self) -> int:
        return self.optional("num_local_experts", "n_routed_experts", "num_experts", "moe_num_experts") or 0

    def is_family(self, names: Sequence[str]) -> bool:
        """Whether the model type is one of these, or a later generation of one (`gemma` -> gemma2, gemma3_text)."""
        return self.model_type in names or self.model_type.removesuffix("_text").rstrip("0123456789") in names

    def sequence(self, name: str) -> list[Any] | None:
        """A field that holds one value per layer; None when it is absent."""
        value = self.text.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or len(value) != self.layers:
            raise ModelConfigError(f"{name} is {_short(value)}; expected a list of {self.layers}, one per layer")
        return value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _attention(fields: _Fields) -> Attention:
    hidden, heads = fields.hidden, fields.heads
    latent = fields.optional("kv_lora_rank")
    if latent is not None:
        return _latent_attention(fields, hidden, heads, latent)
    head_dim = fields.optional("head_dim")
    if head_dim is None:
        if hidden % heads:
            raise ModelConfigError(f"head_dim is missing and hidden_size {hidden} is no multiple of {heads} heads")
        head_dim = hidden // heads
    kv_heads = fields.optional("num_key_value_heads", "num_kv_heads", "n_head_kv") or heads
    if fields.text.get("multi_query") and not fields.text.get("new_decoder_architecture"):
        kv_heads = 1
    if heads % kv_heads:
        raise ModelConfigError(f"num_key_value_heads is {kv_heads}; expected a divisor of {heads} attention heads")
    params = hidden * head_dim * (2 * heads + 2 * kv_heads)
    return Attention(heads=heads, kv_heads=kv_heads, qk_dim=head_dim, v_dim=head_dim, params=params)


def _latent_attention(fields: _Fields, hidden: int, heads: int, latent: int) -> Attention:
    """Multi-head latent attention: low-rank queries (or direct ones), one latent and one rotary key for all heads."""
    nope, rope = fields.count("qk_nope_head_dim"), fields.count("qk_rope_head_dim")
    v_dim, q_rank = fields.count("v_head_dim"), fields.optional("q_lora_rank")
    query_dim = heads * (nope + rope)
    queries = hidden * query_dim if q_rank is None else q_rank * (hidden + query_dim)
    keys_values = hidden * (latent + rope) + latent * heads * (nope + v_dim)
    params = queries + keys_values + heads * v_dim * hidden
    return Attention(
        heads=heads, kv_heads=1, qk_dim=nope + rope, v_dim=v_dim, params=params, latent_dim=latent, rope_dim=rope
    )


def _feed_forward(fields: _Fields) -> FeedForward:
    hidden, matrices = fields.hidden, 2 if fields.is_family(_NOT_GATED) else 3
    if not fields.experts:
        wide = fields.optional("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size")
        if wide is None:
            wide = 4 * hidden if matrices == 2 else fields.count("intermediate_size")
        return FeedForward(dense_layers=fields.layers, dense_params=matrices * hidden * wide)
    per_token = fields.count("num_experts_per_tok", "experts_per_token", "moe_topk", "moe_k")
    if per_token > fields.experts:
        raise ModelConfigError(f"num_experts_per_tok is {per_token}; expected at most the {fields.experts} experts")
    mixtures = _mixture_layers(fields)
    expert = fields.count("moe_intermediate_size", "intermediate_size")
    # Llama 4 keeps the width of its dense layers apart from that of its experts.
    dense = fields.optional("intermediate_size_mlp", "intermediate_size") or 0
    return FeedForward(
        dense_layers=fields.layers - mixtures,
        dense_params=3 * hidden * dense,
        moe_layers=mixtures,
        experts=fields.experts,
        experts_per_token=per_token,
        expert_params=3 * hidden * expert,
        shared_params=3 * hidden * _shared_width(fields, expert) + hidden * fields.experts,
    )


def _mixture_layers(fields: _Fields) -> int:
    """How many layers hold experts, by whichever field the family says it."""
    layers = range(fields.layers)
    listed = fields.text.get("moe_layers")
    if isinstance(listed, list) and listed:
        return sum(layer in listed for layer in layers)
    first = fields.optional("first_k_dense_replace") or 0
    dense = fields.text.get("mlp_only_layers") or ()
    flags = fields.text.get("moe_layer_freq")
    if isinstance(flags, list):
        return sum(bool(flag) for flag in flags)
    step = fields.optional("decoder_sparse_step", "interleave_moe_layer_step", "moe_layer_freq") or 1
    # Llama 4 and Qwen put experts into every step-th layer counted from one, DeepSeek from zero; the number is the same
    # for every published model.
    return sum(layer >= first and layer not in dense and (layer + 1) % step == 0 for layer in layers)


def _shared_width(fields: _Fields, expert: int) -> int:
    """Width of the experts that every token passes, all together."""
    width = fields.optional("shared_expert_intermediate_size", "shared_intermediate_size")
    if width is not None:
        return width
    shared = fields.optional("n_shared_experts", "num_shared_experts", "moe_num_shared_experts") or 0
    if fields.model_type.startswith("llama4"):
        shared = 1
    return shared * expert


def _windows(fields: _Fields) -> tuple[int, int | None]:
    """How many layers attend to a window only, and its size in tokens."""
    window = fields.optional("sliding_window", "attention_chunk_size")
    context = fields.optional("max_position_embeddings", "n_positions", "max_seq_len")
    if window is None or fields.text.get("use_sliding_window") is False or (context and window >= context):
        return 0, None
    kinds = fields.sequence("layer_types")
    if kinds is not None:
        unknown = next((kind for kind in kinds if kind not in (*_WINDOWED, "full_attention")), None)
        if unknown is not None:
            raise ModelConfigError(f"layer_types holds {unknown!r}; known: full_attention, {', '.join(_WINDOWED)}")
        windowed = sum(kind in _WINDOWED for kind in kinds)
    else:
        windowed = _windows_by_rule(fields)
    return (windowed, window) if windowed else (0, None)


def _windows_by_rule(fields: _Fields) -> int:
    layers = fields.layers
    if fields.model_type.startswith("gemma2"):
        return (layers + 1) // 2
    if fields.model_type.startswith("gemma3"):
        return layers - layers // (fields.optional("sliding_window_pattern") or 6)
    if fields.model_type.startswith("llama4"):
        rotary = fields.sequence("no_rope_layers")
        interval = fields.optional("no_rope_layer_interval") or 4
        return sum(map(bool, rotary)) if rotary else layers - layers // interval
    if fields.text.get("use_sliding_window"):
        return max(0, layers - (fields.optional("max_window_layers") or 0))
    pattern = fields.text.get("sliding_window_pattern")
    if isinstance(pattern, str) and pattern:
        return sum(pattern[layer % len(pattern)] == "L" for layer in range(layers))
    if pattern is not None:
        return layers - layers // fields.count("sliding_window_pattern")
    return layers


def _tied(fields: _Fields) -> bool:
    for source in (fields.text, fields.outer):
        if isinstance(source.get("tie_word_embeddings"), bool):
            return bool(source["tie_word_embeddings"])
    return fields.is_family(_TIED_BY_DEFAULT)


def _dense_module(feed_forward: FeedForward) -> str:
    return f"model.layers.{{}}.mlp.{'shared_experts.' if feed_forward.moe_layers else ''}up_proj"


@dataclass(frozen=True, slots=True)
class _LayerPrecision:
    """The quantisation as it holds for a layer in the middle: the first and last are the usual exceptions."""

    quantisation: Quantisation | None
    layer: int

    def of(self, modules: Sequence[str]) -> Any:
        if self.quantisation is None:
            return BF16
        return self.quantisation.of(module.format(self.layer) for module in modules)


def _quantisation(fields: _Fields) -> _LayerPrecision:
    config = fields.text.get("quantization_config") or fields.outer.get("quantization_config")
    if config is not None and not isinstance(config, Mapping):
        raise ModelConfigError(f"quantization_config is {_short(config)}; expected an object")
    return _LayerPrecision(quantisation(config) if config else None, fields.layers // 2)

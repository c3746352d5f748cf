"""What a decoder-only language model asks of hardware: parameters, bytes of weights and of KV cache, FLOPs.

Shapes follow the published papers: grouped-query attention (Ainslie et al. 2023, arXiv 2305.13245), multi-head latent
attention and shared experts (DeepSeek-V2, arXiv 2405.04434, and V3, arXiv 2412.19437), mixtures of experts (Mixtral,
arXiv 2401.04088), sliding windows (Mistral 7B, arXiv 2310.06825). Biases and position tables are left out: they are
below one in a thousand.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from fairlead.perf.precision import BF16, Precision

KV_DTYPE_BYTES = {"bf16": 2.0, "fp16": 2.0, "auto": 2.0, "fp8": 1.0, "fp8_e4m3": 1.0, "fp8_e5m2": 1.0, "int8": 1.0}
"""KV cache type -> bytes per value. `auto` is the model's own 16-bit type, as in vLLM's `--kv-cache-dtype`."""


@dataclass(frozen=True, slots=True)
class Attention:
    """The attention of one layer.

    `qk_dim` and `v_dim` are per head. With `latent_dim` (MLA) a token is cached as one latent of `latent_dim` values
    and a rotary key of `rope_dim`, shared by all heads; decoding then works on the latent itself ("absorbed" weights).
    `params` counts the projections.
    """

    heads: int
    kv_heads: int
    qk_dim: int
    v_dim: int
    params: int
    latent_dim: int | None = None
    rope_dim: int = 0

    @property
    def kv_values_per_token(self) -> int:
        """Values cached per token: K and V of every KV head, or one latent and rotary key (DeepSeek-V2, §2.1)."""
        if self.latent_dim is not None:
            return self.latent_dim + self.rope_dim
        return self.kv_heads * (self.qk_dim + self.v_dim)

    @property
    def prefill_pair_flops(self) -> int:
        """FLOPs per (query, key) pair of a prompt: 2·d for the score and 2·d for the value, of every head."""
        return 2 * self.heads * (self.qk_dim + self.v_dim)

    @property
    def decode_pair_flops(self) -> int:
        """FLOPs per (query, key) pair of a decoding token; MLA scores and sums over the latent."""
        if self.latent_dim is not None:
            return 2 * self.heads * (2 * self.latent_dim + self.rope_dim)
        return self.prefill_pair_flops


@dataclass(frozen=True, slots=True)
class FeedForward:
    """The feed-forward part of all layers: `dense_layers` with one matrix set, `moe_layers` with experts and a router.

    Parameters are per layer, `expert_params` per expert; `shared_params` counts what every token of a mixture layer
    passes (shared experts and router).
    """

    dense_layers: int
    dense_params: int = 0
    moe_layers: int = 0
    experts: int = 0
    experts_per_token: int = 0
    expert_params: int = 0
    shared_params: int = 0


@dataclass(frozen=True, slots=True)
class ModelGeometry:
    """Counts of one model, from which every cost of this room is computed.

    `windowed_layers` of the `layers` attend to at most `window_tokens` keys. `embedding_params` is the table of the
    vocabulary, `lm_head_params` the output matrix, 0 when it is tied to the table. `notes` say what is approximated.
    """

    model_type: str
    layers: int
    hidden: int
    vocab: int
    attention: Attention
    feed_forward: FeedForward
    embedding_params: int
    lm_head_params: int
    windowed_layers: int = 0
    window_tokens: int | None = None
    max_context_tokens: int | None = None
    attention_precision: Precision = BF16
    dense_precision: Precision = BF16
    expert_precision: Precision = BF16
    notes: tuple[str, ...] = field(default=())

    @property
    def full_layers(self) -> int:
        """Layers that attend to the whole context."""
        return self.layers - self.windowed_layers

    @property
    def norm_params(self) -> int:
        """Two norms a layer and one at the end."""
        return (2 * self.layers + 1) * self.hidden

    @property
    def attention_params(self) -> int:
        """Projections of all layers."""
        return self.layers * self.attention.params

    @property
    def dense_params(self) -> int:
        """Feed-forward weights that every token passes: dense layers, shared experts and routers."""
        ff = self.feed_forward
        return ff.dense_layers * ff.dense_params + ff.moe_layers * ff.shared_params

    @property
    def expert_params(self) -> int:
        """Weights of all routed experts."""
        ff = self.feed_forward
        return ff.moe_layers * ff.experts * ff.expert_params

    @property
    def active_expert_params(self) -> int:
        """Weights of the routed experts that one token passes."""
        ff = self.feed_forward
        return ff.moe_layers * ff.experts_per_token * ff.expert_params

    @property
    def total_params(self) -> int:
        """Parameters of the checkpoint, a tied output matrix counted once."""
        fixed = self.embedding_params + self.lm_head_params + self.norm_params
        return fixed + self.attention_params + self.dense_params + self.expert_params

    @property
    def active_params(self) -> int:
        """Parameters that take part in one token, embeddings included, as model cards count them."""
        return self.total_params - self.expert_params + self.active_expert_params

    @property
    def head_params(self) -> int:
        """Weights of the output projection, whether stored on their own or shared with the embedding."""
        return self.vocab * self.hidden

    @property
    def weights_bytes(self) -> float:
        """Bytes of all weights as stored. Embedding, output matrix and norms stay 16-bit in every known format."""
        fixed = (self.embedding_params + self.lm_head_params + self.norm_params) * 2.0
        return fixed + self.layer_weights_bytes

    @property
    def layer_weights_bytes(self) -> float:
        """Bytes of attention, dense and expert weights of all layers."""
        return (
            self.attention_params * self.attention_precision.bits
            + self.dense_params * self.dense_precision.bits
            + self.expert_params * self.expert_precision.bits
        ) / 8

    @property
    def linear_flops_per_token(self) -> int:
        """FLOPs of the layers' matrices per token, output projection left out: 2 per weight that it passes.

        Kaplan et al. 2020, arXiv 2001.08361, table 1.
        """
        return 2 * (self.attention_params + self.dense_params + self.active_expert_params)

    def kv_layer_bytes(self, kv_dtype: str = "auto") -> float:
        """Bytes that one layer caches per token of context (a windowed layer: per token inside the window)."""
        try:
            return self.attention.kv_values_per_token * KV_DTYPE_BYTES[kv_dtype]
        except KeyError:
            raise ValueError(f"kv_dtype is {kv_dtype!r}; known: {', '.join(KV_DTYPE_BYTES)}") from None

    def kv_bytes_per_token(self, kv_dtype: str = "auto") -> float:
        """Bytes of KV cache per token when every layer keeps it."""
        return self.layers * self.kv_layer_bytes(kv_dtype)

    def kv_bytes(self, context_tokens: int, kv_dtype: str = "auto") -> float:
        """Bytes of KV cache of one sequence, windowed layers keeping their window only."""
        window = context_tokens if self.window_tokens is None else min(context_tokens, self.window_tokens)
        kept = self.full_layers * context_tokens + self.windowed_layers * window
        return kept * self.kv_layer_bytes(kv_dtype)

    def quantised(self, precision: Precision) -> ModelGeometry:
        """The same model with all matrices of its layers in `precision`, as an engine does when it loads."""
        return replace(self, attention_precision=precision, dense_precision=precision, expert_precision=precision)

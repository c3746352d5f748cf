"""The time of an engine's iteration from first principles: what it computes, reads and sends, over what hardware does.

Every group of operations takes the longer of computing and reading (Williams, Waterman and Patterson 2009, Roofline:
an insightful visual performance model). Groups follow one another, so their times add up. Peaks are discounted by
`Efficiencies`, fixed costs of kernels and of the engine's own step are added.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from fairlead.perf.accelerators import Accelerator
from fairlead.perf.footprint import Footprint
from fairlead.perf.models import ModelGeometry
from fairlead.perf.parallelism import Parallelism, all_reduce_bytes, distinct, link_bytes_per_s
from fairlead.perf.precision import BF16, Arithmetic, Precision

_CACHED = 1 << 16


@dataclass(frozen=True, slots=True)
class Efficiencies:
    """Shares of the peaks that engines reach, and fixed costs. The defaults are those of `docs/perf.md`.

    `compute` and `memory` hold for matrices, `attention_compute` and `attention_memory` for attention kernels, `link`
    for collectives. `step_s` is paid once per iteration, `layer_s` per layer, `expert_layer_s` per mixture layer on
    top, `collective_s` per collective, `sequence_s` per token of a decoding sequence. `prefill_layer_s` is paid per
    layer by iterations with a prompt, whose kernels are launched one by one where decoding replays a captured graph.
    """

    compute: float = 0.8
    memory: float = 0.8
    attention_compute: float = 0.6
    attention_memory: float = 0.8
    link: float = 0.8
    step_s: float = 0.3e-3
    layer_s: float = 15e-6
    expert_layer_s: float = 35e-6
    collective_s: float = 18e-6
    sequence_s: float = 1e-6
    prefill_layer_s: float = 300e-6

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            seconds = field.name.endswith("_s")
            if not (0 <= value < float("inf") if seconds else 0 < value <= 1):
                expected = "seconds, 0 or more" if seconds else "a share above 0 and up to 1"
                raise ValueError(f"{field.name} is {value!r}; expected {expected}")


class Roofline:
    """`StepCost` of one rank of a replica of a model on an accelerator.

    With `pp` an iteration is the way of one batch through all stages; an engine keeps `pp` batches on their way, so it
    finishes one in every step_s/pp. With `dp` the iteration is that of one rank, all ranks being equally loaded.

    Windowed layers: the time must be affine in the context, but a window saturates. They are charged a full window for
    every decoding token, which is exact once contexts exceed the window and an upper bound before (and for layers that
    attend in chunks, whose mean is half a chunk).
    """

    __slots__ = (
        "_compute",
        "_fixed_s",
        "_head",
        "_linear",
        "_memory",
        "_pair_s",
        "_prefill_s",
        "_window",
        "_window_decode_s",
        "_window_pair_s",
        "context_s",
        "efficiencies",
        "footprint",
    )

    def __init__(
        self,
        accelerator: Accelerator,
        geometry: ModelGeometry,
        parallelism: Parallelism | None = None,
        *,
        kv_dtype: str = "auto",
        efficiencies: Efficiencies | None = None,
    ) -> None:
        """Raises AcceleratorError for figures that the table lacks, ValueError for an impossible parallelism."""
        self.footprint = Footprint(accelerator, geometry, parallelism or Parallelism(), kv_dtype)
        self.efficiencies = eff = efficiencies or Efficiencies()
        self._compute = accelerator.required("bf16_flops") * eff.compute
        self._memory = accelerator.required("memory_bytes_per_s") * eff.memory
        self._linear: dict[int, float] = {}
        self._head: dict[int, float] = {}
        self._fixed_s = self._fixed()
        self._prefill_s = geometry.layers * eff.prefill_layer_s
        self._attention()

    @property
    def accelerator(self) -> Accelerator:
        """The device."""
        return self.footprint.accelerator

    @property
    def geometry(self) -> ModelGeometry:
        """The model."""
        return self.footprint.geometry

    @property
    def parallelism(self) -> Parallelism:
        """How the replica is spread."""
        return self.footprint.parallelism

    def step_s(self, prefill_tokens: int, prefill_pairs: int, decode_tokens: int, context_tokens: int) -> float:
        """Seconds of an iteration; see `StepCost.step_s`."""
        tokens = prefill_tokens + decode_tokens
        if tokens <= 0:
            return 0.0
        linear = self._linear.get(tokens)
        if linear is None:
            linear = self._cache(self._linear, tokens, self._linear_s(tokens))
        head = self._head.get(decode_tokens)
        if head is None:
            head = self._cache(self._head, decode_tokens, self._head_s(decode_tokens))
        seconds = linear + head + self.context_s * context_tokens
        if prefill_tokens:
            seconds += self._prefill_s + self._pair_s * prefill_pairs
            if self._window:
                seconds += self._window_pair_s * min(prefill_pairs, prefill_tokens * self._window)
        return seconds

    @staticmethod
    def _cache(cache: dict[int, float], key: int, value: float) -> float:
        if len(cache) >= _CACHED:
            cache.clear()
        cache[key] = value
        return value

    def _rate(self, arithmetic: Arithmetic) -> float:
        """FLOP/s of a kind of arithmetic; narrow weights on hardware without it are widened and multiplied in bf16."""
        device = self.accelerator
        rates = {"fp8": device.fp8_flops, "fp4": device.fp4_flops, "int8": device.int8_ops, "bf16": None}
        rate = rates[arithmetic]
        return self._compute if rate is None else rate * self.efficiencies.compute

    def _matrices_s(self, tokens: int, params: float, precision: Precision) -> float:
        """max(2·P·n / FLOP/s, read bytes / bandwidth) of `params` weights that all tokens pass, on one device of tp."""
        flops_s = 2.0 * params * tokens / self._rate(precision.arithmetic)
        bytes_s = params * precision.bits / 8 / self._memory
        return max(flops_s, bytes_s) / self.parallelism.tp

    def _linear_s(self, tokens: int) -> float:
        """All that depends on the number of tokens only: matrices of the layers, KV writes, communication, fixed."""
        model = self.geometry
        seconds = self._fixed_s
        seconds += self._matrices_s(tokens, model.attention_params, model.attention_precision)
        seconds += self._matrices_s(tokens, model.dense_params, model.dense_precision)
        seconds += self._experts_s(tokens)
        kv_layer = model.kv_layer_bytes(self.footprint.kv_dtype) * self.parallelism.kv_share(model)
        seconds += tokens * model.layers * kv_layer / self._memory
        return seconds + self._communication_s(tokens)

    def _experts_s(self, tokens: int) -> float:
        """Routed experts: FLOPs of the chosen ones, bytes of the distinct ones that the tokens of all ranks touch.

        Spread whole (ep) or sharded, one of tp·dp devices computes and reads the same part if routing is even.
        """
        model, ff, dp = self.geometry, self.geometry.feed_forward, self.parallelism.dp
        if not ff.moe_layers:
            return 0.0
        touched = distinct(tokens * dp, ff.experts, ff.experts_per_token) / ff.experts
        flops_s = 2.0 * model.active_expert_params * tokens / self._rate(model.expert_precision.arithmetic)
        bytes_s = model.expert_params * model.expert_precision.bits / 8 * touched / dp / self._memory
        return max(flops_s, bytes_s) / self.parallelism.tp

    def _head_s(self, decode_tokens: int) -> float:
        """Output projection and bookkeeping of the sampled tokens, and the windows that decoding tokens attend to.

        A prompt samples once, at its end; an iteration without decoding tokens is charged one sample.
        """
        model = self.geometry
        head = self._matrices_s(max(1, decode_tokens), model.head_params, BF16)
        return head + (self.efficiencies.sequence_s + self._window_decode_s) * decode_tokens

    def _fixed(self) -> float:
        eff, model = self.efficiencies, self.geometry
        layers_s = model.layers * eff.layer_s + model.feed_forward.moe_layers * eff.expert_layer_s
        return eff.step_s + layers_s

    def _attention(self) -> None:
        """Slopes of attention: FLOPs on a device's heads against bytes of its KV, both proportional to the context."""
        model, eff, device = self.geometry, self.efficiencies, self.accelerator
        compute = device.required("bf16_flops") * eff.attention_compute
        memory = device.required("memory_bytes_per_s") * eff.attention_memory
        tp = self.parallelism.tp
        kv_bytes = model.kv_layer_bytes(self.footprint.kv_dtype) * self.parallelism.kv_share(model)
        decode_s = max(model.attention.decode_pair_flops / tp / compute, kv_bytes / memory)
        pair_s = model.attention.prefill_pair_flops / tp / compute
        self.context_s = model.full_layers * decode_s
        self._pair_s = model.full_layers * pair_s
        self._window = model.window_tokens or 0
        self._window_pair_s = model.windowed_layers * pair_s
        self._window_decode_s = model.windowed_layers * self._window * decode_s

    def _communication_s(self, tokens: int) -> float:
        """Two all-reduces a layer for tp (Megatron-LM, arXiv 1909.08053, §3), hops for pp, exchanges for dp."""
        spread, model, eff = self.parallelism, self.geometry, self.efficiencies
        hidden_bytes = 2.0 * tokens * model.hidden
        mixtures = model.feed_forward.moe_layers if spread.dp > 1 else 0
        seconds = 0.0
        if spread.tp > 1:
            link = link_bytes_per_s(self.accelerator, spread.tp) * eff.link
            one = all_reduce_bytes(hidden_bytes, spread.tp) / link + eff.collective_s
            seconds += (2 * model.layers - mixtures) * one
        if spread.pp > 1:
            link = link_bytes_per_s(self.accelerator, spread.tp * spread.pp) * eff.link
            seconds += (spread.pp - 1) * (hidden_bytes / spread.tp / link + eff.collective_s)
        if mixtures:
            link = link_bytes_per_s(self.accelerator, spread.tp * spread.dp) * eff.link
            seconds += mixtures * 2 * (self._exchange_bytes(hidden_bytes) / link + eff.collective_s)
        return seconds

    def _exchange_bytes(self, hidden_bytes: float) -> float:
        """Bytes a device sends to bring tokens to their experts, and as many to bring results back.

        With ep a token goes to each of the devices that hold one of its experts (DeepSeek-V3, §3.4: all-to-all
        dispatch and combine); without, ranks gather the tokens of all others.
        """
        spread, ff = self.parallelism, self.geometry.feed_forward
        if spread.ep > 1:
            targets = distinct(ff.experts_per_token, spread.ep, 1) * (spread.ep - 1) / spread.ep
            return hidden_bytes / spread.tp * targets
        return hidden_bytes * (spread.dp - 1) / spread.tp

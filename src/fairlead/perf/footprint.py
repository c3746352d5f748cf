"""What a replica keeps in device memory, how much is left for the KV cache, and how long bytes take to move."""

from __future__ import annotations

from dataclasses import dataclass

from fairlead.perf.accelerators import Accelerator
from fairlead.perf.models import ModelGeometry
from fairlead.perf.parallelism import Parallelism

# CUDA context, communication buffers and captured graphs of one process. Assumption, of the order vLLM logs as
# "non-torch" memory and graph memory for models on one node.
RESERVE_BYTES = 2**30


@dataclass(frozen=True, slots=True)
class Footprint:
    """Memory of one device of a replica. `kv_dtype` is the type of the KV cache, `auto` for the model's own."""

    accelerator: Accelerator
    geometry: ModelGeometry
    parallelism: Parallelism
    kv_dtype: str = "auto"

    def __post_init__(self) -> None:
        self.parallelism.check(self.geometry)
        self.geometry.kv_layer_bytes(self.kv_dtype)

    @property
    def weights_bytes(self) -> float:
        """Bytes of weights on the fullest device.

        Matrices are divided by tp, experts by tp·dp, layers by pp; with pp the embedding and the output matrix are on
        the first and the last stage.
        """
        model, spread = self.geometry, self.parallelism
        dense = (
            model.attention_params * model.attention_precision.bits + model.dense_params * model.dense_precision.bits
        )
        experts = model.expert_params * model.expert_precision.bits / spread.dp
        ends = model.embedding_params + model.lm_head_params
        if spread.pp > 1:
            ends = max(model.embedding_params, model.head_params)
        return ((dense + experts) / 8 / spread.pp + 2.0 * ends) / spread.tp + 2.0 * model.norm_params / spread.pp

    @property
    def kv_bytes_per_token(self) -> float:
        """Bytes per token of KV cache on one device, every layer keeping the whole context."""
        return self._layers * self._kv_layer_bytes

    @property
    def _layers(self) -> float:
        return self.geometry.layers / self.parallelism.pp

    @property
    def _kv_layer_bytes(self) -> float:
        return self.geometry.kv_layer_bytes(self.kv_dtype) * self.parallelism.kv_share(self.geometry)

    def activation_bytes(self, max_batched_tokens: int, max_seqs: int) -> float:
        """Peak of intermediate values: some hidden states and the widest feed-forward per token, and fp32 logits.

        An estimate; vLLM measures it in a profiling run (`GPUWorker.determine_available_memory`).
        """
        model = self.geometry
        ff = model.feed_forward
        widest = max(ff.dense_params, ff.shared_params + ff.experts_per_token * ff.expert_params) / (3 * model.hidden)
        per_token = 2.0 * (4 * model.hidden + 2 * widest / self.parallelism.tp)
        return max_batched_tokens * per_token + 4.0 * max_seqs * model.vocab

    def kv_capacity_tokens(
        self,
        *,
        memory_fraction: float = 0.92,
        max_batched_tokens: int = 8192,
        max_seqs: int = 256,
        reserve_bytes: float = RESERVE_BYTES,
        context_tokens: int | None = None,
    ) -> int:
        """Tokens of KV cache of one rank, 0 when the weights leave no room.

        memory·fraction − weights − activations − reserve, over the bytes of a token: the rule of vLLM's
        `--gpu-memory-utilization`, whose default is the default here. With `context_tokens`, windowed layers keep their
        window only, and the answer is the number of tokens that sequences of that length hold together.
        """
        if not 0 < memory_fraction <= 1:
            raise ValueError(f"memory_fraction is {memory_fraction}; expected more than 0 and at most 1")
        memory = self.accelerator.required("memory_bytes") * memory_fraction
        room = memory - self.weights_bytes - self.activation_bytes(max_batched_tokens, max_seqs) - reserve_bytes
        if room <= 0:
            return 0
        if context_tokens is None:
            return int(room / self.kv_bytes_per_token)
        kept = self.geometry.kv_bytes(context_tokens, self.kv_dtype) * self.parallelism.kv_share(self.geometry)
        return int(room / (kept / self.parallelism.pp) * context_tokens)

    def kv_transfer_s(self, tokens: int, bytes_per_s: float, latency_s: float = 0.0) -> float:
        """Seconds to hand the KV cache of `tokens` to another replica, every device sending its part at once.

        `bytes_per_s` is the link of one device; parts that tensor parallelism repeats are sent by one of their holders.
        """
        ranks = min(self.parallelism.tp, self.geometry.attention.kv_heads) * self.parallelism.pp
        total = tokens * self.geometry.kv_bytes_per_token(self.kv_dtype)
        return latency_s + total / (bytes_per_s * ranks) if tokens else 0.0

    def load_s(self, bytes_per_s: float) -> float:
        """Seconds to read the weights of one device from a source that gives it `bytes_per_s`."""
        return self.weights_bytes / bytes_per_s

    def sleep_s(self, level: int = 1) -> float:
        """Seconds to sleep as vLLM's sleep mode does: level 1 moves weights to host memory, level 2 drops them."""
        if level not in (1, 2):
            raise ValueError(f"level is {level}; vLLM knows 1 (weights to the host) and 2 (weights dropped)")
        return self.weights_bytes / self.accelerator.required("host_link_bytes_per_s") if level == 1 else 0.0

    def wake_s(self, level: int = 1, source_bytes_per_s: float | None = None) -> float:
        """Seconds to wake: from host memory after level 1, from the source of the weights after level 2."""
        if level == 1:
            return self.sleep_s(1)
        if level != 2 or source_bytes_per_s is None:
            raise ValueError(f"level is {level}, source_bytes_per_s {source_bytes_per_s}; level 2 reads from a source")
        return self.load_s(source_bytes_per_s)

"""ModelServices, ServingRuntimes and models for the tests of what they come to."""

from __future__ import annotations

from typing import Any

import msgspec

from fairlead.api import ModelService
from fairlead.api.serving_runtime import ServingRuntime
from fairlead.serving.resolve import ClusterFacts, ModelFacts
from fairlead.serving.store.mount import StoreFacts

PLAIN = StoreFacts(fetch_image="")
FACTS = ClusterFacts(store=PLAIN)

VLLM: dict[str, Any] = {"runtime": "vllm", "model": {"name": "m", "source": "/m"}}

LLAMA_70B: dict[str, Any] = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 8192, "num_hidden_layers": 80,
    "num_attention_heads": 64, "num_key_value_heads": 8, "intermediate_size": 28672, "vocab_size": 128256,
    "max_position_embeddings": 131072,
}  # fmt: skip


def service(**spec: Any) -> ModelService:
    """`status` and `metadata` may be given among the fields of the spec."""
    metadata = {"name": "chat", "namespace": "prod", "uid": "u1", **spec.pop("metadata", {})}
    status = spec.pop("status", {})
    raw = {"model": {"name": "tiny"}, "runtime": "simulated", **spec}
    return msgspec.convert({"metadata": metadata, "spec": raw, "status": status}, ModelService)


def runtime(name: str, **spec: Any) -> ServingRuntime:
    return msgspec.convert({"metadata": {"name": name}, "spec": {"engine": "vllm", **spec}}, ServingRuntime)


def knowing(**facts: Any) -> ClusterFacts:
    """Facts of a model."""
    return ClusterFacts(model=ModelFacts(**facts), store=PLAIN)

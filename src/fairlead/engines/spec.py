"""What one engine is to serve, in terms that hold for every model server, and the refusal of what one cannot do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

POD_IP = "$(POD_IP)"
"""Expanded by the kubelet from the container's environment variable POD_IP (field `status.podIP`)."""

LEADER_ADDRESS = "$(LWS_LEADER_ADDRESS)"
GROUP_SIZE = "$(LWS_GROUP_SIZE)"
WORKER_INDEX = "$(LWS_WORKER_INDEX)"
"""Names that LeaderWorkerSet gives every pod of a group, expanded by the kubelet; the leader's index is 0."""

DEFAULT_PORT = 8000

Role = Literal["unified", "prefill", "decode", "encode"]


class EngineSpecError(ValueError):
    """The runtime cannot do what the specification asks; says which field, its value and what would do instead."""

    def __init__(self, runtime: str, name: str, value: object, remedy: str) -> None:
        super().__init__(f"runtime {runtime} cannot serve {name} {value!r}: {remedy}")
        self.runtime = runtime
        self.field = name
        self.value = value
        self.remedy = remedy


class EngineSourceError(EngineSpecError):
    """The runtime cannot load this model source."""

    def __init__(self, runtime: str, source: str, remedy: str) -> None:
        super().__init__(runtime, "model source", source, remedy)


@dataclass(frozen=True, slots=True)
class Parallelism:
    """Over how many accelerators the model is spread. `expert` is the degree of expert parallelism inside them."""

    tensor: int = 1
    pipeline: int = 1
    data: int = 1
    expert: int = 1
    hosts: int = 1

    def __post_init__(self) -> None:
        for name in ("tensor", "pipeline", "data", "expert", "hosts"):
            if getattr(self, name) < 1:
                raise ValueError(f"parallelism.{name} is {getattr(self, name)}: it must be at least 1")
        if self.devices % self.hosts:
            raise ValueError(
                f"parallelism.hosts is {self.hosts}, which does not divide {self.devices} accelerators "
                "(tensor x pipeline x data): take a number of hosts that does"
            )

    @property
    def devices(self) -> int:
        """Accelerators of the whole engine."""
        return self.tensor * self.pipeline * self.data

    @property
    def devices_per_host(self) -> int:
        return self.devices // self.hosts


@dataclass(frozen=True, slots=True)
class KvTransfer:
    """How KV blocks travel from prefill to decode engines; empty and None mean the runtime's own choice."""

    connector: str = ""
    """vLLM: a connector class (NixlConnector, …); SGLang: a transfer backend (mooncake, nixl, …)."""
    port: int | None = None
    """Where the other side asks: vLLM's NIXL side channel, SGLang's bootstrap server of a prefill engine."""
    settings: Mapping[str, object] = field(default_factory=dict)
    """Further settings of the connector."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter: the name that requests give, and where its weights are."""

    name: str
    source: str


@dataclass(frozen=True, slots=True)
class AdapterSettings:
    """Whether and how the engine serves adapters; `initial` are loaded at the start, others later by calls."""

    initial: tuple[Adapter, ...] = ()
    max_count: int | None = None
    """Adapters in one batch."""
    max_rank: int | None = None


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """The KV cache; None means the runtime's own choice."""

    block_tokens: int | None = None
    memory_fraction: float | None = None
    """Of the accelerator's memory, from 0 to 1: weights and cache together (vLLM, SGLang), or the cache's part of what
    the weights leave free (TensorRT-LLM)."""
    dtype: str | None = None
    prefix_caching: bool | None = None
    offload_bytes: int | None = None
    """Host memory for blocks that leave the accelerator."""


@dataclass(frozen=True, slots=True)
class KvEventPublishing:
    """Where the engine publishes what its cache holds (see `kv_events`)."""

    endpoint: str = "tcp://*:5557"
    replay_endpoint: str = ""
    topic: str = ""
    buffer_steps: int | None = None
    """Batches kept for replay."""


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """What one engine is to serve.

    `source` is a URL or an absolute path of the weights, empty for engines that need none. `command` replaces the
    program of the runtime; `args` follow the runtime's own arguments.
    """

    model: str
    aliases: tuple[str, ...] = ()
    source: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    host: str = POD_IP
    port: int = DEFAULT_PORT
    drain_s: int = 30
    """How long the pod may take to stop, seconds (`terminationGracePeriodSeconds`)."""
    parallelism: Parallelism = Parallelism()
    role: Role = "unified"
    kv_transfer: KvTransfer = KvTransfer()
    adapters: AdapterSettings | None = None
    """None: the engine serves no adapters."""
    cache: CacheSettings = CacheSettings()
    max_context_tokens: int | None = None
    kv_events: KvEventPublishing | None = None
    """None: the engine publishes no cache events."""

    @property
    def names(self) -> tuple[str, ...]:
        """Every name under which requests may come, the model's own first, without repetition."""
        return tuple(dict.fromkeys((self.model, *self.aliases)))


Feature = Literal[
    "aliases", "hosts", "tensor", "pipeline", "data", "expert", "roles", "adapters", "block_tokens",
    "memory_fraction", "cache_dtype", "prefix_caching", "offload_bytes", "max_context_tokens", "kv_events",
]  # fmt: skip


def refuse_all_but(runtime: str, spec: EngineSpec, supported: frozenset[Feature], remedy: str) -> None:
    """Refuse what `spec` asks beyond the supported features. Raises EngineSpecError."""
    p, c = spec.parallelism, spec.cache
    asked: dict[Feature, tuple[str, object, bool]] = {
        "aliases": ("aliases", spec.aliases, bool(spec.names[1:])),
        "hosts": ("parallelism.hosts", p.hosts, p.hosts > 1),
        "tensor": ("parallelism.tensor", p.tensor, p.tensor > 1),
        "pipeline": ("parallelism.pipeline", p.pipeline, p.pipeline > 1),
        "data": ("parallelism.data", p.data, p.data > 1),
        "expert": ("parallelism.expert", p.expert, p.expert > 1),
        "roles": ("role", spec.role, spec.role != "unified"),
        "adapters": ("adapters", spec.adapters, spec.adapters is not None),
        "block_tokens": ("cache.block_tokens", c.block_tokens, c.block_tokens is not None),
        "memory_fraction": ("cache.memory_fraction", c.memory_fraction, c.memory_fraction is not None),
        "cache_dtype": ("cache.dtype", c.dtype, c.dtype is not None),
        "prefix_caching": ("cache.prefix_caching", c.prefix_caching, c.prefix_caching is not None),
        "offload_bytes": ("cache.offload_bytes", c.offload_bytes, c.offload_bytes is not None),
        "max_context_tokens": ("max_context_tokens", spec.max_context_tokens, spec.max_context_tokens is not None),
        "kv_events": ("kv_events", spec.kv_events, spec.kv_events is not None),
    }
    for feature, (name, value, is_asked) in asked.items():
        if is_asked and feature not in supported:
            raise EngineSpecError(runtime, name, value, remedy)


def local_source(runtime: str, source: str, takes: str = "an absolute path, file:///path or hf://owner/name") -> str:
    """A path, or an `owner/name` of the Hugging Face hub. Raises EngineSourceError for anything else."""
    scheme, separator, rest = source.partition("://")
    if source.startswith("/"):
        return source
    if separator and scheme == "file" and rest.startswith("/"):
        return rest
    if separator and scheme == "hf" and rest:
        return rest
    raise EngineSourceError(runtime, source, f"it takes {takes}")


def flag(name: str, value: object | None) -> tuple[str, ...]:
    """`name value` for a command line, nothing when the value is None."""
    return () if value is None else (name, str(value))

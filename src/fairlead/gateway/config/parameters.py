"""Parameters of the plugins that are no part of a profile, with llm-d's names and defaults.

What has no meaning here is accepted where it changes nothing that a user would notice, and said so.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from fairlead.gateway.config.durations import parse_duration_s
from fairlead.gateway.pick.plugin import Parameters
from fairlead.gateway.pick.room import Headroom

_HEADROOM = Headroom()


class Stages(Parameters, frozen=True):
    decode: str = ""
    prefill: str = ""
    encode: str = ""


class Deciders(Parameters, frozen=True):
    prefill: str = ""
    encode: str = ""


class DisaggregationParameters(Parameters, frozen=True):
    """`disagg-profile-handler`, its nested form and the deprecated flat one, and `pd-profile-handler`."""

    stage_order: Literal["decode-first", ""] = ""
    profiles: Stages = Stages()
    deciders: Deciders = Deciders()
    decode_profile: str = ""
    prefill_profile: str = ""
    encode_profile: str = ""
    prefill_decider_plugin_name: str = ""
    encode_decider_plugin_name: str = ""
    decider_plugin_name: str = ""
    prefix_plugin_type: str = ""
    prefix_plugin_name: str = ""
    prefix_match_info_producer_name: str = ""
    primary_port: int = 0

    def stage(self, stage: Literal["decode", "prefill", "encode"]) -> str:
        """Name of the stage's profile."""
        nested: str = getattr(self.profiles, stage)
        flat: str = getattr(self, f"{stage}_profile")
        return nested or flat or stage

    @property
    def flat(self) -> bool:
        return bool(
            self.decode_profile or self.prefill_profile or self.encode_profile or self.prefill_decider_plugin_name
            or self.encode_decider_plugin_name or self.decider_plugin_name
        )  # fmt: skip

    @property
    def prefill_decider(self) -> str:
        return self.deciders.prefill or self.prefill_decider_plugin_name or self.decider_plugin_name

    @property
    def encode_decider(self) -> str:
        return self.deciders.encode or self.encode_decider_plugin_name


class DataParallelParameters(Parameters, frozen=True):
    """`data-parallel-profile-handler`: accepted, as every rank's port is an endpoint of its own here."""

    primary_port: int = 8000


class PrefixDeciderParameters(Parameters, frozen=True):
    """`prefix-based-pd-decider`."""

    non_cached_tokens: int = 0
    """Uncached prompt tokens from which on a prompt is computed elsewhere; 0 = never."""
    prompt_tokens: int = 0
    """Prompts shorter than this are never."""

    def __post_init__(self) -> None:
        for name, value in (("nonCachedTokens", self.non_cached_tokens), ("promptTokens", self.prompt_tokens)):
            if value < 0:
                raise ValueError(f"{name} must be 0 or more, got {value}")


class ApproximatePrefixParameters(Parameters, frozen=True):
    """`approx-prefix-cache-producer`."""

    auto_tune: bool = True
    """Take block size and capacity from what engines report."""
    block_size_tokens: int = 16
    block_size: int = 0
    """Deprecated: in characters, of which four make a token."""
    max_prefix_blocks_to_match: int = 2048
    max_prefix_tokens_to_match: int = 131_072
    lru_capacity_per_server: int = 31_250
    """Blocks remembered of each endpoint."""

    def __post_init__(self) -> None:
        if self.block_size_tokens < 1 or self.block_size < 0 or self.lru_capacity_per_server < 1:
            raise ValueError("blockSizeTokens and lruCapacityPerServer must be above 0")


class TokenProcessor(Parameters, frozen=True):
    block_size: int = 0
    """Deprecated: `blockSizeTokens`."""
    block_size_tokens: int = 0
    hash_seed: str = ""
    hash_algorithm: str = ""


class BlockIndex(Parameters, frozen=True):
    in_memory_config: dict[str, int] | None = None
    enable_metrics: bool = False
    metrics_logging_interval: int = 0


class Indexer(Parameters, frozen=True):
    kv_block_index_config: BlockIndex = BlockIndex()


class PodDiscovery(Parameters, frozen=True):
    pod_label_selector: str = ""
    pod_namespace: str = ""
    socket_port: int = 5557
    replay_socket_port: int = 0


class KvEvents(Parameters, frozen=True):
    zmq_endpoint: str = ""
    topic_filter: str = "kv@"
    concurrency: int = 4
    engine_type: str = ""
    discover_pods: bool = True
    pod_discovery_config: PodDiscovery = PodDiscovery()


class PrecisePrefixParameters(Parameters, frozen=True):
    """`precise-prefix-cache-producer`, and the older `precise-prefix-cache-scorer`."""

    token_processor_config: TokenProcessor = TokenProcessor()
    indexer_config: Indexer = Indexer()
    kv_events_config: KvEvents = KvEvents()
    speculative_indexing: bool = False
    speculative_ttl: str = msgspec.field(default="2s", name="speculativeTTL")

    def __post_init__(self) -> None:
        parse_duration_s(self.speculative_ttl)


class UtilizationParameters(Parameters, frozen=True):
    """`utilization-detector`."""

    queue_depth_threshold: int = 5
    kv_cache_util_threshold: float = 0.8
    metrics_staleness_threshold: str = "200ms"
    """Accepted; signals are unknown, and so count as full, when the scraper has lost them."""
    headroom: float = 0.0

    def __post_init__(self) -> None:
        if self.queue_depth_threshold < 1:
            raise ValueError(f"queueDepthThreshold must be above 0, got {self.queue_depth_threshold}")
        if not 0.0 < self.kv_cache_util_threshold <= 1.0:
            raise ValueError(f"kvCacheUtilThreshold must be above 0 and at most 1, got {self.kv_cache_util_threshold}")
        if parse_duration_s(self.metrics_staleness_threshold) <= 0.0:
            raise ValueError("metricsStalenessThreshold must be above 0")


class ConcurrencyParameters(Parameters, frozen=True):
    """`concurrency-detector`."""

    max_concurrency: int = 100
    max_token_concurrency: int = 1_000_000
    concurrency_mode: Literal["requests", "tokens", "hybrid"] = "requests"
    headroom: float = 0.0
    in_flight_load_producer_name: str = ""

    def __post_init__(self) -> None:
        if self.max_concurrency < 1 or self.max_token_concurrency < 1:
            raise ValueError("maxConcurrency and maxTokenConcurrency must be above 0")


class HeadroomParameters(Parameters, frozen=True):
    """`headroom-detector`, Fairlead's own; see `fairlead.gateway.pick.room.Headroom`."""

    queue_slack_requests: float = _HEADROOM.queue_slack_requests
    queue_slack_ratio: float = _HEADROOM.queue_slack_ratio
    kv_fill: float = _HEADROOM.kv_fill
    prefill_backlog_s: float = _HEADROOM.prefill_backlog_s
    blind_requests: int = _HEADROOM.blind_requests


class HoldbackParameters(Parameters, frozen=True):
    """`priority-holdback-policy`."""

    min_ceiling: float
    max_ceiling: float = 1.0
    shape: Literal["linear"] = "linear"
    domain: Literal["rank", "value"] = "rank"


class MetricsSourceParameters(Parameters, frozen=True):
    """`metrics-data-source`: where engines tell their load. Defaults here leave what the pool says."""

    scheme: Literal["http", "https"] = "http"
    path: str = "/metrics"
    port: int | None = None
    """None = the port that serves."""
    insecure_skip_verify: bool = True
    ca_cert_path: str = ""
    client_cert_path: str = ""
    client_key_path: str = ""
    interval: str = ""

    def __post_init__(self) -> None:
        if self.interval:
            parse_duration_s(self.interval)
        if self.port is not None and not 1 <= self.port <= 65_535:
            raise ValueError(f"port must be from 1 to 65535, got {self.port}")


class ModelsSourceParameters(Parameters, frozen=True):
    """`models-data-source`: accepted, as the gateway lists models by what its pools serve."""

    scheme: Literal["http", "https"] = "http"
    path: str = "/v1/models"
    insecure_skip_verify: bool = True
    ca_cert_path: str = ""
    client_cert_path: str = ""
    client_key_path: str = ""
    interval: str = ""

    def __post_init__(self) -> None:
        if self.interval:
            parse_duration_s(self.interval)


class EngineMetrics(Parameters, frozen=True):
    name: str
    queued_requests_spec: str = ""
    running_requests_spec: str = ""
    kv_usage_spec: str = ""
    lora_spec: str = ""
    cache_info_spec: str = ""
    cache_block_size_label_name: str = ""
    cache_num_blocks_label_name: str = ""
    cache_block_size_spec: str = ""
    cache_num_blocks_spec: str = ""


class MetricsExtractorParameters(Parameters, frozen=True):
    """`core-metrics-extractor`."""

    engine_label_key: str = "llm-d.ai/engine-type"
    default_engine: str = "vllm"
    engine_configs: tuple[EngineMetrics, ...] = ()


class InFlightParameters(Parameters, frozen=True):
    """`inflight-load-producer`: answer lengths are learned here, not taken from a ratio."""

    add_estimated_output_tokens: bool = False
    output_ratio: float = 1.5
    max_estimated_output_tokens: int | None = None
    prefix_match_info_producer_name: str = ""
    sync_cross_replica_state: bool | None = None


class SessionIdParameters(Parameters, frozen=True):
    """`session-id-producer`."""

    header_name: str = ""
    cookie_name: str = ""


class TokenizerService(Parameters, frozen=True):
    url: str = ""
    timeout: str = "5s"
    mm_timeout: str = "30s"

    def __post_init__(self) -> None:
        parse_duration_s(self.timeout)
        parse_duration_s(self.mm_timeout)


class TokenizerParameters(Parameters, frozen=True):
    """`token-producer`, and the older `tokenizer`: exact tokens from an engine, or an estimate from the bytes."""

    model_name: str = ""
    vllm: TokenizerService | None = None
    estimate: dict[str, object] | None = None


class LatencyProducerParameters(Parameters, frozen=True):
    """`predicted-latency-producer`: latencies are learned in the gateway itself; nothing of this is needed."""

    sampling_mean: float = 100.0
    max_decode_token_samples_for_prediction: int = 0
    slo_buffer_factor: float = 1.0
    context_ttl: int = msgspec.field(default=0, name="contextTTL")
    streaming_mode: bool = False
    endpoint_role_label: str = ""
    predict_in_produce: bool = True
    prefix_match_info_producer_name: str = ""
    in_flight_load_producer_name: str = ""


class FileDiscoveryParameters(Parameters, frozen=True):
    """`file-discovery`."""

    path: str
    watch_file: bool = False


class ProgramAwareParameters(Parameters, frozen=True):
    """`program-aware-fairness`: the tenant that got least goes first, which is what weighted tokens are."""

    strategy: Literal["", "las"] = ""
    eviction_ttl_seconds: float = 0.0
    eviction_sweep_seconds: float = 0.0
    las_weight_service: float = 0.0
    las_weight_head_wait: float = 0.0
    las_half_life_seconds: float = 0.0

"""The labels of `vllm:cache_config_info`, from which readers take the size of the cache."""

from __future__ import annotations

from fairlead.simulator.engine import Engine


def cache_labels(engine: Engine, *, overridden: bool, block_size_given: bool) -> dict[str, str]:
    """The labels of `vllm:cache_config_info` for an engine."""
    settings = engine.settings
    tokens = settings.num_blocks * settings.block_tokens
    return {
        "_block_size_resolved": "True",
        "block_size": str(settings.block_tokens),
        "cache_dtype": "auto",
        "cache_hit_alignment_tokens": "None",
        "effective_attention_block_size": str(settings.block_tokens),
        "enable_mamba_shared_prefix_checkpoint": "False",
        "enable_prefix_caching": str(settings.prefix_caching),
        "gpu_memory_utilization": "0.92",
        "hash_block_size": "None",
        "is_attention_free": "False",
        "kv_cache_dtype_skip_layers": "[]",
        "kv_cache_layout": "None",
        "kv_cache_max_concurrency": str(round(tokens / settings.max_model_len, 3)),
        "kv_cache_memory_bytes": "None",
        "kv_cache_size_tokens": str(tokens),
        "kv_offloading_backend": "native",
        "kv_offloading_size": "None",
        "kv_sharing_fast_prefill": "False",
        "mamba_block_size": "None",
        "mamba_cache_dtype": "auto",
        "mamba_cache_mode": "none",
        "mamba_page_size_padded": "None",
        "mamba_ssm_cache_dtype": "auto",
        "num_cpu_blocks": "None",
        "num_gpu_blocks": str(settings.num_blocks),
        "num_gpu_blocks_override": str(settings.num_blocks) if overridden else "None",
        "prefix_cache_retention_interval": "0",
        "prefix_caching_hash_algo": "xxhash",
        "prefix_match_unit": "None",
        "replayssm_buffer_len": "16",
        "skip_page_size_padded": "None",
        "sliding_window": "None",
        "swa_bounded_replay": "True",
        "use_kda_recoverssm": "False",
        "use_replayssm": "False",
        "user_specified_block_size": str(block_size_given),
    }

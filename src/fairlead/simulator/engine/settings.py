"""What distinguishes one simulated engine from another: capacity, scheduling limits and costs.

Names are vLLM's where vLLM has the setting. Times in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, fields


class SettingsError(ValueError):
    """A setting that no engine could run with; the message names field, value and remedy."""


@dataclass(frozen=True, slots=True)
class Speculation:
    """Speculative decoding: `tokens` drafted per iteration, each accepted with probability `acceptance` given that all
    before it were (the independence model of Leviathan et al., ICML 2023), `draft_s` for drafting them."""

    tokens: int
    acceptance: float
    draft_s: float = 0.0


@dataclass(frozen=True, slots=True)
class AdapterSettings:
    """LoRA: how many adapters one batch may mix (`max_loras`), how many stay in host memory (`max_cpu_loras`), and what
    it costs to bring one from host memory to the device and from storage to host memory."""

    max_loras: int = 4
    max_cpu_loras: int = 4
    device_load_s: float = 0.005
    host_load_s: float = 0.2


@dataclass(frozen=True, slots=True)
class TransferSettings:
    """How a prompt's KV cache comes from a prefill engine: a fixed latency, and a rate. `hold_s` is how long the
    prefill engine keeps blocks that nobody fetches (vLLM's NIXL connector: 480 s)."""

    latency_s: float = 0.005
    tokens_per_s: float = 1_000_000.0
    hold_s: float = 480.0


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """One engine. Defaults are those of vLLM 0.32 for online serving, on a cache of 16,384 blocks."""

    num_blocks: int = 16_384
    """KV cache blocks that requests can use."""
    block_tokens: int = 16
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 2048
    max_model_len: int = 131_072
    chunked_prefill: bool = True
    long_prefill_token_threshold: int = 0
    """Longest chunk of a prompt while other requests are about; 0 = no limit."""
    prefix_caching: bool = True
    reserve_full_prompt: bool = True
    """Admit a request only when its whole prompt fits (vLLM's `scheduler_reserve_full_isl`)."""
    watermark: float = 0.0
    """Share of the cache that admissions leave free while anything else runs."""
    async_scheduling: bool = True
    """The next iteration is put together while this one runs, so that a request that arrives is in the one after."""
    adapters: AdapterSettings | None = None
    speculation: Speculation | None = None
    transfer: TransferSettings = TransferSettings()
    jitter: float = 0.0
    """Standard deviation of an iteration's time over its mean."""
    wake_s: float = 1.0
    """From `wake` until the engine serves again."""

    def __post_init__(self) -> None:
        for name in ("num_blocks", "block_tokens", "max_num_seqs", "max_num_batched_tokens", "max_model_len"):
            _require(name, getattr(self, name), 1)
        for name in ("long_prefill_token_threshold", "jitter", "wake_s"):
            _require(name, getattr(self, name), 0)
        if not 0 <= self.watermark < 1:
            raise SettingsError(f"watermark is {self.watermark}: it is a share from 0 to below 1")
        if self.jitter > 1:
            raise SettingsError(f"jitter is {self.jitter}: it is a ratio to the mean, from 0 to 1")
        if not self.chunked_prefill and self.max_num_batched_tokens < self.max_model_len:
            raise SettingsError(
                f"max_num_batched_tokens is {self.max_num_batched_tokens}: without chunked prefill a whole prompt must "
                f"fit into one iteration, so it must be at least max_model_len ({self.max_model_len})"
            )
        tokens_per_sequence = 1 + (self.speculation.tokens if self.speculation else 0)
        if self.max_num_batched_tokens < self.max_num_seqs * tokens_per_sequence:
            raise SettingsError(
                f"max_num_batched_tokens is {self.max_num_batched_tokens}: it must be at least max_num_seqs x (1 + "
                f"drafted tokens) = {self.max_num_seqs * tokens_per_sequence}, so that every sequence can decode"
            )
        _check_parts(self)


def _check_parts(settings: EngineSettings) -> None:
    if (speculation := settings.speculation) is not None:
        _require("speculation.tokens", speculation.tokens, 1)
        _require("speculation.draft_s", speculation.draft_s, 0)
        if not 0 <= speculation.acceptance <= 1:
            raise SettingsError(f"speculation.acceptance is {speculation.acceptance}: it is a probability, 0 to 1")
    if (adapters := settings.adapters) is not None:
        _require("adapters.max_loras", adapters.max_loras, 1)
        _require("adapters.device_load_s", adapters.device_load_s, 0)
        _require("adapters.host_load_s", adapters.host_load_s, 0)
        if adapters.max_cpu_loras < adapters.max_loras:
            raise SettingsError(
                f"adapters.max_cpu_loras is {adapters.max_cpu_loras}: it must be at least max_loras "
                f"({adapters.max_loras})"
            )
    for field in fields(settings.transfer):
        _require(f"transfer.{field.name}", getattr(settings.transfer, field.name), 0)
    if settings.transfer.tokens_per_s <= 0:
        raise SettingsError("transfer.tokens_per_s is 0: give the rate in tokens per second")


def _require(name: str, value: float, least: int) -> None:
    if not value >= least:
        raise SettingsError(f"{name} is {value}: it must be at least {least}")

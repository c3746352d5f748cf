"""What a configuration comes to: profiles and settings, typed, for those who decide and those who fetch."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import yaml

from fairlead.gateway.config import parameters as p
from fairlead.gateway.flow import (
    Detector,
    FlowSettings,
    Headroom,
    concurrency_detector,
    headroom_detector,
    utilization_detector,
)
from fairlead.gateway.pick.profile import Profile
from fairlead.gateway.pick.scorers.affinity import SessionAffinityParameters

NEVER_TOKENS = sys.maxsize
"""More tokens than any prompt has."""


@dataclass(frozen=True, slots=True)
class Disaggregation:
    """Which parts of a request may be computed by an endpoint of their own."""

    decode_profile: str
    prefill_profile: str | None = None
    encode_profile: str | None = None
    remote_prefill_from_tokens: int = NEVER_TOKENS
    """Uncached prompt tokens from which on a prompt is computed elsewhere; 0 = always."""
    remote_prefill_from_prompt_tokens: int = 0
    """Shorter prompts are never."""


DetectorParameters = p.UtilizationParameters | p.ConcurrencyParameters | p.HeadroomParameters


@dataclass(frozen=True, slots=True)
class PickerConfig:
    """See the module."""

    profiles: Mapping[str, Profile]
    main_profile: str
    """The profile that picks the endpoint which answers."""
    disaggregation: Disaggregation | None = None
    """None = every request stays at one endpoint, unless roles of the pool's endpoints say otherwise."""
    approximate_prefix: p.ApproximatePrefixParameters | None = None
    """None = the defaults of the prefix index."""
    precise_prefix: p.PrecisePrefixParameters | None = None
    """None = no KV events are asked for."""
    tokenizer: p.TokenizerParameters | None = None
    session_affinity: SessionAffinityParameters | None = None
    detector_parameters: DetectorParameters = field(default_factory=p.HeadroomParameters)
    flow: FlowSettings = field(default_factory=FlowSettings)
    evicts: bool = False
    """Whether sheddable requests in flight may be ended to make room."""
    metrics_source: p.MetricsSourceParameters = field(default_factory=p.MetricsSourceParameters)
    metrics_extractor: p.MetricsExtractorParameters = field(default_factory=p.MetricsExtractorParameters)
    parsers: tuple[str, ...] = ()
    """Types in the order in which they are tried; empty = all."""
    discovery_file: p.FileDiscoveryParameters | None = None
    warnings: tuple[str, ...] = ()
    """What was accepted but is deprecated or has no effect."""
    effective: Mapping[str, Any] = field(default_factory=dict)
    """The configuration with all that was left out, as it would be written."""

    @property
    def profile(self) -> Profile:
        return self.profiles[self.main_profile]

    @property
    def prefill_profile(self) -> Profile | None:
        """None = as `profile`."""
        name = self.disaggregation.prefill_profile if self.disaggregation is not None else None
        return self.profiles[name] if name is not None else None

    @property
    def encode_profile(self) -> Profile | None:
        name = self.disaggregation.encode_profile if self.disaggregation is not None else None
        return self.profiles[name] if name is not None else None

    @property
    def remote_prefill_from_tokens(self) -> int | None:
        """None = where that is quicker."""
        return self.disaggregation.remote_prefill_from_tokens if self.disaggregation is not None else None

    def detector(self) -> Detector:
        """A saturation detector with these settings."""
        given = self.detector_parameters
        if isinstance(given, p.UtilizationParameters):
            return utilization_detector(given.queue_depth_threshold, given.kv_cache_util_threshold)
        if isinstance(given, p.ConcurrencyParameters):
            return concurrency_detector(given.max_concurrency, given.max_token_concurrency, given.concurrency_mode)
        return headroom_detector(Headroom(**msgspec.structs.asdict(given)))

    def dump(self) -> str:
        """The effective configuration as YAML, which reads back to the same."""
        return yaml.safe_dump(dict(self.effective), sort_keys=False, allow_unicode=True)

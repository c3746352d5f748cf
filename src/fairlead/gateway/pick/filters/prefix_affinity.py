"""Filter: stay with the endpoints that hold the prompt, unless the wait there is much longer than elsewhere."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from fairlead.gateway.pick.plugin import Parameters, PluginType
from fairlead.gateway.pick.predict import predicted
from fairlead.gateway.pick.profile import Filter
from fairlead.gateway.pick.query import Context


class PrefixAffinityParameters(Parameters, frozen=True):
    """Of `prefix-cache-affinity-filter`."""

    affinity_threshold: float = 0.8
    """Share of the prompt that an endpoint must hold to count as holding it; 0 or less turns the filter off."""
    exploration_probability: float = 0.0
    """How often the filter is passed over."""
    max_ttft_penalty_ms: float = msgspec.field(default=18_000.0, name="maxTTFTPenaltyMs")
    """How much longer a first token may take where the prompt is held; 0 = any time."""
    ttft_source: Literal["prefillThroughput", "latencyPredictor"] = "prefillThroughput"
    """Take the time from tokens in flight and `peakPrefillThroughput`, or from what was learned of each endpoint."""
    peak_prefill_throughput: float = 15_928.0
    """Tokens per second; llm-d's value is that of a 32B model on two H100."""
    prefix_match_info_producer_name: str = ""
    latency_prediction_info_producer_name: str = ""
    in_flight_load_producer_name: str = ""

    def __post_init__(self) -> None:
        if self.affinity_threshold > 1.0:
            raise ValueError(f"affinityThreshold must be at most 1, got {self.affinity_threshold}")
        if not 0.0 <= self.exploration_probability <= 1.0:
            raise ValueError(f"explorationProbability must be from 0 to 1, got {self.exploration_probability}")
        if self.max_ttft_penalty_ms < 0.0:
            raise ValueError(f"maxTTFTPenaltyMs must be 0 or more, got {self.max_ttft_penalty_ms}")
        if self.peak_prefill_throughput < 0.0 or (
            self.peak_prefill_throughput == 0.0
            and self.max_ttft_penalty_ms > 0.0
            and self.ttft_source == "prefillThroughput"
        ):
            raise ValueError(f"peakPrefillThroughput must be above 0, got {self.peak_prefill_throughput}")


def prefix_affinity(parameters: PrefixAffinityParameters) -> Filter:
    """Those that hold the prompt; all, when nobody does or the penalty is too high."""
    threshold, penalty_s = parameters.affinity_threshold, parameters.max_ttft_penalty_ms / 1000.0

    def keep(context: Context) -> list[int] | None:
        whole = context.matchable_tokens or context.query.prompt_tokens
        if threshold <= 0.0 or whole <= 0 or context.draw < parameters.exploration_probability:
            return None
        enough = threshold * whole
        holders = [i for i, matched in enumerate(context.matched) if matched >= enough]
        if not holders or len(holders) == len(context.matched):
            return None
        if penalty_s > 0.0:
            inside = set(holders)
            waits = _waits_s(context, parameters)
            elsewhere = min([w for i, w in enumerate(waits) if i not in inside])
            if min([waits[i] for i in holders]) - elsewhere > penalty_s:
                return None
        return holders

    return keep


def _waits_s(context: Context, parameters: PrefixAffinityParameters) -> list[float]:
    if parameters.ttft_source == "latencyPredictor":
        return predicted(context)[0]
    return [c.in_flight_tokens / parameters.peak_prefill_throughput for c in context.candidates]


PLUGINS: tuple[PluginType[Any], ...] = (
    PluginType("prefix-cache-affinity-filter", PrefixAffinityParameters, filter=prefix_affinity),
)

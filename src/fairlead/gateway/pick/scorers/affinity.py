"""Scorers of affinity: adapters that are loaded already, and sessions that were served before."""

from __future__ import annotations

from typing import Any, Literal

from fairlead.gateway.pick.candidate import Candidate
from fairlead.gateway.pick.plugin import NoParameters, Parameters, PluginType
from fairlead.gateway.pick.query import Context
from fairlead.gateway.pick.scorers.unknown import fill_unknown

LOADED, FREE_SLOT, QUEUED, FULL = 1.0, 0.8, 0.6, 0.0
"""llm-d's values of `lora-affinity-scorer`."""


def score_lora_affinity(context: Context) -> list[float]:
    """Adapter in use: 1, a free slot: 0.8, requests already wait for it: 0.6, otherwise 0.

    Requests for the base model need no slot: 1 for all.
    """
    adapter = context.query.adapter
    if not adapter:
        return [1.0] * len(context.candidates)
    filled = fill_unknown([_adapter_score(c, adapter) for c in context.candidates])
    return filled or [FREE_SLOT] * len(context.candidates)


def _adapter_score(candidate: Candidate, adapter: str) -> float | None:
    running = candidate.running_adapters
    if running is None:
        return None
    if adapter in running:
        return LOADED
    if candidate.max_adapters is None:
        return None
    if len(running) + len(candidate.waiting_adapters) < candidate.max_adapters:
        return FREE_SLOT
    return QUEUED if adapter in candidate.waiting_adapters else FULL


def score_session_affinity(context: Context) -> list[float]:
    """1 for the endpoint that served the session before, 0 for the others; 0 for all without a session."""
    wanted = context.query.session_endpoint
    if not wanted:
        return [0.0] * len(context.candidates)
    return [1.0 if wanted in (c.address, c.pod) else 0.0 for c in context.candidates]


class HeaderSource(Parameters, frozen=True):
    """One of `sessionIdConfig.sources`: a request header, or an attribute that another plugin makes."""

    header: str = ""
    attribute: str = ""

    def __post_init__(self) -> None:
        if bool(self.header) == bool(self.attribute):
            raise ValueError("a source names either a header or an attribute")


class SessionIdParameters(Parameters, frozen=True):
    sources: tuple[HeaderSource, ...] = (HeaderSource(header="x-session-id"),)
    eviction_ttl_seconds: float = 300.0
    eviction_sweep_seconds: float = 10.0

    def __post_init__(self) -> None:
        if not self.eviction_ttl_seconds > 0.0:
            raise ValueError(f"evictionTtlSeconds must be above 0, got {self.eviction_ttl_seconds}")


class EncodedEndpointParameters(Parameters, frozen=True):
    header: str = "x-session-token"


class SessionAffinityParameters(Parameters, frozen=True):
    """Of `session-affinity-scorer` and `session-affinity-filter`."""

    strategy: Literal["encoded_endpoint_header", "session_id"] = "encoded_endpoint_header"
    """Whether the client brings the name of its endpoint or the gateway remembers it. Either way it is
    `Query.session_endpoint` that the decision sees."""
    encoded_endpoint_header_config: EncodedEndpointParameters = EncodedEndpointParameters()
    session_id_config: SessionIdParameters = SessionIdParameters()
    profile_name: str = ""
    """Which leg of a disaggregated request is meant; empty = decode."""


def keep_session_endpoint(context: Context) -> list[int] | None:
    """The endpoint that served the session before, if it is there; all otherwise."""
    wanted = context.query.session_endpoint
    if not wanted:
        return None
    return [i for i, c in enumerate(context.candidates) if wanted in (c.address, c.pod)] or None


PLUGINS: tuple[PluginType[Any], ...] = (
    PluginType("lora-affinity-scorer", NoParameters, scorer=lambda _: score_lora_affinity),
    PluginType("session-affinity-scorer", SessionAffinityParameters, scorer=lambda _: score_session_affinity),
    PluginType("session-affinity-filter", SessionAffinityParameters, filter=lambda _: keep_session_endpoint),
)

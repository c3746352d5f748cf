"""Every plugin type that a configuration may name, and its parameters: those of profiles, and those around them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from typing import Any

import msgspec

from fairlead.gateway.config import parameters as p
from fairlead.gateway.pick.plugin import NoParameters, Parameters
from fairlead.gateway.pick.registry import PLUGIN_TYPES


class Kind(StrEnum):
    """What a plugin is for."""

    PROFILE = "profile"
    """A filter, scorer or picker."""
    HANDLER = "profile handler"
    DECIDER = "decider"
    PREFIX = "prefix producer"
    DETECTOR = "saturation detector"
    FAIRNESS = "fairness policy"
    ORDERING = "ordering policy"
    USAGE_LIMIT = "usage limit policy"
    EVICTION = "eviction policy"
    PARSER = "parser"
    SOURCE = "data source"
    EXTRACTOR = "extractor"
    DISCOVERY = "discovery"
    PRODUCER = "data producer"


@dataclass(frozen=True, slots=True)
class Known:
    """A type of which there may be instances."""

    kind: Kind
    parameters: type[Parameters]
    replaced_by: str = ""
    """For a deprecated type: what to use instead."""


def _around() -> dict[str, Known]:
    none = NoParameters
    return {
        "single-profile-handler": Known(Kind.HANDLER, none),
        "data-parallel-profile-handler": Known(Kind.HANDLER, p.DataParallelParameters),
        "disagg-profile-handler": Known(Kind.HANDLER, p.DisaggregationParameters),
        "pd-profile-handler": Known(Kind.HANDLER, p.DisaggregationParameters, "disagg-profile-handler"),
        "disagg-headers-handler": Known(Kind.PRODUCER, none, "disagg-profile-handler"),
        "prefill-header-handler": Known(Kind.PRODUCER, none, "disagg-profile-handler"),
        "prefix-based-pd-decider": Known(Kind.DECIDER, p.PrefixDeciderParameters),
        "always-disagg-pd-decider": Known(Kind.DECIDER, none),
        "always-disagg-multimodal-decider": Known(Kind.DECIDER, none),
        "approx-prefix-cache-producer": Known(Kind.PREFIX, p.ApproximatePrefixParameters),
        "precise-prefix-cache-producer": Known(Kind.PREFIX, p.PrecisePrefixParameters),
        "precise-prefix-cache-scorer": Known(
            Kind.PREFIX, p.PrecisePrefixParameters, "precise-prefix-cache-producer with prefix-cache-scorer"
        ),
        "utilization-detector": Known(Kind.DETECTOR, p.UtilizationParameters),
        "concurrency-detector": Known(Kind.DETECTOR, p.ConcurrencyParameters),
        "headroom-detector": Known(Kind.DETECTOR, p.HeadroomParameters),
        "global-strict-fairness-policy": Known(Kind.FAIRNESS, none),
        "round-robin-fairness-policy": Known(Kind.FAIRNESS, none),
        "weighted-tokens-fairness-policy": Known(Kind.FAIRNESS, none),
        "program-aware-fairness": Known(Kind.FAIRNESS, p.ProgramAwareParameters),
        "fcfs-ordering-policy": Known(Kind.ORDERING, none),
        "edf-ordering-policy": Known(Kind.ORDERING, none),
        "slo-deadline-ordering-policy": Known(Kind.ORDERING, none),
        "static-usage-limit-policy": Known(Kind.USAGE_LIMIT, none),
        "priority-holdback-policy": Known(Kind.USAGE_LIMIT, p.HoldbackParameters),
        "sheddable-eviction-filter": Known(Kind.EVICTION, none),
        "priority-then-time-eviction-order-policy": Known(Kind.EVICTION, none),
        "openai-parser": Known(Kind.PARSER, none),
        "anthropic-parser": Known(Kind.PARSER, none),
        "vllmhttp-parser": Known(Kind.PARSER, none),
        "passthrough-parser": Known(Kind.PARSER, none),
        "metrics-data-source": Known(Kind.SOURCE, p.MetricsSourceParameters),
        "endpoint-notification-source": Known(Kind.SOURCE, none),
        "models-data-source": Known(Kind.SOURCE, p.ModelsSourceParameters),
        "models-data-extractor": Known(Kind.EXTRACTOR, none),
        "core-metrics-extractor": Known(Kind.EXTRACTOR, p.MetricsExtractorParameters),
        "file-discovery": Known(Kind.DISCOVERY, p.FileDiscoveryParameters),
        "inflight-load-producer": Known(Kind.PRODUCER, p.InFlightParameters),
        "session-id-producer": Known(Kind.PRODUCER, p.SessionIdParameters),
        "predicted-latency-producer": Known(Kind.PRODUCER, p.LatencyProducerParameters),
        "token-producer": Known(Kind.PRODUCER, p.TokenizerParameters),
        "tokenizer": Known(Kind.PRODUCER, p.TokenizerParameters, "token-producer"),
    }


KNOWN: Mapping[str, Known] = {
    **{name: Known(Kind.PROFILE, t.parameters, t.replaced_by) for name, t in PLUGIN_TYPES.items()},
    **_around(),
}


@dataclass(frozen=True, slots=True)
class Instance:
    """A plugin of the configuration, its parameters checked."""

    name: str
    type: str
    kind: Kind
    parameters: Any


def make_instance(name: str, type_name: str, given: Mapping[str, Any] | None) -> Instance:
    """The plugin. Raises ValueError that names what is wrong and what is known."""
    known = KNOWN.get(type_name)
    if known is None:
        near = get_close_matches(type_name, KNOWN, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"unknown plugin type {type_name!r}: {hint}known are {', '.join(sorted(KNOWN))}")
    try:
        parameters = msgspec.convert(dict(given or {}), known.parameters)
    except (msgspec.ValidationError, RecursionError) as error:
        names = ", ".join([f.encode_name for f in msgspec.structs.fields(known.parameters)]) or "none"
        raise ValueError(f"parameters of {type_name}: {error}; it knows: {names}") from error
    return Instance(name, type_name, known.kind, parameters)
